// What is missing for the day, as a list to work through. Every failed check says what to do.

import { request, words } from "../common/api";
import { button, fill, h, icon, newId, note, say, type Child } from "../common/dom";
import { session } from "../common/session";
import { ago } from "../common/time";
import { heading, type View } from "./shell";

interface Check { name: string; of?: string; ok: boolean; why: string; age?: number }
interface Report { id: string; checks: Check[] }
interface Page { ok: boolean; agents: Report[]; site: Check[]; next: string | null }
interface Step { name: string; ok: boolean; why: string; ms: number }

const LABELS: Record<string, string> = {
	profile: "Outbound profile", location: "Location", mailbox: "Mailbox", contacts: "Contacts", number: "Way out", devices: "Devices",
	trunk: "Trunk", pool: "Callback numbers", self_call: "Call to ourselves", desk: "Desk", templates: "Templates", mail: "Mail server", clock: "Clock", store: "Disk", certificate: "Certificate",
};

export class ReadinessView implements View {
	readonly name = "readiness";
	readonly title = "Readiness";
	readonly element: HTMLElement;
	private readonly summary = h("p", { class: "summary", role: "status" });
	private readonly failed = h("div", { class: "failed", role: "alert" });
	private readonly siteBox = h("div", null);
	private readonly agentBox = h("div", { class: "cards" });
	private readonly moreBox = h("div", null);
	private readonly only: HTMLInputElement;
	private site: Check[] = [];
	private agents: Report[] = [];
	private next: string | null = null;
	/** Test calls by agent: what is known of the last one stays when the list is read anew. */
	private readonly calls = new Map<string, { box: HTMLElement; runs: boolean }>();
	private hasRead = false;
	private isReading = false;

	constructor(private readonly openAgent: (id: string) => void) {
		const only = newId("only");
		this.only = h("input", { id: only, type: "checkbox", checked: true, onchange: () => this.draw() });
		this.element = h("div", { class: "view readiness" }, heading("Readiness"),
			h("div", { class: "bar" }, this.summary,
				h("label", { class: "check", for: only }, this.only, "Only what is missing"),
				h("div", { class: "actions" }, button("Look again", () => void this.read()))),
			this.failed,
			h("section", { "aria-labelledby": "ready-site" }, h("h2", { id: "ready-site" }, "Site"), this.siteBox),
			h("section", { "aria-labelledby": "ready-agents" }, h("h2", { id: "ready-agents" }, "Agents"), this.agentBox, this.moreBox));
	}

	show(): void {
		void this.read();
	}

	isDirty(): boolean {
		return false;
	}

	forget(): void {
		[this.site, this.agents, this.next, this.hasRead] = [[], [], null, false];
		this.calls.clear();
		for (const box of [this.summary, this.failed, this.siteBox, this.agentBox, this.moreBox]) fill(box);
	}

	private async read(after: string | null = null): Promise<void> {
		if (this.isReading) return;
		this.isReading = true;
		const began = session.token;
		if (!this.hasRead) fill(this.summary, "Looking at everything; this takes some seconds…");
		try {
			const { data } = await request<Page>(`readiness?limit=200${after === null ? "" : `&after=${encodeURIComponent(after)}`}`);
			if (session.token === null || session.token !== began) return;
			this.site = data.site;
			this.agents = after === null ? data.agents : [...this.agents, ...data.agents];
			this.next = data.next;
			this.hasRead = true;
			fill(this.failed);
			this.draw();
		} catch (error) {
			fill(this.summary);
			fill(this.failed, note("bad", h("p", null, words(error))));
		} finally {
			this.isReading = false;
		}
	}

	private draw(): void {
		const missing = [...this.site, ...this.agents.flatMap((a) => a.checks)].filter((c) => !c.ok).length;
		const ready = this.agents.filter((a) => a.checks.every((c) => c.ok)).length;
		const of = this.next === null ? `${this.agents.length}` : `the first ${this.agents.length}`;
		fill(this.summary, h("span", { class: `mark ${missing === 0 ? "good" : "warn"}` }, icon(missing === 0 ? "good" : "warn"),
			missing === 0 ? "Everything is in place" : missing === 1 ? "1 thing to do" : `${missing} things to do`),
			` ${ready} of ${of} agents are ready.`);
		fill(this.siteBox, this.checks(this.site, "The site is ready."));
		const worst = [...this.agents].sort((a, b) => Number(isReady(a)) - Number(isReady(b)));
		const shown = worst.filter((a) => !this.only.checked || !isReady(a));
		const none = this.agents.length === 0 ? "There are no agents." : "Every agent is ready.";
		fill(this.agentBox, ...(shown.length === 0 ? [h("p", { class: "empty" }, none)] : shown.map((a) => this.card(a))));
		fill(this.moreBox, this.next !== null && button("More agents", () => void this.read(this.next)));
	}

	private checks(checks: Check[], none: string): Child {
		const shown = [...checks].sort((a, b) => Number(a.ok) - Number(b.ok)).filter((c) => !this.only.checked || !c.ok);
		if (shown.length === 0) return h("p", { class: "empty" }, none);
		return h("ul", { class: "checks" }, ...shown.map(line));
	}

	private card(report: Report): HTMLElement {
		const bad = report.checks.filter((c) => !c.ok).length;
		const title = newId("agent");
		const known = this.calls.get(report.id) ?? { box: h("div", { class: "steps", role: "status" }), runs: false };
		this.calls.set(report.id, known);
		const again = button("Look again", () => void this.again(report.id, card), { "aria-describedby": title });
		const call = button("Test call", () => void this.call(report.id), { class: "operators", disabled: known.runs, "aria-describedby": title, "data-calls": report.id });
		const card: HTMLElement = h("article", { class: "card", "aria-labelledby": title },
			h("div", { class: "cardhead" }, h("h3", { id: title }, report.id),
				h("span", { class: `mark ${bad === 0 ? "good" : "bad"}` }, icon(bad === 0 ? "good" : "bad"), bad === 0 ? "ready" : `${bad} missing`)),
			this.checks(report.checks, "Everything is in place."),
			h("div", { class: "actions" }, button("Open agent", () => this.openAgent(report.id), { "aria-describedby": title }), again, call),
			known.box);
		return card;
	}

	private async again(id: string, card: HTMLElement): Promise<void> {
		try {
			const { data } = await request<Report>(`agents/${encodeURIComponent(id)}/readiness`);
			this.agents = this.agents.map((a) => (a.id === id ? { id, checks: data.checks } : a));
			const fresh = this.card({ id, checks: data.checks });
			card.replaceWith(fresh);
			fresh.querySelectorAll("button")[1]?.focus();
			const bad = data.checks.filter((c) => !c.ok).length;
			say(bad === 0 ? `${id} is ready.` : `${id}: ${bad} missing.`);
		} catch (error) {
			fill(this.failed, note("bad", h("p", null, words(error))));
		}
	}

	/** The test number, dialed for real on this agent's path. */
	private async call(id: string): Promise<void> {
		const known = this.calls.get(id);
		if (known === undefined || known.runs) return;
		const box = known.box;
		const runs = (yes: boolean) => {
			known.runs = yes;
			for (const b of this.agentBox.querySelectorAll<HTMLButtonElement>("[data-calls]")) if (b.dataset["calls"] === id) b.disabled = yes;
		};
		runs(true);
		fill(box, note("idle", h("p", null, "The test number is being dialed; this takes a minute and a half at most…")));
		try {
			const { data } = await request<{ ok: boolean; steps: Step[] }>(`agents/${encodeURIComponent(id)}/test-call`, { method: "POST" });
			const one = (s: Step) => h("li", { class: s.ok ? "good" : "bad" }, icon(s.ok ? "good" : "bad"),
				h("span", null, h("span", { class: "unseen" }, s.ok ? "Good: " : "Failed: "), h("strong", null, s.name), s.why !== "" && ` ${s.why}`), h("span", { class: "figures muted" }, `${s.ms} ms`));
			fill(box, note(data.ok ? "good" : "bad", h("p", null, data.ok ? "The test call went all the way." : "The test call failed.")), h("ol", { class: "checks" }, ...data.steps.map(one)));
		} catch (error) {
			fill(box, note("bad", h("p", null, words(error))));
		} finally {
			runs(false);
		}
	}
}

function isReady(report: Report): boolean {
	return report.checks.every((c) => c.ok);
}

function line(check: Check): HTMLElement {
	return h("li", { class: check.ok ? "good" : "bad" }, icon(check.ok ? "good" : "bad"),
		h("div", null,
			h("span", { class: "unseen" }, check.ok ? "In place: " : "Missing: "),
			h("strong", null, LABELS[check.name] ?? check.name), check.of !== undefined && h("span", { class: "muted" }, ` ${check.of}`),
			h("span", { class: "block" }, check.why),
			check.age !== undefined && h("span", { class: "block muted small" }, `Measured ${ago(check.age)}`)));
}
