// Whoever works in another window is told of a callback by the system's notification, where that is allowed.

export class Attention {
	private shown: Notification | null = null;

	constructor(private readonly changed: () => void) {}

	/** Whether this browser has notifications at all. */
	get exists(): boolean {
		return "Notification" in window;
	}

	get isAllowed(): boolean {
		return this.exists && Notification.permission === "granted";
	}

	get isRefused(): boolean {
		return this.exists && Notification.permission === "denied";
	}

	/** Browsers ask only after a click. */
	allow(): void {
		void Notification.requestPermission().then(() => this.changed());
	}

	/** Says that somebody calls: not who. */
	call(text: string): void {
		this.stop();
		if (!this.isAllowed || (document.visibilityState === "visible" && document.hasFocus())) return;
		const shown = new Notification(text, { tag: "e911d.callback", requireInteraction: true });
		shown.onclick = () => { window.focus(); shown.close(); };
		this.shown = shown;
	}

	stop(): void {
		this.shown?.close();
		this.shown = null;
	}
}
