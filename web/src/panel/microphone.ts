// The microphone: asked for when the agent signs in, kept open while it may be needed at once, and never waited for.
//
// Whoever makes a call gets a track immediately. If there is no microphone yet it carries silence; the microphone takes
// its place as soon as it is there (`replaceTrack` needs no new offer).

import { audio, silence } from "./sound";

const CHOSEN = "e911d.panel.microphone";

/**
 * - `unasked`: nobody has been asked yet
 * - `asking`: the browser asks
 * - `on` / `off`: allowed; open or not
 * - `refused`: the browser or whoever sits there says no
 * - `missing`: there is none, or another program has it
 */
export type MicrophoneState = "unasked" | "asking" | "on" | "off" | "refused" | "missing";

export class Microphone {
	state: MicrophoneState = "unasked";
	devices: MediaDeviceInfo[] = [];
	private stream: MediaStream | null = null;
	private meter: AnalyserNode | null = null;
	private samples = new Float32Array(512);
	private isWanted = false;
	private attempt = 0;

	/** `changed`: its state or the list; `replaced`: calls are to speak with another track. */
	constructor(private readonly changed: () => void, private readonly replaced: () => void) {
		const list = () => void this.list();
		navigator.mediaDevices?.addEventListener("devicechange", () => { list(); if (this.isWanted && this.state !== "on") void this.open(); });
		void navigator.permissions?.query({ name: "microphone" as PermissionName }).then((permission) => {
			const look = () => {
				if (permission.state === "denied") this.become("refused");
				else if (permission.state === "granted" && (this.state === "unasked" || this.state === "refused")) this.become("off");
				if (permission.state === "granted" && this.isWanted && this.state !== "on") void this.open();
			};
			permission.onchange = look;
			look();
		}).catch(() => {});
	}

	get chosen(): string {
		return this.stream?.getAudioTracks()[0]?.getSettings().deviceId ?? localStorage.getItem(CHOSEN) ?? "";
	}

	/** Opens it, asking if need be, or lets go of it. */
	want(yes: boolean): void {
		if (yes === this.isWanted) return;
		this.isWanted = yes;
		if (yes) void this.open();
		else this.close();
	}

	/** Asks once more, after somebody was told how to allow it. */
	retry(): void {
		this.isWanted = true;
		void this.open();
	}

	choose(device: string): void {
		localStorage.setItem(CHOSEN, device);
		if (this.isWanted) void this.open();
		else this.changed();
	}

	/** A track of one's own: what is said, or silence. */
	track(): MediaStreamTrack {
		return this.stream?.getAudioTracks()[0]?.clone() ?? silence();
	}

	get isLive(): boolean {
		return this.stream !== null;
	}

	/** How loud it is, 0 to 1. */
	level(): number {
		if (this.meter === null) return 0;
		this.meter.getFloatTimeDomainData(this.samples);
		const power = this.samples.reduce((sum, s) => sum + s * s, 0) / this.samples.length;
		const decibel = 10 * Math.log10(power + 1e-9);
		return Math.min(1, Math.max(0, (decibel + 60) / 55));
	}

	private async open(): Promise<void> {
		this.attempt += 1;
		const mine = this.attempt;
		if (this.state !== "on") this.become(this.state === "off" ? "off" : "asking");
		try {
			const stream = await this.get();
			if (mine !== this.attempt || !this.isWanted) return stop(stream);
			this.use(stream);
		} catch (error) {
			if (mine !== this.attempt) return;
			const name = (error as DOMException).name;
			this.drop();
			this.become(name === "NotAllowedError" || name === "SecurityError" ? "refused" : "missing");
			this.replaced();
		}
		await this.list();
	}

	private async get(): Promise<MediaStream> {
		const device = localStorage.getItem(CHOSEN);
		const voice = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
		try {
			return await navigator.mediaDevices.getUserMedia({ audio: device === null ? voice : { ...voice, deviceId: { exact: device } } });
		} catch (error) {
			// The chosen one is not plugged in: any other is better than none.
			if (device === null || (error as DOMException).name !== "OverconstrainedError") throw error;
			return navigator.mediaDevices.getUserMedia({ audio: voice });
		}
	}

	private use(stream: MediaStream): void {
		this.drop();
		this.stream = stream;
		const track = stream.getAudioTracks()[0];
		track?.addEventListener("ended", () => { if (this.stream === stream) { this.drop(); this.become("missing"); this.replaced(); if (this.isWanted) void this.open(); } });
		this.meter = audio().createAnalyser();
		this.meter.fftSize = this.samples.length;
		audio().createMediaStreamSource(stream).connect(this.meter);
		this.become("on");
		this.replaced();
	}

	private close(): void {
		this.attempt += 1;
		this.drop();
		if (this.state === "on" || this.state === "asking") this.become(this.state === "on" ? "off" : "unasked");
	}

	private drop(): void {
		if (this.stream !== null) stop(this.stream);
		this.meter?.disconnect();
		[this.stream, this.meter] = [null, null];
	}

	private async list(): Promise<void> {
		const all = await navigator.mediaDevices?.enumerateDevices().catch(() => []) ?? [];
		// Without permission they have neither names nor ids.
		this.devices = all.filter((d) => d.kind === "audioinput" && d.deviceId !== "");
		this.changed();
	}

	private become(state: MicrophoneState): void {
		this.state = state;
		this.changed();
	}
}

function stop(stream: MediaStream): void {
	stream.getTracks().forEach((track) => track.stop());
}
