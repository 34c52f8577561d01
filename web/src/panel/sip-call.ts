// One call of the phone: a session of JsSIP and its RTCPeerConnection.
//
// An emergency call ends because somebody ends it, never because the network is gone (RULES P11): where JsSIP would say
// BYE for a lost path or a failed re-INVITE, a new way is looked for instead (ICE restart, RFC 8445 section 2.4).

import type { UA } from "jssip";
import type { RTCSession, TerminateOptions } from "jssip/lib/RTCSession";
import type { Call, CallState, Ending, Mark, PhoneHost } from "./phone";

/** Gathering candidates holds a call no longer. The first one is enough: the gateway learns the others from what comes. */
const GATHERING = 500;
const REROUTE_EVERY = 4_000;
/** So long an ordinary call may be without sound before it is over. */
const ORDINARY_PATIENCE = 30_000;
/** What JsSIP says when it gives a call up by itself. */
const CONNECTION_LOST = "Connection Error";
const GIVEN_UP = new Set([CONNECTION_LOST, "RTP Timeout", "WebRTC Error", "Request Timeout", "Internal Error"]);
const MEDIA: RTCConfiguration = { iceServers: [], bundlePolicy: "max-bundle", rtcpMuxPolicy: "require" };
const AUDIO_ALONE = { audio: true, video: false };

let last = 0;

interface Progress { originator: string; response?: Head }
export interface Head { status_code?: number; body?: string | null; getHeader(name: string): string | undefined }

/** What the gateway says of a call in `Priority` (RFC 3261 section 20.26, RFC 7090). */
export function markOf(message: Head | null | undefined): Mark {
	const priority = message?.getHeader("Priority")?.trim().toLowerCase();
	if (priority === "psap-callback") return "callback";
	return priority === "emergency" ? "emergency" : "none";
}

export class SipCall implements Call {
	readonly id: string;
	readonly began = Date.now();
	state: CallState;
	answered: number | null = null;
	ending: Ending | null = null;
	isMuted = false;
	isHeld = false;
	hasEarlySound = false;
	isHersAlready = false;
	private session: RTCSession | null = null;
	private track: MediaStreamTrack | null = null;
	/** Its INVITE was lost with the connection. */
	private isUnplaced = false;
	private lostSince: number | null = null;
	private rerouting: ReturnType<typeof setInterval> | undefined;
	/** The connection was lost before there was an answer: whoever dialed is not told that it failed. */
	onunplaced: () => void = () => {};

	constructor(private readonly page: PhoneHost, readonly direction: "out" | "in", readonly who: string, public mark: Mark) {
		last += 1;
		this.id = `call-${last}`;
		this.state = direction === "out" ? "dialing" : "offered";
	}

	/** Sends the INVITE. Also once more, where the first one was lost with its connection. */
	place(ua: UA, target: string): void {
		performance.mark("e911d.dialed");
		const eventHandlers = { peerconnection: ({ peerconnection }: { peerconnection: RTCPeerConnection }) => this.connection(peerconnection), icecandidate: firstCandidate() };
		try {
			this.attach(ua.call(target, { mediaStream: this.voice(), mediaConstraints: AUDIO_ALONE, pcConfig: MEDIA, eventHandlers }));
		} catch {
			// A browser without WebRTC, or one that has no sockets left.
			this.over("gateway", null);
		}
	}

	/** It was offered, with this INVITE. */
	offered(session: RTCSession, invite: Head): void {
		// RFC 5373 section 4.3.1; of an ordinary call it would open a microphone to whoever calls.
		this.isHersAlready = this.mark !== "none" && /^auto\b/i.test(invite.getHeader("Answer-Mode")?.trim() ?? "");
		session.on("peerconnection", ({ peerconnection }) => this.connection(peerconnection));
		session.on("icecandidate", firstCandidate());
		this.attach(session);
	}

	answer(): void {
		if (this.state !== "offered") return;
		this.become("answering");
		this.session?.answer({ mediaStream: this.voice(), mediaConstraints: AUDIO_ALONE, pcConfig: MEDIA });
	}

	hangUp(): void {
		if (this.state === "over") return;
		const refuses = this.state === "offered";
		this.over("here", null);
		this.end(refuses ? { status_code: 603 } : {});
	}

	busy(): void {
		if (this.state === "over") return;
		this.over("here", null);
		this.end({ status_code: 486 });
	}

	forget(): void {
		if (this.state === "over") return;
		this.over("here", null);
		// The gateway has ended this leg by itself; a BYE could be taken for the end of the call.
		if (this.session !== null) (this.session as unknown as { sendRequest: () => void }).sendRequest = () => {};
		this.end({});
	}

	mute(yes: boolean): void {
		this.isMuted = yes;
		if (this.track !== null) this.track.enabled = !yes;
		this.page.changed(this);
	}

	hold(yes: boolean): void {
		if (this.state !== "up" || this.isHeld === yes) return;
		if (yes ? this.session?.hold() : this.session?.unhold()) {
			this.isHeld = yes;
			this.page.changed(this);
		}
	}

	press(key: string): void {
		const sender = this.pc?.getSenders().find((s) => s.dtmf !== null);
		sender?.dtmf?.insertDTMF(sender.dtmf.toneBuffer + key, 160, 70);
	}

	speakWith(track: MediaStreamTrack): void {
		const before = this.track;
		this.track = track;
		track.enabled = !this.isMuted && !this.isHeld;
		for (const sender of this.pc?.getSenders() ?? []) void sender.replaceTrack(track).catch(() => {});
		before?.stop();
	}

	reroute(): void {
		// Asked while there is no line, JsSIP would wait for the answer for ever.
		if (this.page.isOnline && (this.state === "up" || this.state === "lost")) this.session?.renegotiate({ rtcOfferConstraints: { iceRestart: true } });
	}

	private get pc(): RTCPeerConnection | undefined {
		return this.session?.connection ?? undefined;
	}

	private voice(): MediaStream {
		this.track?.stop();
		this.track = this.page.voice();
		this.track.enabled = !this.isMuted;
		return new MediaStream([this.track]);
	}

	private attach(session: RTCSession): void {
		this.session = session;
		const end = session.terminate.bind(session);
		session.terminate = (options?: TerminateOptions) => {
			if (GIVEN_UP.has(String(options?.cause)) && this.mayGoOn()) return;
			this.isUnplaced = String(options?.cause) === CONNECTION_LOST && this.direction === "out" && this.answered === null;
			end(options);
		};
		session.on("progress", ({ originator, response }: Progress) => {
			if (originator !== "remote") return;
			this.marked(response);
			this.hasEarlySound ||= Boolean(response?.body);
			this.become("alerting");
		});
		session.on("accepted", ({ response }: Progress) => {
			if (this.direction === "out") {
				this.marked(response);
				performance.measure("e911d.dial-to-answer", "e911d.dialed");
			}
			this.answered ??= Date.now();
			this.become("up");
		});
		session.on("failed", ({ originator, message, cause }) => {
			if (this.state === "over") return;
			if (this.isUnplaced || (String(cause) === CONNECTION_LOST && this.direction === "out")) {
				this.isUnplaced = false;
				this.state = "dialing";
				this.onunplaced();
				return;
			}
			this.marked(message as unknown as Head | null);
			const isResponse = (message as { status_code?: number } | null)?.status_code !== undefined;
			this.over(String(originator) === "remote" && !isResponse ? "there" : "gateway", message as unknown as Head | null);
		});
		session.on("ended", ({ originator, message }) => this.over(String(originator) === "remote" ? "there" : "gateway", message as unknown as Head | null));
	}

	private marked(message: Head | null | undefined): void {
		const mark = markOf(message);
		if (mark !== "none") this.mark = mark;
	}

	/** Whether there is still a way for a call that JsSIP gives up. */
	private mayGoOn(): boolean {
		if (this.state !== "up" && this.state !== "lost") return false;
		// A re-INVITE that failed while there is sound has done no harm.
		const ice = this.pc?.iceConnectionState;
		if (ice === "connected" || ice === "completed") return true;
		if (this.mark === "none" && this.lostSince !== null && Date.now() - this.lostSince > ORDINARY_PATIENCE) return false;
		this.lose();
		return true;
	}

	private connection(pc: RTCPeerConnection): void {
		pc.addEventListener("icegatheringstatechange", () => {
			// JsSIP takes an event without a candidate for the end of the gathering.
			if (pc.iceGatheringState === "gathering") setTimeout(() => pc.dispatchEvent(new RTCPeerConnectionIceEvent("icecandidate")), GATHERING);
		});
		pc.addEventListener("track", ({ track, streams }) => this.page.hears(this, streams[0] ?? new MediaStream([track])));
		pc.addEventListener("iceconnectionstatechange", () => {
			if (pc.iceConnectionState === "disconnected" || pc.iceConnectionState === "failed") this.lose();
			if (pc.iceConnectionState === "connected" || pc.iceConnectionState === "completed") this.found();
		});
	}

	private lose(): void {
		if (this.state !== "up") return;
		this.lostSince = Date.now();
		this.become("lost");
		this.reroute();
		this.rerouting = setInterval(() => this.reroute(), REROUTE_EVERY);
	}

	private found(): void {
		performance.mark("e911d.media");
		clearInterval(this.rerouting);
		this.lostSince = null;
		if (this.state === "lost") this.become("up");
	}

	private become(state: CallState): void {
		if (this.state === "over" || (state === "alerting" && this.state !== "dialing")) return;
		this.state = state;
		this.page.changed(this);
	}

	private over(by: Ending["by"], message: Head | null): void {
		if (this.state === "over") return;
		const text = /"((?:[^"\\]|\\.)*)"/.exec(message?.getHeader("Warning") ?? "")?.[1] ?? "";
		const isTaken = /cause\s*=\s*200\b/.test(message?.getHeader("Reason") ?? "");
		this.ending = { by, status: message?.status_code ?? 0, text: text.replace(/\\(.)/g, "$1"), isTaken };
		this.state = "over";
		clearInterval(this.rerouting);
		this.track?.stop();
		this.page.changed(this);
	}

	private end(options: TerminateOptions): void {
		if (this.session === null || this.session.isEnded()) return;
		try {
			this.session.terminate(options);
		} catch {
			// It has ended by itself meanwhile.
		}
	}
}

/** Has the description sent with the first candidate, or without any. */
function firstCandidate(): (event: { candidate: RTCIceCandidate; ready: () => void }) => void {
	return ({ ready }) => ready();
}
