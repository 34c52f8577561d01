// Server-sent events over fetch: an EventSource could not show a token (WHATWG HTML section 9.2.6).

import { session } from "./session";

/** The gateway writes a comment every 15 s; whoever hears nothing for so long has lost the line. */
const SILENCE = 40_000;
const FIRST_PAUSE = 1_000;
const LONGEST_PAUSE = 15_000;

export interface Listener {
	/** An event by its name. */
	heard: (name: string, data: unknown) => void;
	/** True at each (re)connection, when everything is to be read anew; false when the line is lost. */
	connected: (yes: boolean) => void;
}

/** Listens until the signal says otherwise. */
export async function listen(listener: Listener, signal: AbortSignal): Promise<void> {
	let pause = FIRST_PAUSE;
	while (!signal.aborted) {
		const began = Date.now();
		await once(listener, signal).catch(() => {});
		if (signal.aborted) return;
		listener.connected(false);
		pause = Date.now() - began > LONGEST_PAUSE ? FIRST_PAUSE : Math.min(pause * 2, LONGEST_PAUSE);
		await new Promise((resolve) => setTimeout(resolve, pause));
	}
}

async function once(listener: Listener, signal: AbortSignal): Promise<void> {
	const ours = new AbortController();
	const stop = () => ours.abort();
	signal.addEventListener("abort", stop);
	let watch = setTimeout(stop, SILENCE);
	try {
		const token = session.token;
		const response = await fetch("/api/v1/events", { headers: session.headers(), signal: ours.signal, cache: "no-store", credentials: "omit" });
		if (response.status === 401 && token === session.token) session.end("refused");
		if (!response.ok || !response.body) return;
		listener.connected(true);
		const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
		let text = "";
		for (;;) {
			const { value, done } = await reader.read();
			if (done) return;
			clearTimeout(watch);
			watch = setTimeout(stop, SILENCE);
			const blocks = (text + value).split("\n\n");
			text = blocks.pop() ?? "";
			for (const block of blocks) tell(block, listener);
		}
	} finally {
		clearTimeout(watch);
		signal.removeEventListener("abort", stop);
	}
}

function tell(block: string, listener: Listener): void {
	let [name, data] = ["message", ""];
	for (const line of block.split("\n")) {
		if (line.startsWith("event:")) name = line.slice(6).trim();
		if (line.startsWith("data:")) data += line.slice(5).trim();
	}
	if (data !== "") listener.heard(name, JSON.parse(data));
}
