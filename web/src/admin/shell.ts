// What stands around every view: who and where one is, the way between views, and the line to the gateway.

import { ask, button, fill, h, mark, say } from "../common/dom";
import { listen } from "../common/events";
import { session, type Role } from "../common/session";
import { AgentsView } from "./agents";
import { LiveView } from "./live";
import { ReadinessView } from "./readiness";
import { RecordsView } from "./records";
import { TemplatesView } from "./templates";

/** One of the pages. It stays in the document when another is shown, so that nothing typed is lost on the way. */
export interface View {
	readonly name: string;
	readonly title: string;
	readonly element: HTMLElement;
	/** It is looked at from now on. */
	show(): void;
	/** Whether something typed is not saved. */
	isDirty(): boolean;
	/** Nobody is signed in: what was read goes away; what was typed as well where `everything` is said. */
	forget(everything: boolean): void;
	/** An event of the gateway's; empty: everything may have changed. */
	heard?(event: string, data: unknown): void;
	hide?(): void;
}

export class Shell {
	readonly element: HTMLElement;
	private readonly views: View[];
	private readonly links = new Map<View, HTMLAnchorElement>();
	private readonly who = h("p", { class: "who" });
	private readonly line = h("span", { class: "line" });
	private shown: View | null = null;
	private listening: AbortController | null = null;

	constructor() {
		const agents = new AgentsView();
		const readiness = new ReadinessView((id) => { void agents.openById(id); this.go(agents); });
		this.views = [new LiveView(), agents, new TemplatesView(), readiness, new RecordsView()];
		for (const view of this.views) {
			view.element.hidden = true;
			this.links.set(view, h("a", { href: `#${view.name}` }, view.title));
		}
		const list = h("ul", null, ...this.views.map((view) => h("li", null, this.links.get(view))));
		const main = h("main", { id: "main", tabindex: "-1" }, ...this.views.map((view) => view.element));
		const skip = h("a", { class: "skip", href: "#main", onclick: (event: Event) => { event.preventDefault(); main.focus(); } }, "Skip to the content");
		this.element = h("div", { class: "shell", hidden: true }, skip,
			h("header", null,
				h("div", { class: "top" }, h("span", { class: "brand" }, "e911d"), this.who),
				h("nav", { "aria-label": "Pages" }, list),
				h("div", { class: "foot" }, this.line, button("Sign out", () => void this.signOut(), { class: "quiet" }))),
			main);
		// A browser has few connections to one gateway: a tab that nobody sees holds none.
		document.addEventListener("visibilitychange", () => { if (!this.element.hidden) this.listen(!document.hidden); });
		addEventListener("hashchange", () => { if (!this.element.hidden) this.route(true); });
	}

	open(node: string, version: string, role: Role): void {
		fill(this.who, h("strong", null, node), h("span", null, `${role}, version ${version}`));
		this.element.hidden = false;
		document.documentElement.dataset["role"] = role;
		this.shown = null;
		this.route(false);
		this.listen(true);
	}

	private listen(yes: boolean): void {
		this.listening?.abort();
		if (!yes) return;
		this.listening = new AbortController();
		const heard = (name: string, data: unknown) => this.views.forEach((view) => view.heard?.(name, data));
		const connected = (yes: boolean) => {
			fill(this.line, yes ? mark("good", "Live") : mark("warn", "Reconnecting"));
			if (yes) heard("", null);
		};
		fill(this.line, mark("idle", "Connecting"));
		void listen({ heard, connected }, this.listening.signal);
	}

	close(everything: boolean): void {
		this.listening?.abort();
		this.element.hidden = true;
		document.querySelectorAll("dialog").forEach((dialog) => dialog.remove());
		this.shown?.hide?.();
		this.views.forEach((view) => view.forget(everything));
	}

	isDirty(): boolean {
		return this.views.some((view) => view.isDirty());
	}

	private go(view: View): void {
		location.hash = view.name;
	}

	private route(byHand: boolean): void {
		const name = location.hash.slice(1);
		const view = this.views.find((v) => v.name === name) ?? this.views[0];
		if (view === undefined || view === this.shown) return;
		this.shown?.hide?.();
		this.shown = view;
		for (const other of this.views) {
			other.element.hidden = other !== view;
			const link = this.links.get(other);
			if (other === view) link?.setAttribute("aria-current", "page");
			else link?.removeAttribute("aria-current");
		}
		document.title = `${view.title} – e911d`;
		view.show();
		if (byHand) {
			view.element.querySelector<HTMLElement>("h1")?.focus();
			scrollTo(0, 0);
		}
	}

	private async signOut(): Promise<void> {
		if (this.isDirty() && !(await ask("Sign out and lose what is not saved?", "Something typed here has not been saved.", "Sign out"))) return;
		session.end("asked");
		say("Signed out.");
	}
}

/** The head of a view. */
export function heading(title: string, ...beside: (Node | false)[]): HTMLElement {
	return h("div", { class: "heading" }, h("h1", { tabindex: "-1" }, title), ...beside);
}
