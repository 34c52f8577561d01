// The operators' page. What it shows it asks of the API; what is typed stays here until it is saved.

import { request, words } from "../common/api";
import { session, type Ending, type Role } from "../common/session";
import { Shell } from "./shell";
import { SignIn } from "./signin";

interface Who { role: Role; node: string; version: string }

const GONE: Record<Ending, string> = {
	asked: "You are signed out.",
	refused: "The gateway does not know this token any more.",
	idle: "You were signed out: nothing was typed or clicked here for 12 hours.",
	old: "You were signed out: a sign-in counts for 24 hours.",
};

const shell = new Shell();
const signIn = new SignIn(enter);
document.body.append(shell.element, signIn.element);
session.onend = (why) => {
	const keeps = why !== "asked" && shell.isDirty();
	shell.close(why === "asked");
	signIn.open(GONE[why], keeps);
};
addEventListener("beforeunload", (event) => {
	if (shell.isDirty()) event.preventDefault();
});

/** Asks what the token is good for; returns why it is good for nothing. */
async function enter(token: string): Promise<string | null> {
	const before = session.token;
	session.token = token;
	try {
		const { data } = await request<Who>("whoami");
		if (data.role === "agent") {
			session.token = before;
			return "This token is an agent's. This page takes an operator's or a viewer's.";
		}
		session.begin(token, data.role);
		signIn.close();
		shell.open(data.node, data.version, data.role);
		return null;
	} catch (error) {
		session.token = null;
		const status = (error as { status?: number }).status;
		return status === 401 ? "The gateway does not know this token." : words(error);
	}
}

async function begin(): Promise<void> {
	session.look();
	const kept = session.token;
	// Without a token: where `http.open_on_loopback` is set none is needed.
	const refused = await enter(kept ?? "");
	if (refused !== null && shell.element.hidden) signIn.open(kept === null ? "" : refused, false);
}

void begin();
