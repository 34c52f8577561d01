// A gateway for one page, without a gateway: the API, SIP over WebSocket, and a far end with real WebRTC in a page of its own.
//
// It says what a test wants, at the moment a test wants it; nothing leaves the browser. What the real gateway says is
// tests/e2e_panel.rs's to find out.
import { readFileSync } from "node:fs";
import { join } from "node:path";

const DIST = process.env.E911D_WEB ?? join(import.meta.dirname, "../../../web/dist");
const KINDS = { html: "text/html; charset=utf-8", js: "text/javascript; charset=utf-8", css: "text/css; charset=utf-8", svg: "image/svg+xml" };
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";
export const ORIGIN = "http://localhost:1";
export const PSAP = "+12065559110";
const PASSWORD = "wonderland";

export class StandIn {
	/** What happens to an INVITE: `ring`, `answer`, or a final status; `none`: no response at all. */
	calls = "answer";
	warning = "";
	answer = "ring";
	build = "one";
	lease = null;
	dropped = false;
	/** What it knows of her call. */
	call = null;
	checks = [{ name: "contacts", ok: true, why: "" }];
	name = "Alice Andersen";
	positions = [];
	dismissed = 0;
	/** Everything the page has said by SIP, method by method. */
	heard = [];
	isLineUp = true;
	isRegistrarUp = true;
	dialogs = new Map();
	socket = null;
	/** A connection on which nothing is heard any more. */
	deaf = null;
	contact = "";
	tokens = 0;

	/** Serves the pages of this context. */
	async serve(context) {
		await context.route(`${ORIGIN}/panel**`, (route) => this.file(route));
		await context.route(`${ORIGIN}/panel/**`, (route) => this.file(route));
		await context.route(`${ORIGIN}/api/v1/**`, (route) => this.api(route));
		await context.routeWebSocket(/\/sip$/, (ws) => this.connected(ws));
		this.far = await context.newPage();
		await context.route(`${ORIGIN}/far`, (route) => route.fulfill({ contentType: "text/html", body: "<!doctype html><title>far</title>" }));
		await this.far.goto(`${ORIGIN}/far`);
		await this.far.evaluate(farEnd);
	}

	async file(route) {
		const name = new URL(route.request().url()).pathname.split("/")[2] || "index.html";
		await route.fulfill({ body: readFileSync(join(DIST, "panel", name)), contentType: KINDS[name.split(".").at(-1)], headers: { "content-security-policy": POLICY } });
	}

	async api(route) {
		const request = route.request();
		const [path, method] = [new URL(request.url()).pathname.slice("/api/v1/".length), request.method()];
		const say = (status, body) => route.fulfill({ status, contentType: "application/json", body: body === undefined ? "" : JSON.stringify(body) });
		const refuse = (status, code) => say(status, { error: { code, message: code } });
		if (path === "session" && method === "POST") {
			const { agent, password } = request.postDataJSON();
			if (agent === "guesser") return refuse(429, "too_many");
			return agent === "alice" && password === PASSWORD ? say(200, this.who()) : refuse(401, "unauthorized");
		}
		if (!request.headers().authorization?.startsWith("Bearer token-") || this.isGone) return refuse(401, "unauthorized");
		if (path === "session") return method === "DELETE" ? route.fulfill({ status: 204 }) : say(200, this.who());
		if (path === "session/state") return say(200, { build: this.build, presence: { state: "available" }, lease: this.lease, dropped: this.dropped, call: this.call, message: null });
		if (path.endsWith("/readiness")) return say(200, { id: "alice", checks: this.checks });
		if (path.endsWith("/position")) { this.positions.push(request.postDataJSON()); return route.fulfill({ status: 204 }); }
		if (path.endsWith("/dismiss")) { this.dismissed += 1; return route.fulfill({ status: 204 }); }
		return refuse(404, "not_found");
	}

	who() {
		this.tokens += 1;
		const expires = new Date(Date.now() + 12 * 3_600_000).toISOString();
		return { token: `token-${this.tokens}`, expires, agent: "alice", name: this.name, language: "en", answer: this.answer, build: this.build, emergency: ["911", "9911", "+911", "933"],
			sip: { uri: "sip:alice@gw1.example.com", username: "alice", password: `secret-${this.tokens}`, expires } };
	}

	connected(ws) {
		if (!this.isLineUp) return ws.close();
		this.socket = ws;
		ws.onMessage((text) => { if (ws !== this.deaf) void this.sip(ws, String(text)); });
	}

	/** The line is cut, and comes back when told to. */
	cut() {
		this.isLineUp = false;
		this.socket?.close();
	}

	async sip(ws, text) {
		if (text.trim() === "") return ws.send("\r\n");
		if (process.env.E911D_TRACE) console.log(`<< ${text}`);
		const message = parse(text);
		if (message.status !== undefined) return this.answered(message);
		this.heard.push(message);
		const respond = (status, more = "", body = "") => ws.send(response(message, status, more, body));
		if (message.method === "REGISTER") {
			this.contact = /<([^>]+)>/.exec(message.headers.contact)?.[1];
			if (this.isRegistrarUp) respond("200 OK", `Contact: ${message.headers.contact.replace(/;expires=\d+/, "")};expires=300\r\n`);
			else respond("503 Service Unavailable");
		} else if (message.method === "INVITE" && /;tag=/.test(message.headers.to)) {
			const body = await this.far.evaluate(([id, sdp]) => globalThis.renegotiate(id, sdp), [message.headers["call-id"], message.body]);
			respond("200 OK", `Contact: <sip:gw@gw1.example.com>\r\n`, body);
		} else if (message.method === "INVITE") await this.invited(message, respond);
		else if (message.method === "CANCEL") {
			respond("200 OK");
			const invite = this.dialogs.get(message.headers["call-id"])?.invite;
			if (invite) ws.send(response(invite, "487 Request Terminated"));
		} else if (message.method !== "ACK") respond("200 OK");
	}

	async invited(message, respond) {
		if (this.calls === "none") return;
		respond("100 Trying");
		const isHelp = /sip:(9?911|933)@/.test(message.uri);
		const priority = isHelp ? "Priority: emergency\r\n" : "";
		const id = message.headers["call-id"];
		this.dialogs.set(id, { invite: message, remote: message.headers.from, local: `${message.headers.to};tag=gw`, target: /<([^>]+)>/.exec(message.headers.contact)[1], seq: 1 });
		const contact = "Contact: <sip:gw@gw1.example.com>\r\n";
		this.ringIt = () => respond("180 Ringing", contact + priority);
		this.answerIt = async () => respond("200 OK", contact + priority, await this.far.evaluate(([id, sdp]) => globalThis.answer(id, sdp), [id, message.body]));
		if (this.calls === "ring" || this.calls === "answer") this.ringIt();
		if (this.calls === "answer") await this.answerIt();
		if (/^\d/.test(this.calls)) respond(this.calls, priority + (this.warning === "" ? "" : `Warning: 399 gw1 "${this.warning}"\r\n`));
	}

	/** Rings the page for a call that it had before: its answer brings the offer. */
	ringAgain() {
		return this.ring(PSAP, "emergency", "Answer-Mode: Auto\r\n");
	}

	/** Rings the page. Gives back the call's id. */
	async ring(from, priority = "", again = "") {
		const id = `theirs-${this.dialogs.size}`;
		const body = again === "" ? await this.far.evaluate((id) => globalThis.offer(id), id) : "";
		const dialog = { remote: `<${this.contact}>`, local: `<sip:${from}@gw1.example.com>;tag=gw`, target: this.contact, seq: 1, branch: `z9hG4bK${id}`, hasOffer: body !== "" };
		this.dialogs.set(id, dialog);
		this.request("INVITE", id, `Contact: <sip:gw@gw1.example.com>\r\n${body === "" ? again : "Content-Type: application/sdp\r\n"}${priority === "" ? "" : `Priority: ${priority}\r\n`}`, body);
		return id;
	}

	/** It stops ringing. */
	cancel(id, reason = "") {
		this.request("CANCEL", id, reason === "" ? "" : `Reason: ${reason}\r\n`);
	}

	/** The other side hangs up. */
	hangUp(id = [...this.dialogs.keys()].at(-1)) {
		const dialog = this.dialogs.get(id);
		dialog.seq += 1;
		dialog.branch = `z9hG4bK${id}-${dialog.seq}`;
		this.request("BYE", id, "Reason: Q.850;cause=16\r\n");
	}

	request(method, id, more, body = "") {
		const { target, local, remote, seq, branch } = this.dialogs.get(id);
		this.socket.send(`${method} ${target} SIP/2.0\r\nVia: SIP/2.0/WS gw1.example.com;branch=${branch}\r\nMax-Forwards: 70\r\nFrom: ${local}\r\nTo: ${remote}\r\nCall-ID: ${id}\r\nCSeq: ${seq} ${method}\r\n${more}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
	}

	async answered(message) {
		const [, method] = message.headers.cseq.split(" ");
		this.heard.push(message);
		if (method !== "INVITE" || message.status < 200) return;
		const id = message.headers["call-id"];
		const dialog = this.dialogs.get(id);
		dialog.remote = message.headers.to;
		if (message.status >= 300) this.request("ACK", id, "");
		else if (dialog.hasOffer) {
			await this.far.evaluate(([id, sdp]) => globalThis.accept(id, sdp), [id, message.body]);
			this.request("ACK", id, "");
		} else this.request("ACK", id, "Content-Type: application/sdp\r\n", await this.far.evaluate(([id, sdp]) => globalThis.answer(id, sdp), [id, message.body]));
	}

	/** How often a request of this kind came. */
	count(method) {
		return this.heard.filter((m) => m.method === method).length;
	}

	/** What the far end hears: its loudest frequency, or 0. */
	async hears() {
		return this.far.evaluate(() => globalThis.loudest());
	}
}

function parse(text) {
	const [head, body] = text.split("\r\n\r\n", 2);
	const [first, ...lines] = head.split("\r\n");
	const headers = {};
	for (const line of lines) {
		const [name, ...value] = line.split(":");
		headers[name.trim().toLowerCase()] ??= value.join(":").trim();
	}
	const words = first.split(" ");
	const vias = lines.filter((l) => /^via:/i.test(l)).join("\r\n");
	return words[0] === "SIP/2.0" ? { status: Number(words[1]), headers, body } : { method: words[0], uri: words[1], headers, vias, body };
}

function response(request, status, more = "", body = "") {
	const to = /;tag=/.test(request.headers.to) || status.startsWith("100") ? request.headers.to : `${request.headers.to};tag=gw`;
	const type = body === "" ? "" : "Content-Type: application/sdp\r\n";
	return `SIP/2.0 ${status}\r\n${request.vias}\r\nFrom: ${request.headers.from}\r\nTo: ${to}\r\nCall-ID: ${request.headers["call-id"]}\r\nCSeq: ${request.headers.cseq}\r\n${more}${type}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
}

/** Runs in the far page: peer connections by Call-ID, a tone of 1 kHz out, the loudest frequency in. */
export function farEnd() {
	const ends = new Map();
	const context = new AudioContext();
	const make = (id) => {
		const pc = new RTCPeerConnection();
		const [tone, out, ears] = [context.createOscillator(), context.createMediaStreamDestination(), context.createAnalyser()];
		tone.frequency.value = 1000;
		tone.connect(out);
		tone.start();
		pc.addTrack(out.stream.getAudioTracks()[0], out.stream);
		pc.ontrack = ({ streams }) => {
			const element = new Audio();
			element.srcObject = streams[0];
			element.muted = true;
			void element.play();
			context.createMediaStreamSource(streams[0]).connect(ears);
		};
		ends.set(id, { pc, ears });
		return pc;
	};
	const gathered = async (pc) => {
		if (pc.iceGatheringState !== "complete") await new Promise((resolve) => pc.addEventListener("icegatheringstatechange", () => pc.iceGatheringState === "complete" && resolve()));
		return pc.localDescription.sdp;
	};
	const take = async (pc, sdp) => {
		await pc.setRemoteDescription({ type: "offer", sdp });
		await pc.setLocalDescription();
		return gathered(pc);
	};
	globalThis.answer = (id, sdp) => take(make(id), sdp);
	globalThis.renegotiate = (id, sdp) => take(ends.get(id).pc, sdp);
	globalThis.offer = async (id) => { const pc = make(id); await pc.setLocalDescription(); return gathered(pc); };
	globalThis.accept = (id, sdp) => ends.get(id).pc.setRemoteDescription({ type: "answer", sdp });
	globalThis.loudest = () => {
		const { ears } = [...ends.values()].at(-1);
		const levels = new Float32Array(ears.frequencyBinCount);
		ears.getFloatFrequencyData(levels);
		const best = levels.reduce((b, level, n) => (level > levels[b] ? n : b), 0);
		return levels[best] < -70 ? 0 : Math.round(best * context.sampleRate / ears.fftSize);
	};
}
