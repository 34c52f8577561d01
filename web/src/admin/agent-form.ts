// One agent: her keys in a form. Only what was changed is sent, and only if nobody else has changed her since (ETag).

import { Refused, request, words, type Answer } from "../common/api";
import { ask, backButton, button, fill, h, mark, newId, note, say } from "../common/dom";
import { session } from "../common/session";
import { FIELDS, GROUPS, changed, fieldOf, flat, label, patch, type Agent, type Field, type Values } from "./fields";

type Input = HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement;

export interface Around {
	/** Back to the list; true: something has changed. */
	leave(changed: boolean): void;
	/** Values that other agents have for this key. */
	suggestions(key: string): string[];
}

export class AgentForm {
	readonly element = h("div", { class: "pane", hidden: true });
	private readonly inputs = new Map<string, Input>();
	private readonly errors = new Map<string, HTMLElement>();
	private readonly said = h("div", { class: "said", role: "alert" });
	private id: string | null = null;
	private idInput: HTMLInputElement | null = null;
	private etag: string | null = null;
	private base: Values = flat(null);
	private isOpen = false;
	private isSaving = false;

	constructor(private readonly around: Around) {}

	/** Shows an agent, or an empty form for a new one. */
	open(agent: Agent | null, etag: string | null): void {
		this.id = agent?.id ?? null;
		this.etag = etag;
		this.base = flat(agent);
		this.isOpen = true;
		this.build(agent);
		this.write(this.base, FIELDS.map((f) => f.key));
		this.element.hidden = false;
		this.element.querySelector<HTMLElement>("h2")?.focus();
	}

	isDirty(): boolean {
		return this.isOpen && (changed(this.base, this.values()).length > 0 || (this.idInput?.value ?? "") !== "");
	}

	close(): void {
		this.isOpen = false;
		this.element.hidden = true;
		this.inputs.clear();
		fill(this.element);
	}

	private build(agent: Agent | null): void {
		const mayEdit = session.mayChange && agent?.source !== "config";
		const name = agent === null ? "New agent" : String(agent["name"] ?? agent.id);
		this.inputs.clear();
		this.errors.clear();
		this.idInput = null;
		fill(this.said);
		const form = h("form", { novalidate: true, onsubmit: (event: Event) => { event.preventDefault(); void this.save(); } });
		form.addEventListener("input", (event) => this.calm(event.target));
		if (agent === null) form.append(this.idField());
		for (const group of GROUPS) {
			const fields = group.fields.map((field) => this.field(field, agent, mayEdit));
			form.append(h("fieldset", { class: group.columns ? "columns" : null }, h("legend", null, group.title), ...fields));
		}
		if (mayEdit) {
			form.append(h("div", { class: "actions sticky" },
				h("button", { type: "submit", class: "primary" }, agent === null ? "Add agent" : "Save"),
				button("Cancel", () => void this.leave()),
				agent !== null && button("Remove agent", () => void this.remove(), { class: "danger quiet apart" })));
		}
		fill(this.element,
			backButton(() => void this.leave()),
			h("div", { class: "title" }, h("h2", { tabindex: "-1" }, name), agent !== null && h("code", null, agent.id)),
			agent?.source === "config" && note("idle", h("p", null, "This agent is in the config file. It can be looked at here and changed there.")),
			agent !== null && agent.source !== "config" && !session.mayChange && note("idle", h("p", null, "A viewer may look and not change.")),
			this.said, form);
	}

	private idField(): HTMLElement {
		const [id, hint, error] = [newId("id"), newId("hint"), newId("error")];
		this.idInput = h("input", { id, type: "text", required: true, autocomplete: "off", spellcheck: "false", "aria-describedby": `${error} ${hint}` });
		const message = h("p", { id: error, class: "error" });
		this.inputs.set("id", this.idInput);
		this.errors.set("id", message);
		return h("div", { class: "field" }, h("label", { for: id }, "Id"), this.idInput, message, h("p", { id: hint, class: "hint" }, "Stays for ever; also the user name of her devices"));
	}

	private field(field: Field, agent: Agent | null, mayEdit: boolean): HTMLElement {
		const [id, hint, error] = [newId("field"), newId("hint"), newId("error")];
		const input = this.input(field, { id, name: field.key, disabled: !mayEdit, "aria-describedby": `${error} ${hint}` });
		const message = h("p", { id: error, class: "error" });
		this.inputs.set(field.key, input);
		this.errors.set(field.key, message);
		const said = field.kind === "password" && agent?.has_password ? `${field.hint}. One is set` : field.hint;
		const help = h("p", { id: hint, class: "hint" }, said ?? "");
		if (field.kind === "yes") return h("div", { class: "field yes" }, h("label", { for: id }, input, field.label), message, help);
		const wide = field.kind === "list" || field.kind === "long" || field.kind === "password";
		return h("div", { class: wide ? "field wide" : "field" }, h("label", { for: id }, field.label), input, message, help);
	}

	private input(field: Field, common: Record<string, string | boolean>): Input {
		const plain = { ...common, autocomplete: "off", spellcheck: "false" };
		switch (field.kind) {
			case "list":
			case "long": return h("textarea", { ...plain, rows: 2 });
			case "yes": return h("input", { ...common, type: "checkbox" });
			case "number": return h("input", { ...plain, type: "text", inputmode: "numeric" });
			case "password": return h("input", { ...common, type: "password", autocomplete: "new-password" });
			case "language": return h("select", common,
				...[["", "The node's"], ["en", "English"], ["es", "Spanish"], ["fr", "French"]].map(([value, text]) => h("option", { value: value ?? "" }, text)));
			default: {
				if (!field.suggests) return h("input", { ...plain, type: "text" });
				const list = newId("list");
				const input = h("input", { ...plain, type: "text", list });
				input.addEventListener("focus", () => {
					input.list?.replaceChildren(...this.around.suggestions(field.key).map((value) => h("option", { value })));
				}, { once: true });
				queueMicrotask(() => input.after(h("datalist", { id: list })));
				return input;
			}
		}
	}

	private values(): Values {
		const values: Values = {};
		for (const { key, kind } of FIELDS) {
			const input = this.inputs.get(key);
			values[key] = kind === "yes" ? String((input as HTMLInputElement | undefined)?.checked ?? false) : (input?.value ?? "");
		}
		return values;
	}

	private write(values: Values, keys: string[]): void {
		for (const key of keys) {
			const input = this.inputs.get(key);
			if (input instanceof HTMLInputElement && input.type === "checkbox") input.checked = values[key] === "true";
			else if (input) input.value = values[key] ?? "";
			if (input instanceof HTMLTextAreaElement) input.rows = Math.min(8, Math.max(2, (values[key] ?? "").split("\n").length));
		}
	}

	private async save(): Promise<void> {
		if (this.isSaving) return;
		this.unmark();
		const id = this.id ?? this.idInput?.value.trim() ?? "";
		if (id === "") return this.wrong("id", "An agent needs an id.");
		const keys = this.id === null ? FIELDS.map((f) => f.key) : changed(this.base, this.values());
		if (keys.length === 0) return fill(this.said, note("idle", h("p", null, "There is nothing to save.")));
		const body = patch(keys, this.values());
		this.isSaving = true;
		try {
			const sent = this.values()["contacts"] ?? "";
			const { data, etag } = this.id === null ? await this.add(id, body) : await this.change(id, body);
			const wrong = notTaken(sent, String(data["contacts"] ?? ""));
			if (wrong.length === 0) {
				say("Saved.");
				return this.around.leave(true);
			}
			this.open(data, etag);
			this.write({ contacts: sent }, ["contacts"]);
			this.wrong("contacts", `Saved. This is no mail address, and nobody is told there: ${wrong.join("; ")}`);
		} catch (error) {
			await this.refused(error);
		} finally {
			this.isSaving = false;
		}
	}

	private change(id: string, body: Record<string, unknown>): Promise<Answer<Agent>> {
		const headers: Record<string, string> = this.etag === null ? {} : { "If-Match": this.etag };
		return request(`agents/${encodeURIComponent(id)}`, { method: "PATCH", body, headers, type: "application/merge-patch+json" });
	}

	private add(id: string, body: Record<string, unknown>): Promise<Answer<Agent>> {
		const set = Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null));
		return request(`agents/${encodeURIComponent(id)}`, { method: "PUT", body: set, headers: { "If-None-Match": "*" } });
	}

	private async refused(error: unknown): Promise<void> {
		if (error instanceof Refused && (error.code === "changed" || (error.status === 404 && this.id !== null))) return this.conflict();
		const field = error instanceof Refused ? error.field : "";
		if (field !== "" && (field === "id" || fieldOf(field))) return this.wrong(field, words(error));
		fill(this.said, note("bad", h("p", null, words(error)), error instanceof Refused && error.code === "exists" && h("p", null, "Choose another id.")));
		this.said.scrollIntoView({ block: "nearest" });
	}

	/** Somebody else was faster: shows what is theirs, keeps what is mine, and lets me decide where both have changed. */
	private async conflict(): Promise<void> {
		const mine = this.values();
		let theirs: Values;
		try {
			const { data, etag } = await request<Agent>(`agents/${encodeURIComponent(this.id ?? "")}`);
			theirs = flat(data);
			this.etag = etag;
		} catch (error) {
			if (!(error instanceof Refused) || error.status !== 404) return fill(this.said, note("bad", h("p", null, words(error))));
			return fill(this.said, note("warn", h("p", null, h("strong", null, "Somebody else has removed this agent meanwhile.")),
				h("p", null, "Nothing was saved. What you typed is still here; to have her again, add a new agent.")));
		}
		const byMe = new Set(changed(this.base, mine));
		const byThem = changed(this.base, theirs);
		this.base = theirs;
		const taken = byThem.filter((key) => !byMe.has(key));
		this.write(theirs, taken);
		const both = byThem.filter((key) => byMe.has(key) && (mine[key] ?? "").trim() !== (theirs[key] ?? "").trim());
		const rows = both.map((key) => {
			const use = button("Use theirs", () => { this.write(theirs, [key]); row.remove(); this.inputs.get(key)?.focus(); });
			const row = h("li", null, h("strong", null, label(key)),
				h("dl", null, h("dt", null, "Theirs"), h("dd", null, theirs[key] || "empty"), h("dt", null, "Yours"), h("dd", null, mine[key] || "empty")), use);
			return row;
		});
		fill(this.said, note("warn",
			h("p", null, h("strong", null, "Somebody else has changed this agent meanwhile.")),
			h("p", null, "Nothing of yours was saved yet."),
			taken.length > 0 && h("p", null, `Taken over from them: ${taken.map(label).join(", ")}.`),
			both.length > 0 && h("p", null, "Both of you have changed:"),
			both.length > 0 && h("ul", { class: "both" }, ...rows),
			h("p", null, both.length > 0 ? "Save again to keep yours." : "Look it over, then save again.")));
		this.said.scrollIntoView({ block: "nearest" });
	}

	private wrong(named: string, message: string): void {
		const key = named === "id" ? "id" : (fieldOf(named)?.key ?? "");
		const [input, error] = [this.inputs.get(key), this.errors.get(key)];
		if (error) fill(error, mark("bad", message));
		input?.setAttribute("aria-invalid", "true");
		input?.focus();
	}

	/** What is being corrected is not called wrong. */
	private calm(target: EventTarget | null): void {
		for (const [key, input] of this.inputs) {
			if (input !== target || !input.hasAttribute("aria-invalid")) continue;
			input.removeAttribute("aria-invalid");
			const error = this.errors.get(key);
			if (error) fill(error);
		}
	}

	private unmark(): void {
		fill(this.said);
		this.errors.forEach((error) => fill(error));
		this.inputs.forEach((input) => input.removeAttribute("aria-invalid"));
	}

	private async leave(): Promise<void> {
		if (this.isDirty() && !(await ask("Leave without saving?", "What you typed would be lost.", "Leave"))) return;
		this.around.leave(false);
	}

	private async remove(): Promise<void> {
		if (!(await ask("Remove this agent?", "Her contacts and location go with her. A lease of hers runs on.", "Remove agent"))) return;
		try {
			await request(`agents/${encodeURIComponent(this.id ?? "")}`, { method: "DELETE", headers: this.etag === null ? {} : { "If-Match": this.etag } });
			say("Removed.");
			this.around.leave(true);
		} catch (error) {
			await this.refused(error);
		}
	}
}

/** Contacts that were sent and are not there: the gateway keeps addresses alone. */
function notTaken(sent: string, kept: string): string[] {
	const list = (text: string) => text.split(/[;,]/).map((c) => c.trim()).filter((c) => c !== "");
	const address = (contact: string) => (/<([^>]*)>/.exec(contact)?.[1] ?? contact).trim().toLowerCase();
	const there = new Set(list(kept).map(address));
	return list(sent).filter((c) => !there.has(address(c)));
}
