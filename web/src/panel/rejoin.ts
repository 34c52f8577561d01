// What the page remembers of an emergency call while it is up: enough to come back to it after a reload.
//
// The gateway keeps the PSAP's leg for 20 s and rings the page as soon as it has registered again.

import type { Mark } from "./phone";

const KEPT = "e911d.panel.call";
/** A page that was away for longer comes back to nothing. */
const AWAY = 45_000;

export interface Memory { dialed: string; mark: Mark; began: number; seen: number }

export const rejoin = {
	/** An emergency call is up, now. */
	remember(call: { who: string; mark: Mark; began: number }): void {
		const memory: Memory = { dialed: call.who, mark: call.mark, began: call.began, seen: Date.now() };
		sessionStorage.setItem(KEPT, JSON.stringify(memory));
	},

	forget(): void {
		sessionStorage.removeItem(KEPT);
	},

	/** The call that was up when the page went away. */
	recall(): Memory | null {
		const text = sessionStorage.getItem(KEPT);
		if (text === null) return null;
		const memory = JSON.parse(text) as Memory;
		if (Date.now() - memory.seen > AWAY) return null;
		return memory;
	},
};
