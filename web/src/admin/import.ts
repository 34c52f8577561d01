// Many agents at once: all or nothing, every wrong row named.

import { Refused, request, words, type WrongRow } from "../common/api";
import { backButton, button, fill, h, mark, newId, note, table } from "../common/dom";

const EXAMPLE = "id,name,identity,number,site,contacts\nada,Ada Lovelace,ada | +12065550001,+12065550001,redmond,lead@example.com; hr@example.com";

export class Import {
	readonly element = h("div", { class: "pane", hidden: true });
	private readonly text: HTMLTextAreaElement;
	private readonly said = h("div", { class: "said", role: "alert" });
	private isSending = false;

	constructor(private readonly leave: (changed: boolean) => void) {
		const [text, hint, file] = [newId("rows"), newId("hint"), newId("file")];
		this.text = h("textarea", { id: text, rows: 12, class: "code", spellcheck: "false", autocomplete: "off", wrap: "off", "aria-describedby": hint });
		const chosen = h("input", { id: file, type: "file", accept: ".csv,.json,text/csv,application/json", onchange: () => void this.read(chosen) });
		fill(this.element,
			backButton(() => this.leave(false)),
			h("h2", { tabindex: "-1" }, "Import agents"),
			h("p", null, "CSV whose first line names the columns, or a JSON list as “Export” writes it. An agent that is there already is replaced. If one row is wrong, none is taken."),
			this.said,
			h("div", { class: "field wide" }, h("label", { for: file }, "A file"), chosen),
			h("div", { class: "field wide" }, h("label", { for: text }, "Or its rows"), this.text,
				h("details", { id: hint, class: "hint" }, h("summary", null, "What the rows look like"), h("pre", null, EXAMPLE))),
			h("div", { class: "actions" }, button("Import", () => void this.send(), { class: "primary" }), button("Clear", () => this.clear())));
	}

	open(): void {
		this.element.hidden = false;
		this.element.querySelector<HTMLElement>("h2")?.focus();
	}

	isDirty(): boolean {
		return this.text.value.trim() !== "";
	}

	clear(): void {
		this.text.value = "";
		fill(this.said);
	}

	private async read(chosen: HTMLInputElement): Promise<void> {
		const file = chosen.files?.[0];
		if (file === undefined) return;
		this.text.value = await file.text();
		chosen.value = "";
		fill(this.said, note("idle", h("p", null, `${file.name} is read; nothing is imported yet.`)));
	}

	private async send(): Promise<void> {
		const text = this.text.value;
		if (text.trim() === "") return fill(this.said, note("warn", h("p", null, "There are no rows yet.")));
		if (this.isSending) return;
		this.isSending = true;
		const type = /^\s*\[/.test(text) ? "application/json" : "text/csv";
		try {
			const { data } = await request<{ imported: number }>("agents", { method: "POST", text, type });
			this.clear();
			fill(this.said, note("good", h("p", null, data.imported === 1 ? "1 agent is imported." : `${data.imported} agents are imported.`)));
		} catch (error) {
			const wrong = error instanceof Refused ? error.rows : [];
			const count = wrong.length === 1 ? "1 row is wrong" : `${wrong.length} rows are wrong`;
			fill(this.said, note("bad", h("p", null, wrong.length === 0 ? words(error) : `${count}; nothing was imported.`)),
				wrong.length > 0 && rows(wrong, text.split("\n")));
		} finally {
			this.isSending = false;
		}
		this.said.scrollIntoView({ block: "nearest" });
	}
}

function rows(wrong: WrongRow[], lines: string[]): HTMLElement {
	return table("Wrong rows", [
		{ head: "Line", number: true, cell: (r: WrongRow) => r.line },
		{ head: "Column", cell: (r) => (r.field === "" ? "whole row" : r.field) },
		{ head: "What is wrong", long: true, cell: (r) => mark("bad", r.message) },
		{ head: "The row", long: true, cell: (r) => h("code", { class: "row" }, (lines[r.line - 1] ?? "").trim()) },
	], wrong);
}
