// What must be in place before a call: of this browser what it says itself, of the gateway what its readiness report says.

import { button, fill, h, type Tone } from "../common/dom";
import type { Panel } from "./panel";
import { item, type View } from "./view";
import { t, type Word } from "./words";

interface Line { tone: Tone; what: string; help?: string; action?: { word: string; run: () => void } }

const LINES: Record<string, { tone: Tone; word: Word }> = {
	up: { tone: "good", word: "lineUp" },
	connecting: { tone: "warn", word: "lineConnecting" },
	down: { tone: "bad", word: "lineDown" },
	refused: { tone: "bad", word: "lineRefused" },
};

/** The gateway's checks that say something to an agent; the others are the operator's. */
const CHECKS: Record<string, Word> = {
	profile: "checkProfile", location: "checkLocation", mailbox: "checkMailbox", contacts: "checkContacts", number: "checkNumber", devices: "checkDevices",
};

export class Readiness implements View {
	readonly element: HTMLElement;
	private readonly list = h("ul", { class: "readiness" });
	private readonly summary = h("p", { class: "small muted", role: "status" });
	private shownLines = "";

	constructor(private readonly panel: Panel) {
		this.element = h("section", { class: "card", "aria-labelledby": "readiness" }, h("h2", { id: "readiness" }, t("readiness")), this.summary, this.list);
	}

	update(): void {
		const lines = [this.line(), this.microphone(), this.place(), ...this.attention(), ...this.gateway()];
		const now = JSON.stringify(lines);
		if (now === this.shownLines) return;
		this.shownLines = now;
		const missing = lines.filter((l) => l.tone === "bad" || l.tone === "warn").length;
		fill(this.summary, missing === 0 ? t("allReady") : missing === 1 ? t("oneMissing") : t("someMissing", { count: missing }));
		fill(this.list, ...lines.map(({ tone, what, help, action }) =>
			item(tone, what, help !== undefined && h("p", { class: "hint" }, help), action !== undefined && button(action.word, action.run))));
	}

	private line(): Line {
		const { tone, word } = LINES[this.panel.state.line] ?? { tone: "bad", word: "lineDown" };
		return tone === "bad" ? { tone, what: t(word), help: t("lineDownHelp") } : { tone, what: t(word) };
	}

	private microphone(): Line {
		const { state } = this.panel.microphone;
		if (state === "on" || state === "off") return { tone: "good", what: t("microphoneReady") };
		const action = { word: t("allowMicrophone"), run: () => this.panel.test(true) };
		if (state === "refused") return { tone: "bad", what: t("micRefused"), help: t("micRefusedHelp"), action: { ...action, word: t("tryAgain") } };
		if (state === "missing") return { tone: "bad", what: t("micMissing"), help: t("micMissingHelp"), action: { ...action, word: t("tryAgain") } };
		return { tone: "warn", what: t("micAsking"), help: t("micAskingHelp"), action };
	}

	private place(): Line {
		const { state, accuracy } = this.panel.place;
		if (state === "known") return { tone: "good", what: t("placeKnown", { metres: Math.max(1, Math.round(accuracy)) }) };
		const action = { word: t("allowLocation"), run: () => this.panel.place.start() };
		if (state === "refused") return { tone: "warn", what: t("placeRefused"), help: t("placeRefusedHelp") };
		if (state === "unknown") return { tone: "warn", what: t("placeUnknown"), help: t("placeUnknownHelp"), action: { ...action, word: t("tryAgain") } };
		return { tone: "warn", what: t("placeAsking"), help: t("placeAskingHelp"), action };
	}

	private attention(): Line[] {
		const { attention } = this.panel;
		if (!attention.exists) return [];
		if (attention.isAllowed) return [{ tone: "good", what: t("attentionReady") }];
		if (attention.isRefused) return [{ tone: "idle", what: t("attentionUnasked"), help: t("attentionRefusedHelp") }];
		return [{ tone: "idle", what: t("attentionUnasked"), help: t("attentionHelp"), action: { word: t("allowAttention"), run: () => attention.allow() } }];
	}

	private gateway(): Line[] {
		return (this.panel.state.checks ?? []).flatMap((check) => {
			const word = CHECKS[check.name];
			// What the page itself knows better: it is the device.
			if (check.ok || word === undefined || (check.name === "devices" && this.panel.state.line === "up")) return [];
			return [{ tone: "warn" as const, what: t(word), help: t("tellAdministrator") }];
		});
	}
}
