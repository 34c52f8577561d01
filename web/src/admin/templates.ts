// The texts of the mails, with what they would read like. A text that is not saved stays with its template until it is.

import { Refused, request, words, type WrongRow } from "../common/api";
import { ask, button, fill, h, mark, newId, note, say } from "../common/dom";
import { session } from "../common/session";
import { Editor, type Mistake } from "./editor";
import { heading, type View } from "./shell";

interface Template { name: string; language: string; text: string; edited: boolean }
interface Draft { kept: Template; etag: string | null; text: string }

const NAMES = [["emergency", "Emergency: a call was made"], ["outcome", "Outcome: it is over, or the PSAP called back"], ["test", "Test call"]] as const;
const LANGUAGES = [["en", "English"], ["es", "Spanish"], ["fr", "French"]] as const;
const FIELDS = ["agent_name", "agent_id", "time", "callback_number", "location", "dialed", "path", "outcome", "duration"];
/** After the last key, before the preview is asked for. */
const PAUSE = 250;

export class TemplatesView implements View {
	readonly name = "templates";
	readonly title = "Templates";
	readonly element: HTMLElement;
	private readonly which: HTMLSelectElement;
	private readonly language: HTMLSelectElement;
	private readonly editor: Editor;
	private readonly state = h("p", { class: "state", role: "status" });
	private readonly said = h("div", { class: "said", role: "alert" });
	private readonly preview = h("div", { class: "mail" });
	private readonly save = button("Save", () => void this.send(), { class: "primary" });
	private readonly reset = button("Back to the shipped text", () => void this.giveBack());
	private readonly undo = button("Undo my changes", () => this.take());
	private readonly drafts = new Map<string, Draft>();
	private timer = 0;
	private asked: AbortController | null = null;

	constructor() {
		const [which, language] = [newId("template"), newId("language")];
		const change = () => void this.open();
		this.which = h("select", { id: which, onchange: change }, ...NAMES.map(([value, text]) => h("option", { value }, text)));
		this.language = h("select", { id: language, onchange: change }, ...LANGUAGES.map(([value, text]) => h("option", { value }, text)));
		this.editor = new Editor("Text: a Subject line, an empty line, the mail", () => this.typed());
		const help = h("details", { class: "hint" }, h("summary", null, "Fields and filters"),
			h("p", null, "Fields: ", ...FIELDS.flatMap((f) => [h("code", null, `{{ ${f} }}`), " "])),
			h("p", null, "Filters: ", ...["upper", "lower", "trim", "de"].flatMap((f) => [h("code", null, f), " "]), "as in ", h("code", null, "{{ agent_name|upper }}"), ". Parts that depend: ", h("code", null, "{% if duration %}…{% endif %}"), "."));
		this.element = h("div", { class: "view templates" }, heading("Templates"),
			h("div", { class: "bar" },
				h("div", { class: "field" }, h("label", { for: which }, "Template"), this.which),
				h("div", { class: "field" }, h("label", { for: language }, "Language"), this.language),
				this.state),
			this.said,
			h("div", { class: "two" },
				h("section", { "aria-label": "Text" }, this.editor.element, help,
					h("div", { class: "actions operators" }, this.save, this.undo, this.reset)),
				h("section", { "aria-labelledby": "preview" }, h("h2", { id: "preview" }, "Preview"), h("p", { class: "hint" }, "With made-up values."), this.preview)));
	}

	show(): void {
		void this.open();
	}

	isDirty(): boolean {
		return [...this.drafts.values()].some((d) => d.text !== d.kept.text);
	}

	forget(everything: boolean): void {
		for (const [key, draft] of this.drafts) if (everything || draft.text === draft.kept.text) this.drafts.delete(key);
		fill(this.said);
		fill(this.preview);
	}

	private get key(): string {
		return `${this.which.value}.${this.language.value}`;
	}

	private get path(): string {
		return `templates/${this.which.value}`;
	}

	private get query(): string {
		return `?language=${this.language.value}`;
	}

	private async open(): Promise<void> {
		const key = this.key;
		const draft = this.drafts.get(key);
		if (draft === undefined || draft.text === draft.kept.text) {
			try {
				const { data, etag } = await request<Template>(this.path + this.query);
				if (!this.drafts.has(key) || this.drafts.get(key) === draft) this.drafts.set(key, { kept: data, etag, text: data.text });
			} catch (error) {
				fill(this.said, note("bad", h("p", null, words(error))));
			}
		}
		if (key !== this.key) return;
		fill(this.said);
		this.editor.input.readOnly = !session.mayChange;
		this.editor.mark([]);
		this.editor.text = this.drafts.get(key)?.text ?? "";
		this.after();
		void this.look();
	}

	private typed(): void {
		const draft = this.drafts.get(this.key);
		if (draft) draft.text = this.editor.text;
		this.after();
		clearTimeout(this.timer);
		this.timer = window.setTimeout(() => void this.look(), PAUSE);
	}

	private after(): void {
		const draft = this.drafts.get(this.key);
		const isChanged = draft !== undefined && draft.text !== draft.kept.text;
		this.save.disabled = this.undo.disabled = !isChanged;
		this.reset.disabled = draft?.kept.edited !== true;
		fill(this.state, isChanged ? mark("warn", "not saved") : draft?.kept.edited ? mark("idle", "edited here") : mark("idle", "as shipped"));
	}

	/** The preview, or the mistakes, of what is in the editor. */
	private async look(): Promise<void> {
		if (!session.mayChange) return fill(this.preview, h("p", { class: "empty" }, "A viewer sees the text alone."));
		this.asked?.abort();
		const asked = this.asked = new AbortController();
		try {
			const { data } = await request<{ subject: string; text: string }>(`${this.path}/preview${this.query}`, { method: "POST", body: { text: this.editor.text }, signal: asked.signal });
			this.editor.mark([]);
			fill(this.preview, h("p", { class: "subject" }, h("span", { class: "muted" }, "Subject "), data.subject), h("pre", { class: "body", tabindex: "0", "aria-label": "Text of the mail" }, data.text));
			this.preview.classList.remove("old");
		} catch (error) {
			if (asked.signal.aborted || session.token === null) return;
			this.preview.classList.add("old");
			if (!this.marks(error)) fill(this.said, note("bad", h("p", null, words(error))));
		}
	}

	private marks(error: unknown): boolean {
		if (!(error instanceof Refused) || error.rows.length === 0) return false;
		const one = (row: WrongRow): Mistake => ({ line: row.line, column: Number(/\d+/.exec(row.field)?.[0] ?? 1), message: row.message });
		this.editor.mark(error.rows.map(one));
		return true;
	}

	private async send(): Promise<void> {
		const draft = this.drafts.get(this.key);
		if (draft === undefined) return;
		fill(this.said);
		try {
			const headers: Record<string, string> = draft.etag === null ? {} : { "If-Match": draft.etag };
			const { data, etag } = await request<Template>(this.path + this.query, { method: "PUT", body: { text: draft.text }, headers });
			Object.assign(draft, { kept: data, etag });
			if (draft.text === this.editor.text) draft.text = this.editor.text = data.text;
			this.editor.mark([]);
			this.after();
			fill(this.said, note("good", h("p", null, "Saved. The next mail reads like this.")));
		} catch (error) {
			if (error instanceof Refused && error.code === "changed") return this.conflict(draft);
			this.marks(error);
			fill(this.said, note("bad", h("p", null, error instanceof Refused && error.rows.length > 0 ? "Not saved: the text has mistakes, marked below." : words(error))));
		}
	}

	/** Somebody else was faster. */
	private async conflict(draft: Draft): Promise<void> {
		try {
			const { data, etag } = await request<Template>(this.path + this.query);
			Object.assign(draft, { kept: data, etag });
			this.after();
			fill(this.said, note("warn",
				h("p", null, h("strong", null, "Somebody else has changed this template meanwhile.")),
				h("p", null, "Nothing was saved. Yours is still below; theirs reads:"),
				h("pre", { class: "theirs", tabindex: "0", "aria-label": "Their text" }, data.text),
				h("div", { class: "actions" },
					button("Save mine over theirs", () => void this.send()),
					button("Take theirs", () => this.take()))));
		} catch (error) {
			fill(this.said, note("bad", h("p", null, words(error))));
		}
	}

	/** What is kept goes into the editor. */
	private take(): void {
		const draft = this.drafts.get(this.key);
		if (draft === undefined) return;
		draft.text = this.editor.text = draft.kept.text;
		fill(this.said);
		this.after();
		void this.look();
	}

	private async giveBack(): Promise<void> {
		if (!(await ask("Back to the shipped text?", "The edited text of this template, in this language, is lost.", "Back to the shipped text"))) return;
		const draft = this.drafts.get(this.key);
		try {
			await request(this.path + this.query, { method: "DELETE", headers: draft?.etag ? { "If-Match": draft.etag } : {} });
			this.drafts.delete(this.key);
			await this.open();
			say("The shipped text is back.");
		} catch (error) {
			if (error instanceof Refused && error.code === "changed" && draft) return this.conflict(draft);
			fill(this.said, note("bad", h("p", null, words(error))));
		}
	}
}
