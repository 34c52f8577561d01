// Where the agent is, as her browser knows: told to the gateway while nothing happens, never asked for at dialing.

import type { Position } from "./desk";

const TOLD_EVERY = 60_000;
const OLDEST = 5 * 60_000;

/** `refused`: somebody said no; `unknown`: allowed, but the browser does not know. */
export type PlaceState = "unasked" | "asking" | "known" | "refused" | "unknown";

export class Place {
	state: PlaceState = "unasked";
	accuracy = 0;
	private watch: number | null = null;
	private last: Position | null = null;
	private told = 0;
	private again: ReturnType<typeof setInterval> | undefined;

	constructor(private readonly changed: () => void, private readonly tell: (position: Position) => Promise<void>) {
		void navigator.permissions?.query({ name: "geolocation" }).then((permission) => {
			const look = () => {
				if (permission.state === "denied") this.become("refused");
				else if (this.state === "refused") { this.become("unasked"); if (permission.state === "granted") this.start(); }
			};
			permission.onchange = look;
			look();
		}).catch(() => {});
	}

	/** Asks, and keeps looking. */
	start(): void {
		this.stop();
		if (!("geolocation" in navigator)) return this.become("unknown");
		if (this.state === "unasked") this.become("asking");
		this.watch = navigator.geolocation.watchPosition(
			(found) => this.found(found),
			(error) => this.become(error.code === error.PERMISSION_DENIED ? "refused" : "unknown"),
			{ enableHighAccuracy: true, maximumAge: OLDEST, timeout: 60_000 },
		);
		this.again = setInterval(() => this.send(), TOLD_EVERY);
	}

	stop(): void {
		clearInterval(this.again);
		if (this.watch !== null) navigator.geolocation.clearWatch(this.watch);
		[this.watch, this.last, this.told] = [null, null, 0];
	}

	private found({ coords, timestamp }: GeolocationPosition): void {
		this.last = { latitude: coords.latitude, longitude: coords.longitude, accuracy: coords.accuracy, at: `${new Date(timestamp).toISOString().slice(0, 19)}Z` };
		this.accuracy = coords.accuracy;
		this.become("known");
		if (Date.now() - this.told > TOLD_EVERY / 4) this.send();
	}

	private send(): void {
		if (this.last === null) return;
		this.told = Date.now();
		// The next one is told in a minute; a call goes out with what the gateway has.
		void this.tell(this.last).catch(() => { this.told = 0; });
	}

	private become(state: PlaceState): void {
		this.state = state;
		this.changed();
	}
}
