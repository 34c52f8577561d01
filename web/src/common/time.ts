// Times as people read them; how long something lasts is told by the gateway's clock, not by this machine's.

import { h } from "./dom";

let offset = 0;

/** The gateway's time, as its answers say. */
export function serverSays(date: string | null): void {
	const there = date === null ? NaN : Date.parse(date);
	// The header counts whole seconds.
	if (!Number.isNaN(there) && Math.abs(Date.now() + offset - there) > 2_000) offset = there - Date.now();
}

export function serverNow(): number {
	return Date.now() + offset;
}

const two = (n: number) => String(n).padStart(2, "0");

/** `2026-11-23 14:03:09`, in the time zone of whoever looks. */
export function moment(rfc3339: string): string {
	const t = new Date(rfc3339);
	if (Number.isNaN(t.getTime())) return rfc3339;
	return `${day(t)} ${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}`;
}

/** `2026-11-23` */
export function day(t: Date): string {
	return `${t.getFullYear()}-${two(t.getMonth() + 1)}-${two(t.getDate())}`;
}

export function time(rfc3339: string): HTMLElement {
	return h("time", { datetime: rfc3339, title: `${rfc3339} (UTC)` }, moment(rfc3339));
}

/** `0:07`, `12:34`, `1:02:03` */
export function duration(milliseconds: number): string {
	const s = Math.max(0, Math.floor(milliseconds / 1000));
	const [hours, minutes, seconds] = [Math.floor(s / 3600), Math.floor(s / 60) % 60, s % 60];
	return hours > 0 ? `${hours}:${two(minutes)}:${two(seconds)}` : `${minutes}:${two(seconds)}`;
}

/** How long ago, roughly, in words. */
export function ago(seconds: number): string {
	if (seconds < 60) return "less than a minute ago";
	if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
	if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h ago`;
	return `${Math.floor(seconds / 86_400)} days ago`;
}

/** How long it lasts by now; counts on by itself while it is in the page. */
export function lasting(since: string): HTMLElement {
	const element = h("span", { class: "lasting", "data-since": since });
	element.textContent = duration(serverNow() - Date.parse(since));
	return element;
}

setInterval(() => {
	for (const element of document.querySelectorAll<HTMLElement>(".lasting"))
		element.textContent = duration(serverNow() - Date.parse(element.dataset["since"] ?? ""));
}, 1_000);
