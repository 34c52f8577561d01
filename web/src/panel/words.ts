// What the page says, in the languages it speaks. A language that lacks a text does not compile.

import { en } from "./words/en";
import { es } from "./words/es";
import { fr } from "./words/fr";

export type Word = keyof typeof en;
export type Words = Record<Word, string>;
export type Language = "en" | "es" | "fr";

export const LANGUAGES: Record<Language, { name: string; words: Words }> = {
	en: { name: "English", words: en },
	es: { name: "Español", words: es },
	fr: { name: "Français", words: fr },
};

const KEPT = "e911d.panel.language";
let spoken: Language = first();

function first(): Language {
	const wanted = [localStorage.getItem(KEPT) ?? "", ...navigator.languages].map((l) => l.slice(0, 2).toLowerCase());
	return wanted.find(isLanguage) ?? "en";
}

export function isLanguage(text: string): text is Language {
	return text in LANGUAGES;
}

export function language(): Language {
	return spoken;
}

/** Whether somebody has chosen a language on this machine. */
export function isChosen(): boolean {
	return localStorage.getItem(KEPT) !== null;
}

/** Speaks it from now on; `keep`: also tomorrow. */
export function speak(wanted: Language, keep: boolean): void {
	spoken = wanted;
	document.documentElement.lang = wanted;
	if (keep) localStorage.setItem(KEPT, wanted);
}

/** A text, with `{name}` filled in. */
export function t(word: Word, values: Record<string, string | number> = {}): string {
	return LANGUAGES[spoken].words[word].replace(/\{(\w+)\}/g, (_, name: string) => String(values[name] ?? ""));
}

/** A time of day as it is read there. */
export function clock(at: number | string): string {
	return new Date(at).toLocaleTimeString(spoken, { hour: "numeric", minute: "2-digit" });
}

document.documentElement.lang = spoken;
