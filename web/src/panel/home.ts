// Before a call: whether everything is in place, a large way to help, a pad for other calls, the devices to try.

import { ask, button, fill, h, icon, note } from "../common/dom";
import { Devices } from "./devices";
import { DialPad } from "./dialpad";
import { OrdinaryCalls } from "./ordinary";
import type { Panel } from "./panel";
import { Readiness } from "./readiness";
import { languages } from "./signin";
import { press, type View } from "./view";
import { clock, t } from "./words";

export class Home implements View {
	readonly element: HTMLElement;
	private readonly title = h("h1", { class: "unseen", tabindex: "-1" }, t("phone"));
	private readonly notes = h("div", { class: "said", role: "status" });
	private readonly pad: DialPad;
	private readonly parts: View[];
	private readonly padCard: HTMLElement;
	private shownNotes = "";

	constructor(private readonly panel: Panel, respeak: () => void) {
		const { who } = panel.state;
		const numbers = () => panel.state.who?.emergency ?? [];
		const help = numbers()[0] ?? "911";
		this.pad = new DialPad(numbers, (number) => panel.dial(number));
		const [calls, devices, readiness] = [new OrdinaryCalls(panel), new Devices(panel, false), new Readiness(panel)];
		this.parts = [calls, devices, readiness];
		this.padCard = h("section", { class: "card", "aria-label": t("otherCalls") }, this.pad.element);
		this.element = h("div", { class: "home" },
			h("header", null,
				h("div", { class: "me" }, h("span", { class: "brand" }, t("brand")), h("strong", null, who?.name || who?.agent || "")),
				languages(respeak),
				button(t("signOut"), () => void this.signOut(), { class: "quiet" })),
			h("main", null,
				this.title,
				this.notes,
				h("div", { class: "columns" },
					h("div", { class: "dialing" },
						press("phone", t("callHelp", { number: help }), () => panel.dial(help), { class: "help" }),
						calls.element,
						this.padCard),
					h("div", { class: "preparing" }, readiness.element, devices.element))));
		this.update();
	}

	update(): void {
		this.parts.forEach((part) => part.update());
		this.pad.update();
		// While somebody speaks the keys are the call's.
		this.padCard.hidden = this.panel.ordinary.some((call) => call.state !== "offered" && !call.isHeld);
		this.drawNotes();
	}

	shown(): void {
		// Not on the button that calls for help: a key that was meant for the screen before would press it.
		this.title.focus();
	}

	close(): void {
		this.parts.forEach((part) => part.close?.());
	}

	/** Whoever signs out while the PSAP may call is asked once. */
	private async signOut(): Promise<void> {
		const lease = this.panel.state.seen?.lease ?? null;
		if (lease === null || (await ask(t("signOutTitle"), t("signOutText", { time: clock(lease.expires) }), t("signOut"), t("stay")))) await this.panel.signOut();
	}

	private drawNotes(): void {
		const { seen, isOutdated, calls } = this.panel.state;
		const lease = seen?.lease ?? null;
		const now = JSON.stringify([lease?.expires, isOutdated && calls.length === 0]);
		if (now === this.shownNotes) return;
		this.shownNotes = now;
		fill(this.notes,
			lease !== null && h("div", { class: "note warn" }, icon("in"), h("div", null, h("p", null, h("strong", null, t("leaseTitle"))), h("p", null, t("leaseText", { time: clock(lease.expires) })))),
			isOutdated && calls.length === 0 && note("warn", h("p", null, t("outdated")), h("div", { class: "actions" }, button(t("reload"), () => location.reload()))));
	}
}
