// Twelve keys and what was typed.

import { button, h, newId } from "../common/dom";
import { isEmergency, plain } from "./numbers";
import { put, sign, type View } from "./view";
import { t } from "./words";

const KEYS = [["1", ""], ["2", "ABC"], ["3", "DEF"], ["4", "GHI"], ["5", "JKL"], ["6", "MNO"], ["7", "PQRS"], ["8", "TUV"], ["9", "WXYZ"], ["*", ""], ["0", "+"], ["#", ""]] as const;

/** The keys alone: for tones in a call, or below a number. */
export function keys(pressed: (key: string) => void): HTMLElement {
	return h("div", { class: "keys", role: "group", "aria-label": t("keypad") }, ...KEYS.map(([key, letters]) =>
		h("button", { type: "button", "aria-label": key === "*" ? t("star") : key === "#" ? t("pound") : null, onclick: () => pressed(key) }, h("span", null, key), h("small", { "aria-hidden": "true" }, letters))));
}

export class DialPad implements View {
	readonly element: HTMLElement;
	private readonly input: HTMLInputElement;
	private readonly call: HTMLButtonElement;
	private readonly word = h("span", null, t("call"));

	constructor(private readonly numbers: () => string[], private readonly dial: (number: string) => void) {
		const id = newId("number");
		this.input = h("input", { id, type: "tel", inputmode: "tel", autocomplete: "off", spellcheck: "false", oninput: () => this.update() });
		this.call = h("button", { type: "submit", class: "call" }, sign("phone"), this.word);
		this.element = h("form", { class: "dialpad", novalidate: true, onsubmit: (event: Event) => { event.preventDefault(); this.submit(); } },
			h("label", { for: id }, t("number")),
			h("div", { class: "typed" }, this.input, button("", () => this.erase(), { class: "quiet erase", "aria-label": t("erase") })),
			keys((key) => { this.input.value += key; this.update(); }),
			this.call);
		this.element.querySelector(".erase")?.append(sign("erase"));
		this.update();
	}

	update(): void {
		const isHelp = isEmergency(this.input.value, this.numbers());
		this.call.classList.toggle("help", isHelp);
		put(this.word, isHelp ? t("callHelp", { number: plain(this.input.value) }) : t("call"));
		this.call.disabled = plain(this.input.value) === "";
	}

	private erase(): void {
		this.input.value = this.input.value.slice(0, -1);
		this.update();
		this.input.focus();
	}

	private submit(): void {
		const number = this.input.value;
		if (plain(number) === "") return;
		this.input.value = "";
		this.update();
		this.dial(number);
	}
}
