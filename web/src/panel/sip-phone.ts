// The phone made of JsSIP: SIP over the WebSocket of the page's own host (RFC 7118), registered, one call a session.

import { UA } from "jssip";
import type { Socket } from "jssip";
import type { IncomingRTCSessionEvent, RTCSessionEvent, UAConfiguration } from "jssip/lib/UA";
import type { Call, Credentials, Mark, Phone, PhoneHost } from "./phone";
import { markOf, SipCall } from "./sip-call";
import { Wire } from "./wire";

/** A lost connection is tried again after a pause between these, in seconds. */
const SOONEST = 1;
const LATEST = 4;
const REGISTERED_FOR = 300;
const TRY_AGAIN = 3_000;
/** A callback rings until somebody answers, not until the page has enough of it (seconds). */
const RINGS_FOR = 24 * 3600;
/** So long the gateway may take to ring the page for a call that was being placed when the connection was lost. */
const RUNG_AGAIN_WITHIN = 2_500;

export class SipPhone implements Phone {
	private ua: UA | null = null;
	private wire: Wire | null = null;
	private host = "";
	private again: ReturnType<typeof setTimeout> | undefined;
	/** Dialed while there was no connection: placed as soon as there is one. */
	private waiting: (() => void)[] = [];

	constructor(private readonly page: PhoneHost) {}

	start(credentials: Credentials): void {
		this.stop();
		this.host = credentials.uri.slice(credentials.uri.indexOf("@") + 1);
		this.wire = new Wire(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/sip`);
		const ua = new UA({
			sockets: [this.wire as unknown as Socket],
			uri: credentials.uri,
			authorization_user: credentials.username,
			password: credentials.password,
			register_expires: REGISTERED_FOR,
			session_timers: false,
			no_answer_timeout: RINGS_FOR,
			connection_recovery_min_interval: SOONEST,
			connection_recovery_max_interval: LATEST,
			user_agent: "e911d panel",
		} as UAConfiguration);
		ua.on("connected", () => this.page.line("connecting"));
		ua.on("disconnected", () => this.page.line("down"));
		ua.on("registered", () => this.registered());
		ua.on("unregistered", () => this.page.line(ua.isConnected() ? "connecting" : "down"));
		ua.on("registrationFailed", ({ response }) => this.failed(response?.status_code ?? 0));
		ua.on("newRTCSession", (event: RTCSessionEvent) => { if (String(event.originator) === "remote") this.offered(event as IncomingRTCSessionEvent); });
		this.ua = ua;
		ua.start();
	}

	renew({ username, password }: Credentials): void {
		this.ua?.set("authorization_user", username);
		this.ua?.set("password", password);
	}

	stop(): void {
		clearTimeout(this.again);
		this.waiting = [];
		this.ua?.removeAllListeners();
		this.ua?.stop();
		this.ua = null;
	}

	dial(number: string, mark: Mark): Call {
		const user = encodeURIComponent(number).replaceAll("%2B", "+").replaceAll("%2A", "*");
		const call = new SipCall(this.page, "out", number, mark);
		const place = () => {
			if (this.ua !== null && call.state !== "over") call.place(this.ua, `sip:${user}@${this.host}`);
		};
		call.onunplaced = () => {
			this.waiting.push(() => setTimeout(place, RUNG_AGAIN_WITHIN));
			this.page.changed(call);
		};
		if (this.ua?.isRegistered() === true) place();
		else this.waiting.push(place);
		this.check();
		return call;
	}

	check(): void {
		this.wire?.check();
	}

	private registered(): void {
		this.page.line("up");
		const waiting = this.waiting;
		this.waiting = [];
		for (const place of waiting) place();
	}

	private failed(status: number): void {
		clearTimeout(this.again);
		this.again = setTimeout(() => { if (this.ua?.isConnected()) this.ua.register(); }, TRY_AGAIN);
		this.page.line(status === 401 || status === 403 || status === 407 ? "refused" : this.ua?.isConnected() ? "connecting" : "down");
		// The gateway places an emergency call of whoever shows credentials, registered or not (RULES R8).
		const waiting = this.waiting;
		this.waiting = [];
		if (this.ua?.isConnected()) for (const place of waiting) place();
		else this.waiting = waiting;
	}

	private offered({ session, request }: IncomingRTCSessionEvent): void {
		const from = request.from;
		const call = new SipCall(this.page, "in", from.display_name || from.uri.user || "", markOf(request));
		call.offered(session, request);
		this.page.rings(call);
	}
}
