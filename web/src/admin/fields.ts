// The keys of an agent as a form shows them: every value a text, lists a line each.

export interface Agent { id: string; source: "config" | "runtime"; has_password: boolean; [key: string]: unknown }
/** Values by key; those of the location as `location.street`. */
export type Values = Record<string, string>;

export interface Field {
	key: string;
	label: string;
	hint?: string;
	kind?: "list" | "long" | "number" | "yes" | "language" | "password";
	/** Offers what other agents have. */
	suggests?: boolean;
}

export interface Group { title: string; fields: Field[]; columns?: boolean }

export const GROUPS: Group[] = [
	{ title: "Who is told of an emergency call", fields: [
		{ key: "contacts", label: "Contacts", kind: "long", hint: "Mail addresses, divided by semicolons: lead@example.com; hr@example.com" },
		{ key: "mailbox", label: "Mailbox", hint: "Her own mail address" },
	] },
	{ title: "Person", columns: true, fields: [
		{ key: "name", label: "Name" },
		{ key: "number", label: "Number", hint: "As +14255551234; in no callback pool" },
		{ key: "language", label: "Language of mails", kind: "language" },
		{ key: "site", label: "Site", suggests: true },
		{ key: "country", label: "Country", hint: "Two letters; empty: the peer's, else the node's" },
		{ key: "identity", label: "Identities", kind: "list", hint: "How her calls show themselves: user names or numbers, one a line" },
	] },
	{ title: "Where she is", columns: true, fields: [
		{ key: "location.house", label: "House number" },
		{ key: "location.street", label: "Street" },
		{ key: "location.city", label: "City" },
		{ key: "location.state", label: "State" },
		{ key: "location.zip", label: "ZIP code" },
		{ key: "location.country", label: "Country of the address" },
		{ key: "location.building", label: "Building" },
		{ key: "location.floor", label: "Floor" },
		{ key: "location.room", label: "Room" },
	] },
	{ title: "Devices and calls", columns: true, fields: [
		{ key: "peer", label: "Peer", suggests: true, hint: "Her identities count from this PBX only" },
		{ key: "outbound_profile", label: "Outbound profile", suggests: true },
		{ key: "capacity", label: "Ordinary calls at once", kind: "number" },
		{ key: "locked", label: "Locked for ordinary calls", kind: "yes" },
		{ key: "devices", label: "Devices", kind: "list", hint: "SIP addresses besides what registers, one a line" },
		{ key: "alternates", label: "Alternates", kind: "list", hint: "Where a callback goes if no device answers, one a line" },
		{ key: "password", label: "New password", kind: "password", hint: "For devices and the panel. Empty: it stays as it is" },
	] },
];

export const FIELDS: Field[] = GROUPS.flatMap((group) => group.fields);

/** An agent as texts. */
export function flat(agent: Agent | null): Values {
	const values: Values = {};
	for (const { key, kind } of FIELDS) {
		const [table, part] = key.split(".");
		const value = agent === null ? undefined : part === undefined ? agent[key] : (agent[table ?? ""] as Record<string, unknown> | undefined)?.[part];
		if (kind === "yes") values[key] = value === true ? "true" : "false";
		else if (Array.isArray(value)) values[key] = value.join("\n");
		else values[key] = value === undefined || value === null ? "" : String(value);
	}
	return values;
}

/** The keys whose values differ. */
export function changed(from: Values, to: Values): string[] {
	return FIELDS.map((f) => f.key).filter((key) => (from[key] ?? "").trim() !== (to[key] ?? "").trim());
}

/** What to send so that these keys become what they are in `values`: null takes a key away (RFC 7396). */
export function patch(keys: string[], values: Values): Record<string, unknown> {
	const sent: Record<string, unknown> = {};
	for (const field of FIELDS.filter((f) => keys.includes(f.key))) {
		// The API takes a location as a whole.
		if (field.key.startsWith("location.")) sent["location"] = place(values);
		else sent[field.key] = typed(field, (values[field.key] ?? "").trim());
	}
	return sent;
}

function place(values: Values): Record<string, string> | null {
	const parts = FIELDS.filter((f) => f.key.startsWith("location.")).map((f) => [f.key.slice(9), (values[f.key] ?? "").trim()] as const);
	const set = parts.filter(([, value]) => value !== "");
	return set.length === 0 ? null : Object.fromEntries(set);
}

function typed(field: Field, text: string): unknown {
	if (field.kind === "yes") return text === "true";
	if (text === "") return null;
	if (field.kind === "number") return /^\d+$/.test(text) ? Number(text) : text;
	if (field.kind === "list") return text.split("\n").map((line) => line.trim()).filter((line) => line !== "");
	return text;
}

/** The field that the API means by `devices[0]` or `location`. */
export function fieldOf(named: string): Field | undefined {
	const key = named.replace(/\[\d+\].*$/, "");
	return FIELDS.find((f) => f.key === key) ?? FIELDS.find((f) => f.key.startsWith(`${key}.`));
}

export function label(key: string): string {
	return FIELDS.find((f) => f.key === key)?.label ?? key;
}
