// A text with line numbers, in which mistakes are marked where they are.

import { fill, h, icon, newId } from "../common/dom";

export interface Mistake { line: number; column: number; message: string }

export class Editor {
	readonly element: HTMLElement;
	readonly input: HTMLTextAreaElement;
	/** What stands behind the text: the same text, unseen, with marks. It gives the text its height. */
	private readonly behind = h("div", { class: "behind", "aria-hidden": "true" });
	private readonly list = h("div", { class: "mistakes", role: "status" });
	private mistakes: Mistake[] = [];

	constructor(label: string, changed: () => void) {
		const [id, list] = [newId("text"), newId("mistakes")];
		this.input = h("textarea", { id, spellcheck: "true", autocomplete: "off", "aria-describedby": list, oninput: () => { this.draw(); changed(); } });
		this.list.id = list;
		this.element = h("div", { class: "editor" }, h("label", { for: id }, label), h("div", { class: "paper" }, this.behind, this.input), this.list);
	}

	get text(): string {
		return this.input.value;
	}

	set text(text: string) {
		this.input.value = text;
		this.draw();
	}

	mark(mistakes: Mistake[]): void {
		this.mistakes = mistakes;
		if (mistakes.length > 0) this.input.setAttribute("aria-invalid", "true");
		else this.input.removeAttribute("aria-invalid");
		this.draw();
		const one = (m: Mistake) => h("li", null,
			h("button", { type: "button", class: "link", onclick: () => this.goTo(m) }, icon("bad"), `Line ${m.line}, column ${m.column}`), `: ${m.message}`);
		fill(this.list, mistakes.length > 0 && h("ul", null, ...mistakes.map(one)));
	}

	private draw(): void {
		const lines = this.input.value.split("\n").map((text, at) => {
			const wrong = this.mistakes.filter((m) => m.line === at + 1);
			const line = h("div", { class: wrong.length > 0 ? "line wrong" : "line" });
			const columns = wrong.map((m) => Math.min(Math.max(m.column - 1, 0), text.length)).sort((a, b) => a - b);
			let done = 0;
			for (const from of columns.filter((c, n) => columns.indexOf(c) === n)) {
				if (from < done) continue;
				const word = /^(?:\w+|\S+|\s+)/.exec(text.slice(from))?.[0] ?? "";
				line.append(text.slice(done, from), h("mark", null, word));
				done = from + word.length;
			}
			line.append(text.slice(done));
			return line;
		});
		fill(this.behind, ...lines);
	}

	private goTo(mistake: Mistake): void {
		const before = this.input.value.split("\n").slice(0, mistake.line - 1);
		const at = before.reduce((sum, line) => sum + line.length + 1, 0) + Math.max(mistake.column - 1, 0);
		this.input.focus();
		this.input.setSelectionRange(at, at);
	}
}
