// What is dialed, as the gateway reads it: a whole number or none, never one that is contained in another (RULES R1).

/** Without what only separates; a `#` at the end is a habit of phones. */
export function plain(dialed: string): string {
	return dialed.trim().replace(/[-.() \s]/g, "").replace(/#$/, "");
}

/** Whether it is one of the emergency numbers of this session. */
export function isEmergency(dialed: string, numbers: string[]): boolean {
	return numbers.includes(plain(dialed));
}
