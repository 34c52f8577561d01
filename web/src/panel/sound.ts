// The one AudioContext of the page, and what it plays: rings, a test tone, silence to speak with.

const VOLUME = 0.2;

let context: AudioContext | null = null;
/** What the page itself plays goes through an element, because only an element can be given a speaker everywhere. */
let out: MediaStreamAudioDestinationNode | null = null;

/** The context; running from the first click on (browsers' autoplay policies). */
export function audio(): AudioContext {
	context ??= new AudioContext({ latencyHint: "interactive" });
	if (context.state === "suspended") void context.resume().catch(() => {});
	return context;
}

/** What rings and test tones are played into. */
export function tones(): MediaStreamAudioDestinationNode {
	out ??= audio().createMediaStreamDestination();
	return out;
}

/** A track on which nothing is said: an emergency call goes out without a microphone as well. */
export function silence(): MediaStreamTrack {
	const track = audio().createMediaStreamDestination().stream.getAudioTracks()[0];
	if (track === undefined) throw new Error("a destination has a track");
	return track;
}

export type Pattern = "ring" | "urgent" | "ringback" | "test";
/** Frequencies, then on and off in seconds; `once` is not repeated. */
const PATTERNS: Record<Pattern, { hertz: number[]; on: number; off: number; once?: boolean }> = {
	ring: { hertz: [440, 480], on: 1.5, off: 2.5 },
	urgent: { hertz: [660, 880], on: 0.4, off: 0.2 },
	ringback: { hertz: [440, 480], on: 2, off: 4 },
	test: { hertz: [523], on: 1.2, off: 0, once: true },
};

/** Plays until what is returned is called. */
export function play(name: Pattern): () => void {
	const { hertz, on, off, once } = PATTERNS[name];
	const [ctx, gain] = [audio(), audio().createGain()];
	gain.gain.value = 0;
	gain.connect(tones());
	const voices = hertz.map((f) => {
		const voice = ctx.createOscillator();
		voice.frequency.value = f;
		voice.connect(gain);
		voice.start();
		return voice;
	});
	const burst = () => {
		const now = ctx.currentTime;
		gain.gain.cancelScheduledValues(now);
		gain.gain.setValueAtTime(0, now);
		gain.gain.linearRampToValueAtTime(VOLUME, now + 0.02);
		gain.gain.setValueAtTime(VOLUME, now + on);
		gain.gain.linearRampToValueAtTime(0, now + on + 0.02);
	};
	burst();
	const again = once ? undefined : setInterval(burst, (on + off) * 1000);
	return () => {
		clearInterval(again);
		voices.forEach((voice) => voice.stop());
		gain.disconnect();
	};
}
