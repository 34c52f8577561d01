// What goes on now. A call that is over leaves no trace here, and an emergency call shows nobody's number (RULES A7).

import { all, request, words, type List } from "../common/api";
import { fill, h, icon, mark, note, say, table, type Child, type Column } from "../common/dom";
import { session } from "../common/session";
import { lasting, time } from "../common/time";
import { meaning } from "./alarms";
import { heading, type View } from "./shell";

interface Call { kind: "emergency" | "callback" | "ordinary"; direction?: string; from?: string; to?: string; peer?: string | null; trunk: string | null; state: string; since: string }
interface Trunk { name: string; path: string; state: "online" | "unknown" | "inactive"; reason: string; leased: number | null; free: number | null }
interface Alarm { name: string; since: string }
interface Counts { emergency: number; ordinary: number }

/** Numbers are leased and given back without an event. */
const AGAIN = 5_000;
/** Between two looks at the same list at least. */
const PAUSE = 1_000;
/** Emergencies come first. More are counted and not read: whoever carries them has other things to do. */
const CALLS_SHOWN = 200;

export class LiveView implements View {
	readonly name = "live";
	readonly title = "Live";
	readonly element: HTMLElement;
	private readonly tiles = h("dl", { class: "tiles" });
	private readonly wrong = h("div", { class: "failed", role: "alert" });
	private readonly alarmBox = h("div", null);
	private readonly callBox = h("div", null);
	private readonly trunkBox = h("div", null);
	private alarms: Alarm[] | null = null;
	private calls: Call[] | null = null;
	private counts: Counts | null = null;
	private trunks: Trunk[] | null = null;
	private timer = 0;
	private readonly waiting = new Map<string, number>();
	/** Which list could not be read, and why. */
	private readonly missed = new Map<string, string>();

	constructor() {
		const part = (title: string, id: string, box: HTMLElement) => h("section", { "aria-labelledby": id }, h("h2", { id }, title), box);
		this.element = h("div", { class: "view live" }, heading("Live"), this.wrong, this.tiles,
			part("Alarms", "live-alarms", this.alarmBox), part("Calls that are up", "live-calls", this.callBox), part("Trunks and callback numbers", "live-trunks", this.trunkBox));
	}

	show(): void {
		this.readAll();
		clearInterval(this.timer);
		this.timer = window.setInterval(() => this.readAll(), AGAIN);
	}

	hide(): void {
		clearInterval(this.timer);
	}

	isDirty(): boolean {
		return false;
	}

	forget(): void {
		this.hide();
		this.alarms = this.calls = this.counts = this.trunks = null;
		this.missed.clear();
		for (const box of [this.tiles, this.alarmBox, this.callBox, this.trunkBox, this.wrong]) fill(box);
	}

	heard(event: string, data: unknown): void {
		if (event === "alarm") {
			const { name, state } = data as { name: string; state: string };
			say(`Alarm ${state}: ${meaning(name).title}`);
		}
		if (this.element.hidden || session.token === null) return;
		if (event === "") this.readAll();
		if (event === "alarm") this.soon("alarms", () => this.readAlarms());
		if (event === "trunks") this.soon("trunks", () => this.readTrunks());
		if (event === "calls") {
			this.counts = data as Counts;
			this.soon("calls", () => this.readCalls());
			this.soon("trunks", () => this.readTrunks());
		}
	}

	private readAll(): void {
		this.soon("alarms", () => this.readAlarms());
		this.soon("trunks", () => this.readTrunks());
		this.soon("calls", () => this.readCalls());
	}

	/** Once now, and once more after a while where it is asked for again meanwhile. */
	private soon(what: string, read: () => Promise<void>): void {
		const asked = this.waiting.get(what);
		this.waiting.set(what, (asked ?? 0) + 1);
		if (asked !== undefined) return;
		const began = session.token;
		const done = (why: string | null) => {
			if (session.token === null || session.token !== began) return;
			if (why === null) this.missed.delete(what);
			else this.missed.set(what, why);
			fill(this.wrong, ...[...new Set(this.missed.values())].map((text) => note("bad", h("p", null, text))));
			this.draw();
		};
		void read().then(() => done(null), (error) => done(words(error))).finally(() => setTimeout(() => {
			const more = (this.waiting.get(what) ?? 0) > 1;
			this.waiting.delete(what);
			if (more) this.soon(what, read);
		}, PAUSE));
	}

	private async readAlarms(): Promise<void> {
		this.alarms = (await all<Alarm>("alarms")).items;
	}

	private async readTrunks(): Promise<void> {
		this.trunks = (await all<Trunk>("trunks")).items;
	}

	private async readCalls(): Promise<void> {
		if (!session.mayChange) {
			this.counts = await countsOfMetrics();
			return;
		}
		const { data } = await request<List<Call>>(`calls?limit=${CALLS_SHOWN}`);
		this.calls = data.items;
		const emergency = data.items.filter((c) => c.kind !== "ordinary").length;
		this.counts = data.next === null ? { emergency, ordinary: data.items.length - emergency } : await countsOfMetrics();
	}

	private draw(): void {
		fill(this.tiles, ...this.summary());
		fill(this.alarmBox, this.alarmList());
		fill(this.callBox, this.callTable());
		fill(this.trunkBox, this.trunkTable());
	}

	private summary(): Child[] {
		const { alarms, counts, trunks } = this;
		const [free, all] = (trunks ?? []).reduce(([f, a], t) => [f + (t.free ?? 0), a + (t.free ?? 0) + (t.leased ?? 0)], [0, 0]);
		const of = (state: Trunk["state"]) => trunks?.filter((t) => t.state === state).length ?? 0;
		const [down, unknown] = [of("inactive"), of("unknown")];
		const isShort = all > 0 && free * 10 < all;
		return [
			tile("Alarms", alarms?.length, alarms?.length ? mark("bad", "raised") : mark("good", "none")),
			tile("Emergency calls", counts?.emergency, counts?.emergency ? mark("warn", "up now") : mark("idle", "none up")),
			tile("Ordinary calls", counts?.ordinary, mark("idle", counts?.ordinary ? "up now" : "none up")),
			tile("Numbers free", trunks === null ? undefined : free, isShort ? mark("bad", `of ${all}`) : mark("good", `of ${all}`)),
			tile("Trunks", trunks?.length, down > 0 ? mark("bad", `${down} down`) : unknown > 0 ? mark("idle", `${unknown} not asked`) : mark("good", "all up")),
		];
	}

	private alarmList(): Child {
		if (this.alarms === null) return waiting();
		if (this.alarms.length === 0) return h("p", { class: "empty" }, "No alarm is raised.");
		const one = (alarm: Alarm) => {
			const { title, todo } = meaning(alarm.name);
			return h("li", null, icon("bad"), h("div", null,
				h("p", null, h("strong", null, title), " ", h("code", null, alarm.name)),
				h("p", null, todo),
				h("p", { class: "muted" }, "Raised ", time(alarm.since))));
		};
		return h("ul", { class: "alarms" }, ...this.alarms.map(one));
	}

	private callTable(): Child {
		if (!session.mayChange) return h("p", { class: "empty" }, "A viewer sees how many calls are up; an operator sees them one by one.");
		if (this.calls === null) return waiting();
		if (this.calls.length === 0) return h("p", { class: "empty" }, "No call is up.");
		const columns: Column<Call>[] = [
			{ head: "Call", cell: kind },
			{ head: "State", cell: (c) => c.state },
			{ head: "From", cell: (c) => (c.kind === "ordinary" ? c.from : hidden()) },
			{ head: "To", cell: (c) => (c.kind === "ordinary" ? c.to : hidden()) },
			{ head: "Trunk", cell: (c) => c.trunk ?? "–" },
			{ head: "Lasts", number: true, cell: (c) => lasting(c.since) },
		];
		const more = (this.counts?.emergency ?? 0) + (this.counts?.ordinary ?? 0) - this.calls.length;
		return h("div", null, table("Calls that are up", columns, this.calls),
			more > 0 && h("p", { class: "muted" }, `And ${more} more.`));
	}

	private trunkTable(): Child {
		if (this.trunks === null) return waiting();
		const columns: Column<Trunk>[] = [
			{ head: "Trunk", cell: (t) => h("strong", null, t.name) },
			{ head: "State", cell: trunkState },
			{ head: "Path", cell: (t) => t.path.replace("-", " ") },
			{ head: "Leased", number: true, cell: (t) => t.leased ?? "–" },
			{ head: "Free", number: true, cell: (t) => t.free ?? "–" },
			{ head: "Share leased", cell: share },
		];
		return table("Trunks and callback numbers", columns, this.trunks);
	}
}

function tile(label: string, value: number | undefined, below: HTMLElement): HTMLElement {
	return h("div", null, h("dt", null, label), h("dd", null, h("span", { class: "big" }, value ?? "–"), value === undefined ? null : below));
}

function waiting(): HTMLElement {
	return h("p", { class: "empty" }, "Reading…");
}

function hidden(): HTMLElement {
	return h("span", { class: "muted" }, "not shown");
}

function kind(call: Call): Child {
	if (call.kind === "emergency") return h("span", { class: "mark bad" }, icon("warn"), "Emergency");
	if (call.kind === "callback") return h("span", { class: "mark warn" }, icon("in"), "Callback");
	return h("span", { class: "mark idle" }, icon(call.direction === "inbound" ? "in" : "out"), call.direction === "inbound" ? "Inbound" : "Outbound");
}

function trunkState(trunk: Trunk): Child {
	const tone = trunk.state === "online" ? "good" : trunk.state === "inactive" ? "bad" : "idle";
	return h("span", null, mark(tone, trunk.state), trunk.reason !== "" && h("span", { class: "muted block" }, trunk.reason));
}

function share(trunk: Trunk): Child {
	const all = (trunk.leased ?? 0) + (trunk.free ?? 0);
	if (all === 0) return h("span", { class: "muted" }, "no numbers");
	return h("meter", { min: 0, max: all, value: trunk.leased ?? 0, low: all * 0.75, high: all * 0.9, optimum: 0, "aria-label": `${trunk.leased} of ${all} numbers are leased` });
}

/** What everybody may know: how many. */
async function countsOfMetrics(): Promise<Counts> {
	const text = await (await fetch("/metrics", { cache: "no-store", credentials: "omit" })).text();
	const of = (kind: string) => Number(new RegExp(`^e911d_calls\\{kind="${kind}"\\} (\\d+)`, "m").exec(text)?.[1] ?? 0);
	return { emergency: of("emergency"), ordinary: of("ordinary") };
}

