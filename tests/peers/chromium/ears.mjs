// Hearing in a page: put before its scripts.

/** Its peer connections can be listened to; its microphone is not improved (a tone would be taken for noise), and how often it was opened is counted. */
export function ears() {
	const Own = RTCPeerConnection;
	globalThis.pcs = [];
	globalThis.RTCPeerConnection = class extends Own { constructor(...all) { super(...all); globalThis.pcs.push(this); } };
	globalThis.opened = 0;
	const own = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
	navigator.mediaDevices.getUserMedia = (wanted) => {
		globalThis.opened += 1;
		return own({ ...wanted, audio: { ...wanted.audio, echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
	};
	/** The loudest frequency of what comes now; 0: silence. */
	globalThis.hears = async () => {
		const receiver = globalThis.pcs.findLast((pc) => pc.connectionState === "connected")?.getReceivers()[0];
		if (!receiver) return 0;
		const context = (globalThis.listening ??= new AudioContext());
		const analyser = context.createAnalyser();
		context.createMediaStreamSource(new MediaStream([receiver.track])).connect(analyser);
		await new Promise((resolve) => setTimeout(resolve, 300));
		const levels = new Float32Array(analyser.frequencyBinCount);
		analyser.getFloatFrequencyData(levels);
		const best = levels.reduce((b, level, n) => (level > levels[b] ? n : b), 0);
		return levels[best] < -70 ? 0 : best * context.sampleRate / analyser.fftSize;
	};
}

/** Waits until the page hears a tone. */
export async function untilHears(page, hertz) {
	await until(`the page hears ${hertz} Hz`, async () => Math.abs((await page.evaluate(() => globalThis.hears())) - hertz) < 40);
}

/** Waits until that holds, for 15 s or so. */
export async function until(what, holds) {
	for (let n = 0; n < 150; n += 1) {
		if (await holds()) return;
		await new Promise((resolve) => setTimeout(resolve, 100));
	}
	throw new Error(`never: ${what}`);
}
