// What a screen of the page is: made when it is shown, thrown away when it is not. What is not shown is not in the document.

import { h, icon, type Child, type Tone } from "../common/dom";

export interface View {
	readonly element: HTMLElement;
	/** Something has changed. */
	update(): void;
	/** It is in the document now. */
	shown?(): void;
	/** It will be no more. */
	close?(): void;
}

const SHAPES = {
	phone: "M3.2 2.2h2.6l1.2 3-1.6 1.3a8 8 0 0 0 4.1 4.1l1.3-1.6 3 1.2v2.6c0 .6-.5 1-1 1C7 13.8 2.2 9 2.2 3.200c0-.5.4-1 1-1z",
	hangup: "M2 9.500c0-1 .3-1.8 1-2.3 3-2.1 7-2.1 10 0 .7.5 1 1.3 1 2.300l-.2 1.2-3.3-.5-.4-2.100a7 7 0 0 0-4.2 0l-.4 2.1-3.3.5z",
	mobile: "M5 1.500h6a1 1 0 0 1 1 1v11a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1v-11a1 1 0 0 1 1-1zM7.3 12.300h1.4",
	microphone: "M8 1.800a2 2 0 0 1 2 2v4a2 2 0 0 1-4 0v-4a2 2 0 0 1 2-2zM3.8 7.500a4.2 4.2 0 0 0 8.4 0M8 11.700v2.5",
	mute: "M2.5 2.500l11 11M10 6.500V3.800a2 2 0 0 0-3.7-1M6 6.200v1.600a2 2 0 0 0 3 1.700M3.8 7.500a4.2 4.2 0 0 0 6.5 3.500M8 11.700v2.500M12.2 7.500a4 4 0 0 1-.4 1.7",
	speaker: "M2.5 6v4h2.500l3.5 3V3L5 6zM11 5.800a3 3 0 0 1 0 4.400M12.8 4a5.6 5.6 0 0 1 0 8",
	pause: "M5.5 3v10M10.5 3v10",
	keypad: "M3.5 3.500h.01M8 3.500h.01M12.5 3.500h.01M3.5 8h.01M8 8h.01M12.5 8h.01M3.5 12.500h.01M8 12.500h.01M12.5 12.500h.01",
	erase: "M5.5 3.500h8v9h-8L2 8zM7.5 6.500l3 3M10.5 6.500l-3 3",
} as const;

/** A drawing beside a word that says the same. */
export function sign(name: keyof typeof SHAPES): SVGElement {
	const svg = icon("idle");
	svg.querySelector("path")?.setAttribute("d", SHAPES[name]);
	svg.classList.add("sign");
	return svg;
}

/** A button with a drawing. */
export function press(name: keyof typeof SHAPES, word: string, onclick: () => void, attributes: Record<string, string | boolean | null> = {}): HTMLButtonElement {
	return h("button", { type: "button", onclick, ...attributes }, sign(name), h("span", null, word));
}

/** So long after it has come under the fingers a button is not pressed by a key that was meant for the one before. */
const MEANT_AFTER = 700;

/** A button that takes the focus when it is shown: neither a key that is held nor one that is pressed twice presses it. */
export function deliberate(button: HTMLButtonElement): HTMLButtonElement {
	const shown = Date.now();
	const stray = (event: KeyboardEvent) => { if ((event.key === "Enter" || event.key === " ") && (event.repeat || Date.now() - shown < MEANT_AFTER)) event.preventDefault(); };
	button.addEventListener("keydown", stray);
	// The space bar presses when it comes up.
	button.addEventListener("keyup", stray);
	return button;
}

/** Puts it there only if it says something else: what stays as it is is not read out again. */
export function put(element: Element, content: string): void {
	if (element.textContent !== content) element.textContent = content;
}

/** A line of a list: done or not. */
export function item(tone: Tone, what: string, ...more: Child[]): HTMLLIElement {
	return h("li", { class: tone }, h("span", { class: `mark ${tone}` }, icon(tone)), h("div", null, h("span", { class: "what" }, what), ...more));
}
