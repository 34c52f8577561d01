// Ordinary calls that are over. Emergency calls and callbacks are in none of them: the gateway keeps no such record (RULES A7).

import { all, words } from "../common/api";
import { fill, h, icon, newId, note, table, type Child, type Column } from "../common/dom";
import { session } from "../common/session";
import { day, duration, time } from "../common/time";
import { heading, type View } from "./shell";

interface Call { id: string; direction: "inbound" | "outbound"; from: string; to: string; peer: string | null; trunk: string | null; started: string; answered: string | null; ended: string; outcome: string }

const MOST = 2_000;
const DAYS = 7;

export class RecordsView implements View {
	readonly name = "records";
	readonly title = "Records";
	readonly element: HTMLElement;
	private readonly since: HTMLInputElement;
	private readonly failed = h("div", { class: "failed", role: "alert" });
	private readonly box = h("div", null);

	constructor() {
		const [since, hint] = [newId("since"), newId("hint")];
		this.since = h("input", { id: since, type: "date", "aria-describedby": hint, onchange: () => void this.read() });
		this.since.value = day(new Date(Date.now() - DAYS * 86_400_000));
		this.element = h("div", { class: "view records" }, heading("Records"),
			h("p", { class: "lead" }, "Ordinary calls that are over, the newest first. Emergency calls and callbacks are never recorded."),
			h("div", { class: "bar" }, h("div", { class: "field" }, h("label", { for: since }, "Since"), this.since, h("p", { id: hint, class: "hint" }, "From midnight, UTC"))),
			this.failed, this.box);
	}

	show(): void {
		void this.read();
	}

	isDirty(): boolean {
		return false;
	}

	forget(): void {
		fill(this.box);
		fill(this.failed);
	}

	private async read(): Promise<void> {
		const [began, since] = [session.token, this.since.value];
		if (this.box.childElementCount === 0) fill(this.box, h("p", { class: "empty" }, "Reading…"));
		try {
			const { items, next } = await all<Call>(since === "" ? "records" : `records?since=${since}`, MOST);
			if (session.token === null || session.token !== began || since !== this.since.value) return;
			fill(this.failed);
			fill(this.box, this.list(items.reverse(), next !== null));
		} catch (error) {
			fill(this.box);
			fill(this.failed, note("bad", h("p", null, words(error))));
		}
	}

	private list(calls: Call[], more: boolean): Child {
		if (calls.length === 0) return h("p", { class: "empty" }, "No ordinary call has ended since then.");
		const columns: Column<Call>[] = [
			{ head: "Started", cell: (c) => time(c.started) },
			{ head: "Direction", cell: (c) => h("span", { class: "mark idle" }, icon(c.direction === "inbound" ? "in" : "out"), c.direction) },
			{ head: "From", cell: (c) => h("span", { class: "figures" }, c.from) },
			{ head: "To", cell: (c) => h("span", { class: "figures" }, c.to) },
			{ head: "By", cell: (c) => [c.peer, c.trunk].filter((w) => w !== null).join(", ") || "–" },
			{ head: "Talked", number: true, cell: (c) => (c.answered === null ? "–" : duration(Date.parse(c.ended) - Date.parse(c.answered))) },
			{ head: "Outcome", cell: (c) => c.outcome.replaceAll("_", " ") },
		];
		return h("div", null, more && note("idle", h("p", null, `The first ${MOST} since then are shown; choose a later day for the rest.`)), table("Ordinary calls", columns, calls));
	}
}
