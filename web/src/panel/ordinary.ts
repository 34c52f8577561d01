// Ordinary calls: answer, hang up, mute, hold, keys. A small phone.

import { fill, h } from "../common/dom";
import { duration } from "../common/time";
import { keys } from "./dialpad";
import type { Panel } from "./panel";
import type { Call, CallState } from "./phone";
import { press, put, type View } from "./view";
import { t, type Word } from "./words";

const STATES: Record<CallState, Word> = {
	dialing: "stateCalling", alerting: "stateRinging", offered: "stateOffered", answering: "stateAnswering", up: "stateUp", lost: "stateLost", over: "stateOver",
};

export class OrdinaryCalls implements View {
	readonly element = h("div", { class: "calls" });
	private readonly cards = new Map<string, Card>();
	private readonly ticking = setInterval(() => this.update(), 500);

	constructor(private readonly panel: Panel) {}

	update(): void {
		const calls = this.panel.ordinary;
		const ids = calls.map((c) => c.id);
		if (ids.join() !== [...this.cards.keys()].join()) {
			for (const id of [...this.cards.keys()]) if (!ids.includes(id)) this.cards.delete(id);
			for (const call of calls) if (!this.cards.has(call.id)) this.cards.set(call.id, new Card(this.panel, call));
			fill(this.element, ...[...this.cards.values()].map((card) => card.element));
		}
		for (const card of this.cards.values()) card.update();
	}

	close(): void {
		clearInterval(this.ticking);
	}
}

class Card {
	readonly element: HTMLElement;
	private readonly state = h("p", { class: "small muted", role: "status" });
	private readonly time = h("p", { class: "figures" });
	private readonly actions = h("div", { class: "actions" });
	private readonly pad: HTMLElement;
	private readonly sent = h("p", { class: "figures sent" });
	private shown = "";

	constructor(private readonly panel: Panel, private readonly call: Call) {
		this.pad = h("div", { class: "tones", hidden: true }, this.sent, keys((key) => { call.press(key); this.sent.textContent += key; }));
		this.element = h("section", { class: "card ordinary", "aria-label": t("callWith", { who: call.who }) },
			h("div", { class: "head" }, h("p", { class: "who" }, call.who), this.time, this.state), this.actions, this.pad);
	}

	update(): void {
		const { call } = this;
		put(this.state, call.isHeld ? t("stateHeld") : t(STATES[call.state]));
		put(this.time, call.answered === null ? "" : duration(Date.now() - call.answered));
		const shape = call.state === "offered" ? "offered" : call.state === "up" || call.state === "lost" ? "up" : "waiting";
		if (shape !== this.shown) this.draw(shape);
		for (const [name, yes] of [["mute", call.isMuted], ["hold", call.isHeld], ["pad", !this.pad.hidden]] as const)
			this.actions.querySelector(`[data-does="${name}"]`)?.setAttribute("aria-pressed", String(yes));
	}

	private draw(shape: "offered" | "up" | "waiting"): void {
		this.shown = shape;
		const { call } = this;
		const end = press("hangup", t(shape === "offered" ? "refuse" : "hangUp"), () => call.hangUp(), { class: "hangup" });
		if (shape === "offered") fill(this.actions, press("phone", t("answer"), () => this.panel.answer(call), { class: "answer" }), end);
		else if (shape === "waiting") fill(this.actions, end);
		else fill(this.actions,
			press("mute", t("mute"), () => call.mute(!call.isMuted), { "data-does": "mute" }),
			press("pause", t("hold"), () => this.hold(), { "data-does": "hold" }),
			press("keypad", t("keypad"), () => { this.pad.hidden = !this.pad.hidden; this.update(); }, { "data-does": "pad" }),
			end);
		if (shape !== "up") this.pad.hidden = true;
	}

	private hold(): void {
		this.call.hold(!this.call.isHeld);
		this.panel.speaker.quiet(this.call.id, this.call.isHeld);
	}
}
