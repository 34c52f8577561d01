// Elements without HTML text: what comes from outside can only ever become text or an attribute.

export type Child = Node | string | number | null | undefined | false;
type Attributes = Record<string, string | number | boolean | null | undefined | ((event: never) => void)>;

/** An element. `on…` functions listen, true is an attribute without a value, null and false are none. */
export function h<K extends keyof HTMLElementTagNameMap>(
	tag: K,
	attributes: Attributes | null,
	...children: Child[]
): HTMLElementTagNameMap[K] {
	const element = document.createElement(tag);
	for (const [name, value] of Object.entries(attributes ?? {})) {
		if (typeof value === "function") element.addEventListener(name.slice(2), value as EventListener);
		else if (value === true) element.setAttribute(name, "");
		else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
	}
	append(element, children);
	return element;
}

/** Replaces what is in an element. */
export function fill(element: Element, ...children: Child[]): void {
	element.replaceChildren();
	append(element, children);
}

function append(element: Element, children: Child[]): void {
	for (const child of children) {
		if (child === null || child === undefined || child === false) continue;
		element.append(child instanceof Node ? child : String(child));
	}
}

let last = 0;
/** An id that no other element has. */
export function newId(prefix: string): string {
	last += 1;
	return `${prefix}-${last}`;
}

const SVG = "http://www.w3.org/2000/svg";
const SHAPES = {
	good: "M3 8.5l3.2 3.2L13 4.8",
	bad: "M4 4l8 8M12 4l-8 8",
	warn: "M8 2.5v7M8 12.4v1.1",
	idle: "M3.5 8h9",
	back: "M9.5 3L4.5 8l5 5",
	out: "M5 11L11 5M6 5h5v5",
	in: "M11 5L5 11M5 6v5h5",
};
export type Icon = keyof typeof SHAPES;

/** A drawing beside a word that says the same; readers of the screen are spared it. */
export function icon(name: Icon): SVGElement {
	const svg = document.createElementNS(SVG, "svg");
	for (const [key, value] of [["viewBox", "0 0 16 16"], ["class", "icon"], ["aria-hidden", "true"], ["focusable", "false"]] as const)
		svg.setAttribute(key, value);
	const path = document.createElementNS(SVG, "path");
	path.setAttribute("d", SHAPES[name]);
	svg.append(path);
	return svg;
}

export type Tone = "good" | "bad" | "warn" | "idle";

/** A state: a sign, a word and a colour, of which any one will do. */
export function mark(tone: Tone, word: string): HTMLElement {
	return h("span", { class: `mark ${tone}` }, icon(tone), word);
}

/** A message above or below what it speaks of. */
export function note(tone: Tone, ...children: Child[]): HTMLElement {
	return h("div", { class: `note ${tone}` }, icon(tone), h("div", null, ...children));
}

export interface Column<T> {
	head: string;
	/** Numbers stand at the right. */
	number?: boolean;
	/** Words may be broken anywhere. */
	long?: boolean;
	cell: (row: T) => Child;
}

/** A table that becomes a list of cards where it is narrow; the roles stay then (CSS would take them away). */
export function table<T>(label: string, columns: Column<T>[], rows: T[]): HTMLElement {
	const side = (c: Column<T>) => (c.number ? "number" : c.long ? "long" : null);
	const head = columns.map((c) => h("th", { scope: "col", role: "columnheader", class: side(c) }, c.head));
	const one = (row: T) =>
		h("tr", { role: "row" }, ...columns.map((c) => h("td", { role: "cell", class: side(c), "data-head": c.head }, h("span", null, c.cell(row)))));
	return h("table", { role: "table", "aria-label": label },
		h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ...head)),
		h("tbody", { role: "rowgroup" }, ...rows.map(one)));
}

/** A button that leads back. */
export function backButton(onclick: () => void): HTMLButtonElement {
	return h("button", { type: "button", class: "back quiet", onclick }, icon("back"), "Back to the list");
}

/** A button. */
export function button(text: string, onclick: () => void, attributes: Attributes = {}): HTMLButtonElement {
	return h("button", { type: "button", onclick, ...attributes }, text);
}

/** Asks before something that cannot be taken back. */
export function ask(question: string, detail: string, yes: string, no = "Cancel"): Promise<boolean> {
	return new Promise((resolve) => {
		const [title, text] = [newId("ask"), newId("ask")];
		const close = (answer: boolean) => { dialog.close(); dialog.remove(); resolve(answer); };
		const dialog = h("dialog", { "aria-labelledby": title, "aria-describedby": text },
			h("h2", { id: title }, question),
			h("p", { id: text }, detail),
			h("div", { class: "actions" },
				button(yes, () => close(true), { class: "danger" }),
				button(no, () => close(false), { autofocus: true })));
		dialog.addEventListener("cancel", (event) => { event.preventDefault(); close(false); });
		document.body.append(dialog);
		dialog.showModal();
	});
}

const voice = h("div", { class: "unseen", role: "status", "aria-live": "polite" });
document.body.append(voice);

/** Says something to readers of the screen. */
export function say(text: string): void {
	voice.textContent = text;
}
