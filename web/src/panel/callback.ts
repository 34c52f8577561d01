// The PSAP calls back: over everything that the page shows, answered with one click (RULES C1, C2).

import { h, newId } from "../common/dom";
import type { Panel } from "./panel";
import type { Call } from "./phone";
import { press } from "./view";
import { t } from "./words";

export class CallbackDialog {
	private readonly dialog: HTMLDialogElement;

	constructor(panel: Panel, readonly call: Call) {
		const [title, text] = [newId("callback"), newId("callback")];
		const isSecond = panel.emergencies.length > 0;
		this.dialog = h("dialog", { class: "callback", role: "alertdialog", "aria-labelledby": title, "aria-describedby": text },
			h("h2", { id: title }, t("callbackTitle")),
			h("p", { id: text }, t(isSecond ? "callbackSecond" : "callbackText")),
			h("p", { class: "figures" }, call.who),
			press("phone", t("answer"), () => panel.answer(call), { class: "answer", autofocus: true }),
			h("button", { type: "button", class: "quiet", onclick: () => call.hangUp() }, t("cannotAnswer")));
		// It does not go away by Escape.
		this.dialog.addEventListener("cancel", (event) => event.preventDefault());
		this.dialog.addEventListener("keydown", (event) => { if (event.key === "Escape") event.preventDefault(); });
		document.body.append(this.dialog);
		this.dialog.showModal();
	}

	close(): void {
		this.dialog.close();
		this.dialog.remove();
	}
}
