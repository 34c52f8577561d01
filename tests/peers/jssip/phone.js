// A phone made of JsSIP under Node: it registers, dials what it is told to on its terminal, and answers whoever calls.
//
//   NODE_PATH=… node phone.js WS_URI SIP_URI PASSWORD
//
// Audio is not there: the browser's part is played by a stand-in that offers and answers one stream of PCMU.
"use strict";
const readline = require("readline");

const SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 30000 RTP/AVP 0 101\r\n" +
	"a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n";

class Connection extends EventTarget {
	constructor() {
		super();
		Object.assign(this, { iceGatheringState: "complete", iceConnectionState: "connected", connectionState: "connected", signalingState: "stable" });
		this.localDescription = null;
		this.remoteDescription = null;
	}
	async createOffer() { return { type: "offer", sdp: SDP }; }
	async createAnswer() { return { type: "answer", sdp: SDP }; }
	async setLocalDescription(description) { this.localDescription = description; }
	async setRemoteDescription(description) { this.remoteDescription = description; }
	addTrack() {}
	getSenders() { return []; }
	getReceivers() { return []; }
	close() { this.signalingState = "closed"; }
}

globalThis.window = globalThis;
globalThis.WebSocket = require("ws");
globalThis.RTCPeerConnection = Connection;
globalThis.RTCSessionDescription = class { constructor(description) { Object.assign(this, description); } };
const JsSIP = require("jssip");

const [socket, uri, password] = process.argv.slice(2);
const say = (...words) => console.log(...words);
const ua = new JsSIP.UA({ sockets: [new JsSIP.WebSocketInterface(socket)], uri, password, register: true, session_timers: false });
const stream = { getTracks: () => [] };
let session = null;

ua.on("registered", () => say("REGISTERED"));
ua.on("registrationFailed", (e) => say("NOT REGISTERED", e.cause));
ua.on("newRTCSession", (event) => {
	session = event.session;
	session.on("accepted", () => say("ANSWERED"));
	session.on("failed", (e) => say("FAILED", e.cause));
	session.on("ended", (e) => say("ENDED", e.cause));
	if (event.originator === "remote") {
		say("RINGS", session.remote_identity.uri.user);
		session.answer({ mediaStream: stream });
	}
});
ua.start();

readline.createInterface({ input: process.stdin }).on("line", (line) => {
	const [word, target] = line.split(" ");
	if (word === "dial") ua.call(target, { mediaStream: stream });
	if (word === "hangup") session.terminate();
});
