// The gateway's API as an agent's page asks it: her session, her state, where she is.

import { Refused, request } from "../common/api";
import { session } from "../common/session";
import type { Credentials } from "./phone";
import { isLanguage } from "./words";

export interface Who {
	token: string;
	expires: string;
	agent: string;
	name: string;
	language: string;
	answer: "ring" | "auto";
	sip: Credentials;
	/** What she may dial for an emergency. */
	emergency: string[];
	build: string;
}

export interface AgentState {
	build: string;
	lease: { number: string; expires: string } | null;
	dropped: boolean;
	/** Her emergency call or callback, if one is up. */
	call?: { kind: string; state: string } | null;
	message?: string | null;
}

export interface Check { name: string; of?: string; ok: boolean; why: string }
export interface Position { latitude: number; longitude: number; accuracy: number; at: string }

const KEPT = "e911d.panel.who";

export const desk = {
	async signIn(agent: string, password: string): Promise<Who> {
		return keep((await request<Who>("session", { method: "POST", body: { agent, password } })).data);
	},

	/** A new token and new credentials, before the old ones are worth nothing. */
	async renew(): Promise<Who> {
		return keep((await request<Who>("session")).data);
	},

	async signOut(): Promise<void> {
		await request("session", { method: "DELETE" }).catch(() => {});
	},

	async state(): Promise<AgentState> {
		return (await request<AgentState>("session/state")).data;
	},

	async readiness(agent: string): Promise<Check[]> {
		return (await request<{ checks: Check[] }>(`agents/${encodeURIComponent(agent)}/readiness`)).data.checks;
	},

	async position(agent: string, position: Position): Promise<void> {
		await request(`agents/${encodeURIComponent(agent)}/position`, { method: "PUT", body: position });
	},

	/** She needs to be left alone no longer (RULES A1). */
	async dismiss(agent: string): Promise<void> {
		await request(`agents/${encodeURIComponent(agent)}/dismiss`, { method: "POST" });
	},

	/** Who was signed in when the page was reloaded. */
	kept(): Who | null {
		const text = sessionStorage.getItem(KEPT);
		if (text === null || session.token === null) return null;
		const who = JSON.parse(text) as Who;
		return Date.parse(who.expires) > Date.now() ? who : null;
	},

	forget(): void {
		sessionStorage.removeItem(KEPT);
	},
};

function keep(who: Who): Who {
	session.begin(who.token, "agent");
	sessionStorage.setItem(KEPT, JSON.stringify(who));
	return who;
}

/** Whether the gateway has refused, or was not there. */
export function isRefusal(error: unknown, status: number): boolean {
	return error instanceof Refused && error.status === status;
}

export function languageOf(who: Who): "en" | "es" | "fr" {
	const short = who.language.slice(0, 2).toLowerCase();
	return isLanguage(short) ? short : "en";
}
