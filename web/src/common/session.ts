// Who sits here: a token, kept for this tab alone, and for a day at most.
//
// In sessionStorage, so that a reload asks nothing; not in a cookie, which browsers send by themselves, also for others.
// That no foreign script reads it is the page's content security policy.

/** Each page has a session of its own: `/admin` an operator's, `/panel` an agent's. */
const page = location.pathname.split("/")[1] === "panel" ? "e911d.panel" : "e911d";
const TOKEN = `${page}.token`;
const SINCE = `${page}.since`;
const SEEN = `${page}.seen`;
const HOUR = 3_600_000;
/** Without a key or a click for so long, whoever signed in has gone. */
export const IDLE = 12 * HOUR;
/** So long a sign-in counts. */
export const LONGEST = 24 * HOUR;
const LOOK = 15_000;

export type Role = "viewer" | "operator" | "agent";
export type Ending = "asked" | "refused" | "idle" | "old";

class Session {
	/** Null: nobody is signed in. Empty: the gateway asks for none (`http.open_on_loopback`). */
	token: string | null = sessionStorage.getItem(TOKEN);
	role: Role = "viewer";
	onend: (why: Ending) => void = () => {};

	constructor() {
		for (const kind of ["keydown", "pointerdown"]) addEventListener(kind, () => this.touch(), { capture: true, passive: true });
		// A machine that slept runs no timers: looks at once when somebody is back.
		for (const kind of ["focus", "pageshow"]) addEventListener(kind, () => this.look());
		document.addEventListener("visibilitychange", () => this.look());
		setInterval(() => this.look(), LOOK);
	}

	headers(): Record<string, string> {
		return this.token ? { Authorization: `Bearer ${this.token}` } : {};
	}

	get mayChange(): boolean {
		return this.role === "operator";
	}

	begin(token: string, role: Role): void {
		this.role = role;
		this.token = token;
		sessionStorage.setItem(TOKEN, token);
		if (!sessionStorage.getItem(SINCE)) sessionStorage.setItem(SINCE, String(Date.now()));
		sessionStorage.setItem(SEEN, String(Date.now()));
	}

	end(why: Ending): void {
		if (this.token === null) return;
		this.token = null;
		for (const key of [TOKEN, SINCE, SEEN]) sessionStorage.removeItem(key);
		this.onend(why);
	}

	/** Ends what has lasted long enough. An agent's does not end by itself here: she is rung while nobody types. */
	look(): void {
		if (this.token === null || this.role === "agent") return;
		const age = (key: string) => Date.now() - Number(sessionStorage.getItem(key) ?? Date.now());
		if (age(SINCE) >= LONGEST) this.end("old");
		else if (age(SEEN) >= IDLE) this.end("idle");
	}

	private touch(): void {
		this.look();
		if (this.token !== null) sessionStorage.setItem(SEEN, String(Date.now()));
	}
}

export const session = new Session();
