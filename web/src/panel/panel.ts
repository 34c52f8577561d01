// What the page does: it holds the phone, the microphone, the speaker and the session together. What it looks like is in the views.

import { Attention } from "./attention";
import { desk, isRefusal, languageOf, type AgentState, type Check, type Who } from "./desk";
import { Place } from "./location";
import { Microphone } from "./microphone";
import { isEmergency, plain } from "./numbers";
import type { Call, LineState, Phone, PhoneHost } from "./phone";
import { rejoin, type Memory } from "./rejoin";
import { SipPhone } from "./sip-phone";
import { audio } from "./sound";
import { Speaker } from "./speaker";
import { Store } from "./store";
import { Tabs } from "./tabs";
import { isChosen, speak, t, type Word } from "./words";
import { session } from "../common/session";

/** How an emergency call has ended, when it was not ended here. */
export interface Aftermath { kind: "dropped" | "failed" | "missed"; dialed: string; text: string }

export interface State {
	/** Null: nobody has signed in. */
	who: Who | null;
	/** Why nobody is signed in any more. */
	why: Word | null;
	/** Null: not known yet. */
	isPhone: boolean | null;
	line: LineState;
	calls: Call[];
	/** The page was reloaded while this call was up, and waits to be rung. */
	rejoining: Memory | null;
	aftermath: Aftermath | null;
	seen: AgentState | null;
	checks: Check[] | null;
	/** The gateway has another page by now. */
	isOutdated: boolean;
	/** The level of the microphone is shown before a call. */
	isTesting: boolean;
}

/** The PSAP may call so long after an emergency call at least (RULES L2); the microphone stays open. */
const WARM = 60 * 60_000;
const SEEN_EVERY = 20_000;
/** The gateway keeps the PSAP for 20 s; what is not rung by then is lost, unless the PSAP has not answered yet. */
const RUNG_WITHIN = 25_000;
const STILL_RINGS_EVERY = 2_000;
const TESTED_FOR = 3 * 60_000;
const BEAT = 2_000;
/** A machine that has missed the beat for so long was asleep; a page that nobody sees has one a minute. */
const ASLEEP = 90_000;

export class Panel implements PhoneHost {
	readonly store = new Store<State>({
		who: null, why: null, isPhone: null, line: "connecting", calls: [], rejoining: null, aftermath: null, seen: null,
		checks: null, isOutdated: false, isTesting: false,
	});
	readonly microphone = new Microphone(() => this.store.tell(), () => this.state.calls.forEach((call) => call.speakWith(this.microphone.track())));
	readonly speaker = new Speaker(() => this.store.tell());
	readonly place = new Place(() => this.store.tell(), (position) => desk.position(this.state.who?.agent ?? "", position));
	readonly attention = new Attention(() => this.store.tell());
	readonly tabs: Tabs;
	private readonly phone: Phone = new SipPhone(this);
	private build: string | null = null;
	private warmUntil = 0;
	/** Until then a call that she has ended while the page was away is not taken up again. */
	private endedUntil = 0;
	/** Until then the gateway rings a page that was reloaded while the PSAP rang. */
	private rungUntil = 0;
	/** Legs in whose place another one stands as soon as that is up. */
	private readonly replaced = new Map<Call, Call>();
	/** Why the session has ended during an emergency call: she is signed out when that is over. */
	private endsAs: Word | null = null;
	private beat = Date.now();
	/** The page was reloaded: what the gateway knows of the last call is shown again. */
	private isBack = false;
	private renewal: ReturnType<typeof setTimeout> | undefined;
	private testEnd: ReturnType<typeof setTimeout> | undefined;
	private wakeLock: WakeLockSentinel | null = null;

	constructor() {
		this.tabs = new Tabs((isPhone) => this.tab(isPhone), () => this.state.calls.length > 0 || this.state.rejoining !== null);
		session.onend = () => this.signedOut("signedOutByGateway");
		setInterval(() => this.tick(), BEAT);
		setInterval(() => void this.look(), SEEN_EVERY);
		for (const event of ["online", "focus", "pageshow"]) addEventListener(event, () => this.phone.check());
		addEventListener("online", () => this.networkChanged());
		document.addEventListener("visibilitychange", () => { if (!document.hidden) { this.phone.check(); this.stayAwake(); } });
		addEventListener("beforeunload", (event) => { if (this.state.calls.some((c) => c.state !== "offered")) event.preventDefault(); });
		// Browsers let a page sound after the first click.
		for (const event of ["pointerdown", "keydown"]) addEventListener(event, () => { audio(); if (this.speaker.isBlocked) this.speaker.unblock(); }, { capture: true });
	}

	get state(): Readonly<State> {
		return this.store.now;
	}

	get isOnline(): boolean {
		return this.state.line === "up";
	}

	/** The calls that are emergency calls: what the gateway says, and before it has said anything what was dialed. */
	get emergencies(): Call[] {
		return this.state.calls.filter((call) => call.mark !== "none" && call.state !== "offered" && !this.replaced.has(call));
	}

	/** Whether an emergency call of hers is alive; where nothing is heard any more another one takes its place (RULES C3). */
	private get isSpeaking(): boolean {
		return this.emergencies.some((call) => call.state !== "lost");
	}

	/** The PSAP's calls that wait for an answer. */
	get callbacks(): Call[] {
		return this.state.calls.filter((call) => call.mark !== "none" && call.state === "offered");
	}

	get ordinary(): Call[] {
		return this.state.calls.filter((call) => call.mark === "none");
	}

	/** Whoever was signed in before a reload still is; a call that was up is waited for. */
	begin(): void {
		const who = desk.kept();
		if (who === null) return;
		session.role = "agent";
		this.isBack = true;
		const memory = rejoin.recall();
		this.store.set({ rejoining: memory });
		if (memory !== null) {
			this.warm();
			setTimeout(() => void this.notRung(), RUNG_WITHIN);
		}
		this.signedIn(who);
		void this.renew();
	}

	async signIn(agent: string, password: string): Promise<void> {
		this.signedIn(await desk.signIn(agent, password));
	}

	async signOut(): Promise<void> {
		this.phone.stop();
		const said = desk.signOut();
		this.signedOut("signedOut");
		session.end("asked");
		await said;
	}

	dial(dialed: string): void {
		const number = plain(dialed);
		if (number === "") return;
		const isHelp = isEmergency(number, this.state.who?.emergency ?? []);
		if (!isHelp && this.emergencies.length > 0) return;
		if (isHelp) {
			this.setAside();
			this.warm();
		}
		this.add(this.phone.dial(number, isHelp ? "emergency" : "none"));
		this.store.set({ aftermath: null, rejoining: null });
	}

	answer(call: Call): void {
		if (call.mark !== "none") {
			this.setAside();
			this.warm();
			this.store.set({ aftermath: null });
		} else {
			this.ordinary.filter((c) => c !== call && c.state === "up").forEach((c) => c.hold(true));
		}
		this.wantMicrophone();
		this.attention.stop();
		call.answer();
	}

	/** After a call that was cut: she needs no more help. */
	settle(): void {
		this.store.set({ aftermath: null });
		if (this.state.who !== null) void desk.dismiss(this.state.who.agent).catch(() => {});
		void this.look();
	}

	stopRejoining(): void {
		this.endedUntil = Date.now() + RUNG_WITHIN;
		rejoin.forget();
		this.store.set({ rejoining: null });
	}

	/** Shows how loud the microphone is, for a while. */
	test(yes: boolean): void {
		clearTimeout(this.testEnd);
		if (yes) this.testEnd = setTimeout(() => this.test(false), TESTED_FOR);
		this.store.set({ isTesting: yes });
		if (yes) this.microphone.retry();
		this.wantMicrophone();
	}

	// As the phone's host.

	line(line: LineState): void {
		if (line === this.state.line) return;
		this.store.set({ line });
		if (line === "refused") void this.renew();
		if (line === "up") {
			for (const call of this.state.calls) if (call.state === "lost") call.reroute();
			void this.look();
		}
	}

	rings(call: Call): void {
		this.add(call);
		if (call.mark === "none") {
			if (this.emergencies.length > 0 || this.state.rejoining !== null) call.busy();
			return;
		}
		this.warm();
		if (call.isHersAlready) this.rejoin(call);
		else if (this.state.who?.answer === "auto" && !this.isSpeaking) this.answer(call);
		else this.callAttention();
	}

	changed(call: Call): void {
		this.replace(call);
		if (call.state === "over") this.over(call);
		if (call.mark === "emergency" && call.direction === "out") this.setAside();
		this.wantMicrophone();
		this.ring();
		this.remember();
		this.stayAwake();
		this.store.tell();
	}

	voice(): MediaStreamTrack {
		this.wantMicrophone();
		return this.microphone.track();
	}

	hears(call: Call, sound: MediaStream): void {
		this.speaker.hear(call.id, sound);
	}

	// The session.

	private signedIn(who: Who): void {
		if (!isChosen()) speak(languageOf(who), false);
		this.store.set({ who, why: null });
		this.sees(who.build);
		this.renewAt(who);
		this.tabs.claim(who.agent);
	}

	private signedOut(why: Word): void {
		if (this.state.who === null) return;
		// A session that has ended takes no call away: whoever speaks goes on speaking.
		this.endsAs = this.emergencies.length > 0 ? why : null;
		if (this.endsAs !== null) return;
		clearTimeout(this.renewal);
		this.state.calls.forEach((call) => call.hangUp());
		this.tabs.leave();
		this.phone.stop();
		this.place.stop();
		this.microphone.want(false);
		desk.forget();
		rejoin.forget();
		this.warmUntil = 0;
		this.store.set({ who: null, why, isPhone: null, line: "connecting", aftermath: null, rejoining: null, seen: null, checks: null, isTesting: false });
	}

	/** This tab is the agent's phone from now on, or is it no longer. */
	private tab(isPhone: boolean): void {
		if (this.state.who === null) return;
		const before = this.state.isPhone;
		this.store.set({ isPhone });
		this.store.tell();
		if (isPhone === before) return;
		if (isPhone) {
			this.phone.start(this.state.who.sip);
			this.place.start();
			if (this.state.rejoining === null) this.test(true);
			void this.look();
		} else if (this.emergencies.length === 0) this.rest();
	}

	/** Another tab is the phone: this one lets go of everything. */
	private rest(): void {
		this.state.calls.forEach((call) => call.hangUp());
		this.phone.stop();
		this.place.stop();
		this.test(false);
	}

	private async renew(): Promise<void> {
		try {
			const who = await desk.renew();
			if (this.state.who === null) {
				desk.forget();
				return session.end("asked");
			}
			this.phone.renew(who.sip);
			this.store.set({ who });
			this.sees(who.build);
			this.renewAt(who);
		} catch (error) {
			if (isRefusal(error, 401)) return;
			clearTimeout(this.renewal);
			this.renewal = setTimeout(() => void this.renew(), SEEN_EVERY);
		}
	}

	/** Half way to the first of both ends. */
	private renewAt(who: Who): void {
		clearTimeout(this.renewal);
		const left = Math.min(Date.parse(who.expires), Date.parse(who.sip.expires)) - Date.now();
		this.renewal = setTimeout(() => void this.renew(), Math.min(Math.max(left / 2, 30_000), 6 * 3_600_000));
	}

	/** What the gateway knows of her: an open lease, her readiness, which page it would give her now. */
	private async look(): Promise<void> {
		const { who, isPhone } = this.state;
		if (who === null || isPhone !== true) return;
		try {
			const seen = await desk.state();
			this.store.set({ seen });
			this.sees(seen.build);
			if (this.isBack) this.cameBack(seen);
			if (seen.lease !== null) this.warmUntil = Math.max(this.warmUntil, Date.parse(seen.lease.expires));
			this.wantMicrophone();
			if (this.emergencies.length === 0) this.store.set({ checks: await desk.readiness(who.agent) });
		} catch {
			// Asked again in a while; a call needs none of it.
		}
	}

	private cameBack(seen: AgentState): void {
		this.isBack = false;
		if (this.state.calls.length > 0 || this.state.rejoining !== null || this.state.aftermath !== null) return;
		const dialed = this.state.who?.emergency[0] ?? "911";
		if (seen.message === "use_mobile") this.store.set({ aftermath: { kind: "failed", dialed, text: "" } });
		else if (seen.dropped) this.store.set({ aftermath: { kind: "dropped", dialed, text: "" } });
	}

	private sees(build: string): void {
		this.build ??= build;
		if (build !== this.build) this.store.set({ isOutdated: true });
	}

	// Calls.

	private add(call: Call): void {
		this.store.set({ calls: [...this.state.calls, call] });
		this.changed(call);
	}

	private over(call: Call): void {
		this.speaker.silence(call.id);
		const calls = this.state.calls.filter((c) => c !== call);
		this.store.set({ calls });
		for (const other of calls) this.speaker.quiet(other.id, other.isHeld);
		if (call.mark === "none") return;
		this.attention.stop();
		this.settled();
		void this.look();
		const { ending } = call;
		if (ending === null || ending.by === "here" || ending.isTaken || this.emergencies.length > 0) return;
		const dialed = call.direction === "out" ? call.who : (this.state.who?.emergency[0] ?? "911");
		if (call.answered !== null) this.store.set({ aftermath: { kind: "dropped", dialed, text: "" } });
		else if (call.direction === "out") this.store.set({ aftermath: { kind: "failed", dialed, text: ending.text } });
		else this.store.set({ aftermath: { kind: "missed", dialed, text: "" } });
	}

	/** Does what had to wait for the end of an emergency call. */
	private settled(): void {
		if (this.emergencies.length > 0) return;
		if (this.endsAs !== null) this.signedOut(this.endsAs);
		else if (this.state.isPhone === false) this.rest();
	}

	/** Ordinary calls give way: the other side hears nothing of what is said now. */
	private setAside(): void {
		for (const call of this.ordinary) {
			if (call.state === "offered") call.busy();
			else if (call.state === "up") call.hold(true);
			else call.hangUp();
			this.speaker.quiet(call.id, true);
		}
	}

	private rejoin(call: Call): void {
		if (Date.now() < this.endedUntil) return call.hangUp();
		for (const old of this.emergencies) this.replaced.set(old, call);
		this.store.set({ rejoining: null });
		call.answer();
	}

	/** The old leg is heard until the new one is; where that one fails the old one is all there is. */
	private replace(call: Call): void {
		if (call.state !== "up" && call.state !== "over") return;
		for (const [old, by] of [...this.replaced]) {
			if (by !== call) continue;
			this.replaced.delete(old);
			if (call.state === "up") old.forget();
		}
	}

	private async notRung(): Promise<void> {
		if (this.state.rejoining === null) return;
		const seen = await desk.state().catch(() => null);
		const memory = this.state.rejoining;
		if (memory === null) return;
		if (isBeingPlaced(seen)) this.rungUntil = Date.now() + RUNG_WITHIN;
		if (this.state.isPhone === true && seen?.call != null && Date.now() < this.rungUntil) {
			rejoin.remember({ ...memory, who: memory.dialed });
			setTimeout(() => void this.notRung(), STILL_RINGS_EVERY);
			return;
		}
		rejoin.forget();
		if (this.state.isPhone !== true) return this.store.set({ rejoining: null });
		const numbers = this.state.who?.emergency ?? [];
		const dialed = isEmergency(memory.dialed, numbers) ? memory.dialed : (numbers[0] ?? "911");
		this.store.set({ rejoining: null, aftermath: { kind: "dropped", dialed, text: "" } });
	}

	private remember(): void {
		const call = this.emergencies[0];
		if (call !== undefined) rejoin.remember(call);
		else if (this.state.rejoining === null) rejoin.forget();
	}

	private networkChanged(): void {
		this.phone.check();
		this.state.calls.forEach((call) => call.reroute());
	}

	// Sound.

	private warm(): void {
		this.warmUntil = Math.max(this.warmUntil, Date.now() + WARM);
		this.wantMicrophone();
	}

	private wantMicrophone(): void {
		this.microphone.want(this.state.calls.length > 0 || this.state.isTesting || Date.now() < this.warmUntil);
	}

	private ring(): void {
		const { calls } = this.state;
		if (this.callbacks.length > 0) this.speaker.ring(this.isSpeaking ? null : "urgent");
		else if (this.ordinary.some((c) => c.state === "offered")) this.speaker.ring("ring");
		else if (calls.some((c) => c.state === "alerting" && !c.hasEarlySound)) this.speaker.ring("ringback");
		else this.speaker.ring(null);
	}

	/** Whoever looks at something else hears and sees it all the same, where the browser lets us. */
	private callAttention(): void {
		window.focus();
		navigator.vibrate?.([400, 200, 400, 200, 400]);
		this.attention.call(t("callbackTitle"));
	}

	private stayAwake(): void {
		const wanted = this.emergencies.length > 0;
		if (!wanted) {
			void this.wakeLock?.release();
			this.wakeLock = null;
		} else if (this.wakeLock === null || this.wakeLock.released) {
			void navigator.wakeLock?.request("screen").then((lock) => { this.wakeLock = lock; }).catch(() => {});
		}
	}

	private tick(): void {
		const now = Date.now();
		if (now - this.beat > ASLEEP) {
			this.phone.check();
			this.networkChanged();
			void this.renew();
		}
		this.beat = now;
		this.remember();
		this.wantMicrophone();
	}
}

/** Whether the gateway still waits for the PSAP's answer: it rings the page as soon as there is one. */
function isBeingPlaced(seen: AgentState | null): boolean {
	return seen?.call?.kind === "emergency" && seen.call.state !== "talking";
}
