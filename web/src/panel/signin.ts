// The way in: an agent's id and password, the language, and nothing else.

import { Refused } from "../common/api";
import { fill, h, newId, note } from "../common/dom";
import type { Panel } from "./panel";
import type { View } from "./view";
import { isLanguage, language, LANGUAGES, speak, t, type Word } from "./words";

export class SignIn implements View {
	readonly element: HTMLElement;
	private readonly agent: HTMLInputElement;
	private readonly password: HTMLInputElement;
	private readonly said = h("div", { class: "said", role: "alert" });
	private readonly button: HTMLButtonElement;

	constructor(private readonly panel: Panel, respeak: () => void) {
		const [agent, password] = [newId("agent"), newId("password")];
		const names = { autocapitalize: "off", spellcheck: "false", required: true };
		this.agent = h("input", { id: agent, name: "username", type: "text", autocomplete: "username", ...names });
		this.password = h("input", { id: password, name: "password", type: "password", autocomplete: "current-password", ...names });
		this.button = h("button", { type: "submit", class: "primary" }, t("signIn"));
		const form = h("form", { novalidate: true, onsubmit: (event: Event) => { event.preventDefault(); void this.submit(); } },
			h("div", { class: "field" }, h("label", { for: agent }, t("agentId")), this.agent),
			h("div", { class: "field" }, h("label", { for: password }, t("password")), this.password),
			this.button);
		this.element = h("main", { class: "signin" },
			h("div", { class: "card" },
				h("p", { class: "brand" }, t("brand")),
				h("h1", null, t("signIn")),
				this.said, form, languages(respeak)));
		const { why } = panel.state;
		if (why !== null) fill(this.said, note("idle", h("p", null, t(why))));
	}

	update(): void {
		// It shows nothing that changes.
	}

	shown(): void {
		this.agent.focus();
	}

	private async submit(): Promise<void> {
		const [agent, password] = [this.agent.value.trim(), this.password.value];
		if (agent === "" || password === "") {
			this.refuse("typeBoth", agent === "" ? this.agent : this.password);
			return;
		}
		this.button.disabled = true;
		try {
			await this.panel.signIn(agent, password);
		} catch (error) {
			this.refuse(reason(error), this.password);
		}
		this.button.disabled = false;
	}

	private refuse(why: Word, field: HTMLInputElement): void {
		fill(this.said, note("bad", h("p", null, t(why))));
		field.focus();
		field.select();
	}
}

function reason(error: unknown): Word {
	const status = error instanceof Refused ? error.status : -1;
	if (status === 401 || status === 403 || status === 404) return "wrongPassword";
	if (status === 429) return "tooOften";
	return status === 0 ? "unreachable" : "signInFailed";
}

/** The languages to choose from, each in its own words. */
export function languages(respeak: () => void): HTMLElement {
	const id = newId("language");
	const select = h("select", { id, onchange: () => { if (isLanguage(select.value)) { speak(select.value, true); respeak(); } } },
		...Object.entries(LANGUAGES).map(([code, { name }]) => h("option", { value: code, lang: code, selected: code === language() }, name)));
	return h("div", { class: "field language" }, h("label", { for: id }, t("language")), select);
}
