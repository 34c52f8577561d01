// The people who dial: a list to search, and one of them to edit.

import { all, request, words } from "../common/api";
import { ask, button, fill, h, mark, newId, note, say, table, type Column } from "../common/dom";
import { session } from "../common/session";
import { day } from "../common/time";
import { AgentForm } from "./agent-form";
import type { Agent } from "./fields";
import { Import } from "./import";
import { heading, type View } from "./shell";

const SHOWN_AT_ONCE = 100;

export class AgentsView implements View {
	readonly name = "agents";
	readonly title = "Agents";
	readonly element: HTMLElement;
	private readonly search: HTMLInputElement;
	private readonly count = h("p", { class: "muted", role: "status" });
	private readonly box = h("div", null);
	private readonly failed = h("div", { class: "failed", role: "alert" });
	private readonly listPane: HTMLElement;
	private readonly form: AgentForm;
	private readonly importer: Import;
	private agents: Agent[] | null = null;
	private shown = SHOWN_AT_ONCE;

	constructor() {
		const search = newId("search");
		this.search = h("input", { id: search, type: "search", autocomplete: "off", spellcheck: "false", placeholder: "Name, id, number, site, contact", oninput: () => { this.shown = SHOWN_AT_ONCE; this.draw(); } });
		const actions = h("div", { class: "actions" },
			button("Add agent", () => this.edit(null, null), { class: "primary operators" }),
			button("Import", () => this.pane(this.importer), { class: "operators" }),
			button("Export", () => this.export()));
		this.listPane = h("div", { class: "pane" },
			h("div", { class: "bar" }, h("div", { class: "field" }, h("label", { for: search }, "Search"), this.search), actions),
			this.failed, this.count, this.box);
		this.form = new AgentForm({ leave: (changed) => this.back(changed), suggestions: (key) => this.suggestions(key) });
		this.importer = new Import((changed) => this.back(changed || true));
		this.element = h("div", { class: "view agents" }, heading("Agents"), this.listPane, this.form.element, this.importer.element);
	}

	show(): void {
		void this.read();
	}

	isDirty(): boolean {
		return this.form.isDirty() || this.importer.isDirty();
	}

	forget(everything: boolean): void {
		this.agents = null;
		fill(this.box);
		fill(this.count);
		this.search.value = "";
		if (everything || !this.form.isDirty()) this.form.close();
		if (everything) this.importer.clear();
		if (this.form.element.hidden && !this.importer.isDirty()) this.pane(null);
	}

	/** Shows one agent, from another page. */
	async openById(id: string): Promise<void> {
		if (this.form.isDirty() && !(await ask("Leave without saving?", "Another agent is being edited; what you typed would be lost.", "Leave"))) return;
		try {
			const { data, etag } = await request<Agent>(`agents/${encodeURIComponent(id)}`);
			fill(this.failed);
			this.edit(data, etag);
		} catch (error) {
			this.pane(null);
			fill(this.failed, note("bad", h("p", null, words(error))));
		}
	}

	private async read(): Promise<void> {
		const began = session.token;
		try {
			const { items } = await all<Agent>("agents");
			if (session.token === null || session.token !== began) return;
			this.agents = items;
			fill(this.failed);
		} catch (error) {
			fill(this.failed, note("bad", h("p", null, words(error))));
		}
		this.draw();
	}

	private draw(): void {
		if (this.agents === null) return fill(this.box, h("p", { class: "empty" }, "Reading…"));
		const words = this.search.value.toLowerCase().split(/\s+/).filter((w) => w !== "");
		const found = this.agents.filter((agent) => words.every((w) => searched(agent).includes(w)));
		const total = this.agents.length === 1 ? "1 agent" : `${this.agents.length} agents`;
		fill(this.count, words.length === 0 ? total : `${found.length} of ${total}`);
		if (found.length === 0) return fill(this.box, h("p", { class: "empty" }, words.length === 0 ? "There are no agents yet. Add one, or import a list." : "No agent is like that."));
		const columns: Column<Agent>[] = [
			{ head: "Agent", cell: (a) => h("span", { class: "named" }, button(String(a["name"] ?? a.id), () => void this.openById(a.id), { class: "link" }), h("code", null, a.id)) },
			{ head: "Number", cell: (a) => h("span", { class: "figures" }, String(a["number"] ?? "–")) },
			{ head: "Site", cell: (a) => String(a["site"] ?? "–") },
			{ head: "Contacts", long: true, cell: contacts },
			{ head: "Kept in", cell: (a) => h("span", { class: "muted" }, a.source === "config" ? "config file" : "gateway") },
		];
		fill(this.box, table("Agents", columns, found.slice(0, this.shown)),
			found.length > this.shown && button(`Show ${Math.min(SHOWN_AT_ONCE, found.length - this.shown)} more`, () => { this.shown += SHOWN_AT_ONCE; this.draw(); }));
	}

	private edit(agent: Agent | null, etag: string | null): void {
		this.form.open(agent, etag);
		this.pane(this.form);
		scrollTo(0, 0);
	}

	private pane(which: AgentForm | Import | null): void {
		this.listPane.hidden = which !== null;
		this.form.element.hidden = which !== this.form;
		this.importer.element.hidden = which !== this.importer;
		if (which === this.importer) this.importer.open();
	}

	private back(changed: boolean): void {
		this.form.close();
		this.pane(null);
		this.search.focus();
		if (changed) void this.read();
	}

	private suggestions(key: string): string[] {
		const values = (this.agents ?? []).map((a) => a[key]).filter((v): v is string => typeof v === "string");
		return [...new Set(values)].sort().slice(0, 50);
	}

	private export(): void {
		const text = JSON.stringify((this.agents ?? []).map(({ source: _, has_password: __, ...agent }) => agent), null, 1);
		const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
		h("a", { href: url, download: `agents-${day(new Date())}.json` }).click();
		setTimeout(() => URL.revokeObjectURL(url), 10_000);
		say("Exported.");
	}
}

function searched(agent: Agent): string {
	const location = Object.values((agent["location"] as Record<string, string> | undefined) ?? {});
	return [agent.id, agent["name"], agent["identity"], agent["number"], agent["site"], agent["contacts"], agent["mailbox"], ...location].join(" ").toLowerCase();
}

function contacts(agent: Agent): Node {
	const text = String(agent["contacts"] ?? "");
	if (text === "") return mark("warn", "none of her own");
	const list = text.split(";").map((c) => c.trim()).filter((c) => c !== "");
	return h("span", { class: "block-list" }, ...list.map((c) => h("span", null, c)));
}
