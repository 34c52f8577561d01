// The way in: a token of `[[http.token]]`.

import { fill, h, newId, note } from "../common/dom";

export class SignIn {
	readonly element: HTMLElement;
	private readonly token: HTMLInputElement;
	private readonly said = h("div", { class: "said", role: "alert" });
	private readonly button = h("button", { type: "submit", class: "primary" }, "Sign in");

	constructor(private readonly enter: (token: string) => Promise<string | null>) {
		const [id, help] = [newId("token"), newId("help")];
		this.token = h("input", { id, type: "password", autocomplete: "current-password", autocapitalize: "off", spellcheck: "false", required: true, "aria-describedby": help });
		const form = h("form", { novalidate: true, onsubmit: (event: Event) => { event.preventDefault(); void this.submit(); } },
			h("label", { for: id }, "Token"),
			this.token,
			h("p", { id: help, class: "hint" }, "A value of ", h("code", null, "[[http.token]]"), " whose role is operator or viewer. It is kept in this tab, for 24 hours at most."),
			this.button);
		this.element = h("main", { class: "signin", hidden: true },
			h("div", { class: "card" },
				h("p", { class: "brand" }, "e911d"),
				h("h1", null, "Sign in"),
				this.said, form));
	}

	open(why: string, keepsText: boolean): void {
		const kept = "What you had not saved is still here. It shows again once you are signed in.";
		fill(this.said, why !== "" && note(keepsText ? "warn" : "idle", h("p", null, why), keepsText && h("p", null, kept)));
		this.element.hidden = false;
		document.title = "Sign in – e911d";
		this.token.focus();
	}

	close(): void {
		this.element.hidden = true;
		this.token.value = "";
		fill(this.said);
	}

	private async submit(): Promise<void> {
		const token = this.token.value.trim();
		if (token === "") {
			this.refuse("Type or paste a token.");
			return;
		}
		this.button.disabled = true;
		const refused = await this.enter(token);
		this.button.disabled = false;
		if (refused !== null) this.refuse(refused);
	}

	private refuse(why: string): void {
		fill(this.said, note("bad", h("p", null, why)));
		this.token.setAttribute("aria-invalid", "true");
		this.token.focus();
		this.token.select();
	}
}
