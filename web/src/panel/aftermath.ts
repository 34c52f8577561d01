// After an emergency call that was not ended here: what it means, and the one click that calls again (RULES A2, P6).

import { h, icon } from "../common/dom";
import type { Aftermath, Panel } from "./panel";
import { deliberate, press, sign, type View } from "./view";
import { clock, t, type Word } from "./words";

const TEXTS: Record<Aftermath["kind"], { tone: string; title: Word; text: Word; again: Word; back: Word }> = {
	dropped: { tone: "warn", title: "droppedTitle", text: "droppedText", again: "callAgain", back: "iAmSafe" },
	failed: { tone: "bad", title: "failedTitle", text: "failedText", again: "callAgain", back: "backToPhone" },
	missed: { tone: "warn", title: "missedTitle", text: "missedText", again: "callHelp", back: "iAmSafe" },
};

export class AftermathView implements View {
	readonly element: HTMLElement;
	private readonly until = h("p", null);

	constructor(private readonly panel: Panel, aftermath: Aftermath) {
		const { tone, title, text, again, back } = TEXTS[aftermath.kind];
		const redial = deliberate(press("phone", t(again, { number: aftermath.dialed }), () => panel.dial(aftermath.dialed), { class: "help" }));
		this.element = h("main", { class: `aftermath ${tone}` },
			h("div", { class: "warning", role: "alert" }, aftermath.kind === "failed" ? sign("mobile") : icon("warn"),
				h("div", null, h("h1", null, t(title)), h("p", null, t(text, { number: aftermath.dialed })),
					aftermath.text !== "" && h("p", { class: "theirs" }, aftermath.text),
					this.until)),
			redial,
			h("button", { type: "button", class: "quiet back", onclick: () => panel.settle() }, t(back)));
		this.update();
	}

	update(): void {
		const lease = this.panel.state.seen?.lease ?? null;
		this.until.textContent = lease === null ? "" : t("theyCanCall", { time: clock(lease.expires) });
		this.until.hidden = lease === null;
	}

	shown(): void {
		this.element.querySelector<HTMLElement>("button.help")?.focus();
	}
}
