// The WebSocket below the phone, as JsSIP wants one; it notices by itself that nobody is there any more.
//
// A connection that a sleeping machine or another network has cut looks open for minutes. So it is asked now and then
// (two CRLF, RFC 5626 section 4.4.1), and at once when something happened; silence closes it, and JsSIP connects anew.

const ASKED_EVERY = 15_000;
const ANSWERED_WITHIN = 5_000;
const PING = "\r\n\r\n";

export class Wire {
	readonly via_transport: string;
	readonly sip_uri: string;
	onconnect: () => void = () => {};
	ondisconnect: (error: boolean, code?: number, reason?: string) => void = () => {};
	ondata: (data: unknown) => void = () => {};
	private socket: WebSocket | null = null;
	private patience: ReturnType<typeof setTimeout> | undefined;
	private next: ReturnType<typeof setTimeout> | undefined;

	constructor(readonly url: string) {
		const { protocol, host } = new URL(url);
		this.via_transport = protocol === "wss:" ? "WSS" : "WS";
		this.sip_uri = `sip:${host};transport=ws`;
	}

	connect(): void {
		this.drop();
		const socket = new WebSocket(this.url, "sip");
		this.socket = socket;
		this.expect();
		socket.onopen = () => { this.heard(); this.onconnect(); };
		socket.onclose = ({ wasClean, code, reason }) => { this.drop(); this.ondisconnect(!wasClean, code, reason); };
		socket.onmessage = ({ data }) => { this.heard(); this.ondata(data); };
	}

	disconnect(): void {
		this.drop();
	}

	send(message: string): boolean {
		if (!this.isConnected()) return false;
		this.socket?.send(message);
		return true;
	}

	isConnected(): boolean {
		return this.socket?.readyState === WebSocket.OPEN;
	}

	isConnecting(): boolean {
		return this.socket?.readyState === WebSocket.CONNECTING;
	}

	/** Asks whether somebody is there. */
	check(): void {
		if (!this.isConnected()) return;
		this.expect();
		this.socket?.send(PING);
	}

	private expect(): void {
		clearTimeout(this.patience);
		this.patience = setTimeout(() => { this.drop(); this.ondisconnect(true); }, ANSWERED_WITHIN);
	}

	private heard(): void {
		clearTimeout(this.patience);
		clearTimeout(this.next);
		this.next = setTimeout(() => this.check(), ASKED_EVERY);
	}

	private drop(): void {
		clearTimeout(this.patience);
		clearTimeout(this.next);
		const socket = this.socket;
		this.socket = null;
		if (socket === null) return;
		socket.onopen = socket.onclose = socket.onmessage = null;
		socket.close();
	}
}
