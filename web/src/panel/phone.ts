// A phone as the page uses it; who makes it ring and speak is behind this (sip-phone.ts).

/** What the gateway says of a call: an emergency call, the PSAP's call back (RFC 7090), or nothing. */
export type Mark = "emergency" | "callback" | "none";

/**
 * - `dialing`: nobody has answered, no bell has rung yet
 * - `alerting`: it rings there
 * - `offered`: it rings here
 * - `up`: both can speak
 * - `lost`: nothing comes through; the page is reconnecting
 * - `over`
 */
export type CallState = "dialing" | "alerting" | "offered" | "answering" | "up" | "lost" | "over";

/** Who ended it, with which status of SIP (0: none) and in which words; `isTaken`: somebody else has answered it. */
export interface Ending { by: "here" | "there" | "gateway"; status: number; text: string; isTaken: boolean }

export interface Call {
	readonly id: string;
	readonly direction: "out" | "in";
	/** Whom it goes to or comes from, as shown. */
	readonly who: string;
	readonly began: number;
	readonly mark: Mark;
	readonly state: CallState;
	readonly answered: number | null;
	readonly ending: Ending | null;
	readonly isMuted: boolean;
	readonly isHeld: boolean;
	/** The gateway rings because this page had the call before, and lost it: nobody is asked whether to answer. */
	readonly isHersAlready: boolean;
	/** The call itself brings sound before it is answered. */
	readonly hasEarlySound: boolean;

	answer(): void;
	/** Ends or refuses it. */
	hangUp(): void;
	/** Refuses it because there is another one. */
	busy(): void;
	/** Ends it here alone: another leg of the same call stands in its place. */
	forget(): void;
	mute(yes: boolean): void;
	hold(yes: boolean): void;
	press(key: string): void;
	/** The network is another one: a new way for the sound (ICE restart, RFC 8445). */
	reroute(): void;
	/** The microphone is another one. */
	speakWith(track: MediaStreamTrack): void;
}

/**
 * - `connecting`: not reachable for calls yet
 * - `up`: registered
 * - `down`: lost, tried again by itself
 * - `refused`: the gateway does not take the credentials; they are renewed
 */
export type LineState = "connecting" | "up" | "down" | "refused";

/** What the page has to give to a call, and is told of it. */
export interface PhoneHost {
	/** Whether the gateway can be told anything now. */
	readonly isOnline: boolean;
	line(state: LineState): void;
	rings(call: Call): void;
	changed(call: Call): void;
	/** A track to speak with, now, whatever the microphone does. It is the call's own. */
	voice(): MediaStreamTrack;
	/** What is heard of a call. */
	hears(call: Call, sound: MediaStream): void;
}

export interface Credentials { uri: string; username: string; password: string; expires: string }

export interface Phone {
	start(credentials: Credentials): void;
	/** Newer credentials: for the next time the gateway asks. */
	renew(credentials: Credentials): void;
	stop(): void;
	dial(number: string, mark: Mark): Call;
	/** Whether the line is really there: asks, and connects anew where no answer comes. */
	check(): void;
}
