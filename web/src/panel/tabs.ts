// One tab is the phone: two of them would ring twice and speak over each other.
//
// Whoever holds a lock of the browser's (Web Locks API) is the phone; the others wait for it, or take it, but never while
// a call is up there.

const ASKED_EVERY = 1_500;
/** A tab that does not say whether it has a call by then is stuck. */
const SAYS_WITHIN = 3_000;
const CHANNEL = "e911d.panel";

interface Said { agent: string; kind: "ask" | "answer"; isBusy?: boolean }

export class Tabs {
	/** Whether the tab that is the phone has a call; null: it has not said. */
	isOtherBusy: boolean | null = null;
	private isPhone = false;
	private release: () => void = () => {};
	private agent = "";
	private asking: ReturnType<typeof setInterval> | undefined;
	private readonly channel = new BroadcastChannel(CHANNEL);

	constructor(private readonly changed: (isPhone: boolean) => void, private readonly isBusy: () => boolean) {
		this.channel.onmessage = ({ data }: MessageEvent<Said>) => this.heard(data);
	}

	/** Asks to be this agent's phone. */
	claim(agent: string): void {
		this.leave();
		this.agent = agent;
		void navigator.locks.request(this.lock, { ifAvailable: true }, (lock) => (lock === null ? this.wait() : this.hold())).catch(() => this.lost());
	}

	/** Becomes the phone instead of the other tab. */
	take(): void {
		if (this.isOtherBusy === true) return;
		void navigator.locks.request(this.lock, { steal: true }, () => this.hold()).catch(() => this.lost());
	}

	leave(): void {
		clearInterval(this.asking);
		this.isPhone = false;
		this.release();
		this.release = () => {};
		this.agent = "";
	}

	private get lock(): string {
		return `e911d.panel.${this.agent}`;
	}

	private hold(): Promise<void> {
		clearInterval(this.asking);
		this.isPhone = true;
		this.changed(true);
		return new Promise((resolve) => { this.release = resolve; });
	}

	private wait(): void {
		const agent = this.agent;
		this.isOtherBusy = null;
		this.changed(false);
		this.ask();
		setTimeout(() => this.says(this.isOtherBusy ?? false), SAYS_WITHIN);
		this.asking = setInterval(() => this.ask(), ASKED_EVERY);
		void navigator.locks.request(this.lock, () => (this.agent === agent && !this.isPhone ? this.hold() : undefined)).catch(() => this.lost());
	}

	private lost(): void {
		if (this.agent === "" || !this.isPhone) return;
		this.isPhone = false;
		this.wait();
	}

	private ask(): void {
		this.channel.postMessage({ agent: this.agent, kind: "ask" } satisfies Said);
	}

	private says(isBusy: boolean): void {
		if (this.isPhone || this.agent === "" || this.isOtherBusy === isBusy) return;
		this.isOtherBusy = isBusy;
		this.changed(false);
	}

	private heard({ agent, kind, isBusy }: Said): void {
		if (agent !== this.agent) return;
		if (kind === "ask" && this.isPhone) this.channel.postMessage({ agent, kind: "answer", isBusy: this.isBusy() } satisfies Said);
		if (kind === "answer") this.says(isBusy === true);
	}
}
