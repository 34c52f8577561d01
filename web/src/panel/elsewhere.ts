// Another tab is the phone: this one says so, and can take over where no call is up there.

import { button, h, note } from "../common/dom";
import type { Panel } from "./panel";
import type { View } from "./view";
import { t } from "./words";

export class Elsewhere implements View {
	readonly element: HTMLElement;
	private readonly take: HTMLButtonElement;
	private readonly busy: HTMLElement;

	constructor(private readonly panel: Panel) {
		this.take = button(t("useThisTab"), () => panel.tabs.take(), { class: "primary" });
		this.busy = note("warn", h("p", null, t("otherTabBusy")));
		this.element = h("main", { class: "elsewhere" },
			h("div", { class: "card" }, h("p", { class: "brand" }, t("brand")), h("h1", null, t("otherTabTitle")), h("p", null, t("otherTabText")),
				this.busy, h("div", { class: "actions" }, this.take)));
		this.update();
	}

	update(): void {
		const { isOtherBusy } = this.panel.tabs;
		this.busy.hidden = isOtherBusy !== true;
		this.take.hidden = isOtherBusy !== false;
	}
}
