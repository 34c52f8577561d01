// An emergency call: that it is running, how it stands, the devices, End call. Nothing else is in the page (RULES A6).

import { fill, h, icon } from "../common/dom";
import { duration } from "../common/time";
import { Devices } from "./devices";
import type { Panel } from "./panel";
import type { Call } from "./phone";
import { deliberate, press, put, type View } from "./view";
import { t } from "./words";

/** So long nothing may have gone out before a mobile phone is advised. */
const ADVISED_AFTER = 6_000;
/** A microphone that may be used is open by then. */
const OPENS_WITHIN = 1_500;

export class EmergencyView implements View {
	readonly element: HTMLElement;
	private readonly legs = h("div", { class: "legs" });
	private readonly advice = h("div", { class: "said", role: "alert" });
	private readonly devices: Devices;
	private readonly shownLegs = new Map<string, Leg>();
	private shownAdvice = "";
	private readonly ticking = setInterval(() => this.update(), 500);

	constructor(private readonly panel: Panel) {
		this.devices = new Devices(panel, true);
		this.element = h("main", { class: "emergency" },
			h("div", { class: "warning", role: "alert" }, icon("warn"),
				h("div", null, h("h1", null, t("emergencyRunning")), h("p", null, t("emergencyStay")))),
			this.legs, this.advice, this.devices.element);
		this.update();
	}

	update(): void {
		this.drawLegs();
		this.drawAdvice();
		this.devices.update();
	}

	shown(): void {
		this.element.querySelector<HTMLElement>("button.end")?.focus();
	}

	close(): void {
		clearInterval(this.ticking);
		this.devices.close();
	}

	private drawLegs(): void {
		const { rejoining } = this.panel.state;
		const calls = this.panel.emergencies;
		const wanted = calls.length === 0 && rejoining !== null ? ["rejoining"] : calls.map((c) => c.id);
		if (wanted.join() !== [...this.shownLegs.keys()].join()) {
			const kept = new Map(wanted.map((id) => [id, this.shownLegs.get(id) ?? new Leg()]));
			this.shownLegs.clear();
			for (const [id, leg] of kept) this.shownLegs.set(id, leg);
			const focus = document.activeElement?.classList.contains("end");
			fill(this.legs, ...[...kept.values()].map((leg) => leg.element));
			if (focus) this.shown();
		}
		const isOnline = this.panel.state.line === "up";
		for (const call of calls) this.shownLegs.get(call.id)?.update(call.who, state(call, isOnline), call.answered, () => call.hangUp());
		if (calls.length === 0 && rejoining !== null)
			this.shownLegs.get("rejoining")?.update(rejoining.dialed, { tone: "warn", text: t("stateRejoining") }, rejoining.began, () => this.panel.stopRejoining());
	}

	private drawAdvice(): void {
		const said = this.advise();
		if (said.join() === this.shownAdvice) return;
		this.shownAdvice = said.join();
		fill(this.advice, ...said.map((text) => h("div", { class: "note warn" }, icon("warn"), h("div", null, h("p", null, text)))));
	}

	private advise(): string[] {
		const { microphone, speaker, state, emergencies } = this.panel;
		const said: string[] = [];
		const isWaiting = emergencies.some((c) => c.state === "dialing" && Date.now() - c.began > ADVISED_AFTER);
		const isLost = emergencies.some((c) => c.state === "lost") || state.rejoining !== null;
		if (isWaiting) said.push(t("adviseMobile"));
		else if (isLost) said.push(t("adviseLost"));
		if (microphone.state === "refused" || microphone.state === "missing") said.push(t("adviseListenOnly"));
		else if (!microphone.isLive && emergencies.some((c) => Date.now() - c.began > OPENS_WITHIN)) said.push(t("adviseAllow"));
		if (speaker.isBlocked) said.push(t("adviseClick"));
		return said;
	}
}

/** One call: its state, its time, its end. */
class Leg {
	readonly element: HTMLElement;
	private readonly who = h("p", { class: "who" });
	private readonly state = h("p", { class: "state", role: "status" });
	private readonly time = h("p", { class: "time", role: "timer" });
	private end: () => void = () => {};

	constructor() {
		this.time.setAttribute("aria-label", t("elapsed"));
		this.element = h("section", { class: "leg", role: "group", "aria-label": t("thisCall") }, this.who, this.state, this.time,
			deliberate(press("hangup", t("endCall"), () => this.end(), { class: "end" })));
	}

	update(who: string, now: { tone: string; text: string }, since: number | null, end: () => void): void {
		this.end = end;
		put(this.who, who);
		put(this.state, now.text);
		this.state.className = `state ${now.tone}`;
		put(this.time, since === null ? "" : duration(Date.now() - since));
		this.time.hidden = since === null;
	}
}

function state(call: Call, isOnline: boolean): { tone: string; text: string } {
	if (call.state === "dialing") return isOnline ? { tone: "idle", text: t("stateCalling") } : { tone: "warn", text: t("stateConnecting") };
	if (call.state === "alerting") return { tone: "idle", text: t("stateRinging") };
	if (call.state === "answering") return { tone: "idle", text: t("stateAnswering") };
	if (call.state === "lost" || !isOnline) return { tone: "warn", text: t("stateLost") };
	return { tone: "good", text: t("stateUp") };
}
