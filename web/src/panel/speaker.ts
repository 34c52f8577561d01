// The speaker: where calls are heard, and where rings and the test tone are played.

import { play, tones, type Pattern } from "./sound";

const CHOSEN = "e911d.panel.speaker";

export class Speaker {
	devices: MediaDeviceInfo[] = [];
	/** The browser plays nothing before somebody has clicked (autoplay policy). */
	isBlocked = false;
	private readonly calls = new Map<string, HTMLAudioElement>();
	private own: HTMLAudioElement | null = null;
	private ringing: { name: Pattern; stop: () => void } | null = null;

	constructor(private readonly changed: () => void) {
		navigator.mediaDevices?.addEventListener("devicechange", () => void this.list());
		void this.list();
	}

	get chosen(): string {
		return localStorage.getItem(CHOSEN) ?? "";
	}

	/** Whether this browser lets a page choose. */
	get canChoose(): boolean {
		return "setSinkId" in HTMLMediaElement.prototype && this.devices.length > 0;
	}

	choose(device: string): void {
		localStorage.setItem(CHOSEN, device);
		for (const element of this.elements()) void this.direct(element);
		this.changed();
	}

	/** Plays what comes from a call. */
	hear(id: string, sound: MediaStream): void {
		const element = this.calls.get(id) ?? new Audio();
		this.calls.set(id, element);
		element.srcObject = sound;
		void this.start(element);
	}

	/** A call that is put aside is not heard. */
	quiet(id: string, yes: boolean): void {
		const element = this.calls.get(id);
		if (element !== undefined) element.muted = yes;
	}

	silence(id: string): void {
		const element = this.calls.get(id);
		if (element === undefined) return;
		element.srcObject = null;
		this.calls.delete(id);
	}

	/** Plays this over and over; null: nothing. */
	ring(name: Pattern | null): void {
		if (this.ringing?.name === name) return;
		this.ringing?.stop();
		this.ringing = null;
		if (name === null) return;
		this.open();
		this.ringing = { name, stop: play(name) };
	}

	test(): void {
		this.open();
		const stop = play("test");
		setTimeout(stop, 2_000);
	}

	/** Somebody has clicked: plays what could not be played. */
	unblock(): void {
		this.isBlocked = false;
		for (const element of this.elements()) void this.start(element);
	}

	async list(): Promise<void> {
		const all = await navigator.mediaDevices?.enumerateDevices().catch(() => []) ?? [];
		this.devices = all.filter((d) => d.kind === "audiooutput" && d.deviceId !== "");
		this.changed();
	}

	private open(): void {
		if (this.own !== null) return;
		this.own = new Audio();
		this.own.srcObject = tones().stream;
		void this.start(this.own);
	}

	private elements(): HTMLAudioElement[] {
		return [...this.calls.values(), ...(this.own === null ? [] : [this.own])];
	}

	private async start(element: HTMLAudioElement): Promise<void> {
		await this.direct(element);
		try {
			await element.play();
		} catch (error) {
			if ((error as DOMException).name !== "NotAllowedError") return;
			this.isBlocked = true;
			this.changed();
		}
	}

	private async direct(element: HTMLAudioElement): Promise<void> {
		if (!("setSinkId" in element)) return;
		// One that is not plugged in any more: the machine's own is better than none.
		await element.setSinkId(this.chosen).catch(() => element.setSinkId("").catch(() => {}));
	}
}
