// The agents' page. Which screen is shown follows from what the panel knows; there is one at a time, and a callback over it.

import { AftermathView } from "./aftermath";
import { CallbackDialog } from "./callback";
import { Elsewhere } from "./elsewhere";
import { EmergencyView } from "./emergency";
import { Home } from "./home";
import { Panel } from "./panel";
import { SignIn } from "./signin";
import type { View } from "./view";
import { language, t, type Word } from "./words";

type Screen = "signin" | "elsewhere" | "emergency" | "aftermath" | "home";

const TITLES: Record<Screen, Word> = { signin: "signIn", elsewhere: "otherTabTitle", emergency: "emergencyRunning", aftermath: "emergencyOver", home: "phone" };

const panel = new Panel();
let shown: { key: string; view: View } | null = null;
let callback: CallbackDialog | null = null;

function screen(): Screen {
	const { who, isPhone, rejoining, aftermath } = panel.state;
	if (panel.emergencies.length > 0) return "emergency";
	if (who === null) return "signin";
	if (isPhone === false) return "elsewhere";
	if (rejoining !== null) return "emergency";
	return aftermath === null ? "home" : "aftermath";
}

function make(screen: Screen): View {
	const { aftermath } = panel.state;
	if (screen === "signin") return new SignIn(panel, show);
	if (screen === "elsewhere") return new Elsewhere(panel);
	if (screen === "emergency") return new EmergencyView(panel);
	return screen === "aftermath" && aftermath !== null ? new AftermathView(panel, aftermath) : new Home(panel, show);
}

function show(): void {
	const now = screen();
	const key = `${now} ${language()} ${now === "aftermath" ? panel.state.aftermath?.kind : ""}`;
	if (shown?.key !== key) {
		const view = make(now);
		shown?.view.close?.();
		// A question that was open belongs to what is gone.
		document.querySelectorAll("dialog:not(.callback)").forEach((dialog) => dialog.remove());
		if (shown === null) document.body.prepend(view.element);
		else shown.view.element.replaceWith(view.element);
		shown = { key, view };
		scrollTo(0, 0);
		view.shown?.();
	}
	shown.view.update();
	ringing();
	document.title = `${t(callback === null ? TITLES[now] : "callbackTitle")} – e911d`;
}

function ringing(): void {
	const call = panel.callbacks[0] ?? null;
	if (callback?.call === call) return;
	callback?.close();
	callback = call === null ? null : new CallbackDialog(panel, call);
	if (callback === null) shown?.view.shown?.();
}

panel.store.listen(show);
panel.begin();
show();
