// The microphone and the speaker to choose and to try: before a call, and the one thing besides End call during an emergency.

import { button, fill, h, mark, newId } from "../common/dom";
import type { MicrophoneState } from "./microphone";
import type { Panel } from "./panel";
import { put, sign, type View } from "./view";
import { t, type Word } from "./words";

const STATES: Record<MicrophoneState, { tone: "good" | "bad" | "warn" | "idle"; word: Word }> = {
	unasked: { tone: "idle", word: "micUnasked" },
	asking: { tone: "warn", word: "micAsking" },
	on: { tone: "good", word: "micOn" },
	off: { tone: "good", word: "micOff" },
	refused: { tone: "bad", word: "micRefused" },
	missing: { tone: "bad", word: "micMissing" },
};

export class Devices implements View {
	readonly element: HTMLElement;
	private readonly microphone: HTMLSelectElement;
	private readonly speaker: HTMLSelectElement;
	private readonly speakerNone = h("p", { class: "hint" });
	private readonly meter: HTMLMeterElement;
	private readonly state = h("p", { class: "small", role: "status" });
	private readonly help = h("p", { class: "hint" });
	private readonly again: HTMLButtonElement;
	private shownLists = "";
	private frame = 0;

	/** `isCall`: during a call the microphone is on anyway. */
	constructor(private readonly panel: Panel, isCall: boolean) {
		const [microphone, speaker, title] = [newId("microphone"), newId("speaker"), newId("devices")];
		this.microphone = h("select", { id: microphone, onchange: () => panel.microphone.choose(this.microphone.value) });
		this.speaker = h("select", { id: speaker, onchange: () => panel.speaker.choose(this.speaker.value) });
		this.meter = h("meter", { min: 0, max: 1, value: 0, "aria-label": t("micLevel") });
		this.again = button("", () => (isCall ? panel.microphone.retry() : panel.test(true)));
		this.element = h("section", { class: "card devices", "aria-labelledby": title },
			h("h2", { id: title }, t("devices")),
			h("div", { class: "field" },
				h("label", { for: microphone }, sign("microphone"), t("microphone")),
				this.microphone, this.meter, this.state, this.help, h("div", { class: "actions" }, this.again)),
			h("div", { class: "field" },
				h("label", { for: speaker }, sign("speaker"), t("speaker")),
				this.speaker, this.speakerNone,
				h("div", { class: "actions" }, button(t("testTone"), () => panel.speaker.test()))));
		this.draw();
	}

	update(): void {
		const { state } = this.panel.microphone;
		const { tone, word } = STATES[state];
		if (this.state.dataset["is"] !== state) {
			this.state.dataset["is"] = state;
			fill(this.state, mark(tone, t(word)));
		}
		put(this.help, state === "refused" ? t("micRefusedHelp") : state === "missing" ? t("micMissingHelp") : "");
		put(this.again, state === "refused" || state === "missing" ? t("tryAgain") : t("testMicrophone"));
		this.again.hidden = state === "on" || state === "asking";
		this.meter.hidden = state !== "on";
		this.lists();
	}

	close(): void {
		cancelAnimationFrame(this.frame);
	}

	/** The lists as they are now; left alone while nothing changes, or a list that is open would close. */
	private lists(): void {
		const { microphone, speaker } = this.panel;
		const now = JSON.stringify([microphone.devices.map((d) => [d.deviceId, d.label]), microphone.chosen, speaker.devices.map((d) => [d.deviceId, d.label]), speaker.chosen]);
		if (now === this.shownLists) return;
		this.shownLists = now;
		options(this.microphone, microphone.devices, microphone.chosen, t("defaultDevice"));
		options(this.speaker, speaker.devices, speaker.chosen, t("defaultDevice"));
		this.speaker.disabled = !speaker.canChoose;
		put(this.speakerNone, speaker.canChoose ? "" : t("speakerFixed"));
	}

	private draw(): void {
		const value = this.panel.microphone.level();
		if (Math.abs(this.meter.value - value) > 0.01) this.meter.value = value;
		this.frame = requestAnimationFrame(() => this.draw());
	}
}

function options(select: HTMLSelectElement, devices: MediaDeviceInfo[], chosen: string, none: string): void {
	const named = devices.filter((d) => d.label !== "");
	const list = named.length === 0 ? [h("option", { value: "" }, none)] : named.map((d) => h("option", { value: d.deviceId, selected: d.deviceId === chosen }, d.label));
	fill(select, ...list);
}
