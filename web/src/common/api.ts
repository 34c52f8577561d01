// The gateway's API as a page asks it: a token with every request, one shape of refusals.

import { session } from "./session";
import { serverSays } from "./time";

export interface WrongRow { line: number; field: string; message: string }

/** A refusal in the API's words: `{"error":{"code","message","field"}}`. */
export class Refused extends Error {
	constructor(readonly status: number, readonly code: string, message: string, readonly field: string, readonly rows: WrongRow[]) {
		super(message);
	}
}

export interface Answer<T> { data: T; etag: string | null }
export interface List<T> { items: T[]; next: string | null }
export interface Wanted { method?: string; body?: unknown; text?: string; type?: string; headers?: Record<string, string>; signal?: AbortSignal }

/** Asks; throws a {@link Refused}. A 401 ends the session, wherever it comes from. */
export async function request<T>(path: string, wanted: Wanted = {}): Promise<Answer<T>> {
	const headers: Record<string, string> = { ...session.headers(), ...wanted.headers };
	let body: string | null = null;
	if (wanted.text !== undefined) body = wanted.text;
	else if (wanted.body !== undefined) body = JSON.stringify(wanted.body);
	if (body !== null) headers["Content-Type"] = wanted.type ?? "application/json";
	const token = session.token;
	let response: Response;
	try {
		response = await fetch(`/api/v1/${path}`, { method: wanted.method ?? "GET", headers, body, signal: wanted.signal ?? null, cache: "no-store", credentials: "omit" });
	} catch (error) {
		if (wanted.signal?.aborted) throw error;
		throw new Refused(0, "unreachable", "The gateway cannot be reached. Nothing was changed.", "", []);
	}
	serverSays(response.headers.get("date"));
	if (response.ok) {
		const data = (response.status === 204 ? null : await response.json()) as T;
		return { data, etag: response.headers.get("etag") };
	}
	const refused = await refusal(response);
	if (refused.status === 401 && token === session.token) session.end("refused");
	throw refused;
}

async function refusal(response: Response): Promise<Refused> {
	try {
		const { error } = await response.json();
		if (error.code === "too_slow") return new Refused(response.status, error.code, "The gateway did not answer in time. It may have done it all the same: look before you ask again.", "", []);
		return new Refused(response.status, error.code, error.message, error.field ?? "", error.rows ?? []);
	} catch {
		return new Refused(response.status, "unknown", `The gateway answers ${response.status}.`, "", []);
	}
}

/** All pages of a list, up to `most` items; `next` says that there are more. */
export async function all<T>(path: string, most = 20_000): Promise<List<T>> {
	const items: T[] = [];
	let next: string | null = null;
	do {
		const query: string = `${path.includes("?") ? "&" : "?"}limit=1000${next === null ? "" : `&after=${encodeURIComponent(next)}`}`;
		const { data } = await request<List<T>>(path + query);
		items.push(...data.items);
		next = data.next;
	} while (next !== null && items.length < most);
	return { items, next };
}

/** What went wrong, as a sentence. */
export function words(error: unknown): string {
	const text = error instanceof Error ? error.message : String(error);
	const first = text.charAt(0).toUpperCase() + text.slice(1);
	return /[.!?]$/.test(first) ? first : `${first}.`;
}
