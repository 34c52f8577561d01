// What the page knows, in one place: whoever shows something of it is told when it changes.

/** A value with listeners. They are told once a turn, however often it has changed in it. */
export class Store<T extends object> {
	private readonly listeners = new Set<(now: T) => void>();
	private isTelling = false;

	constructor(private value: T) {}

	get now(): Readonly<T> {
		return this.value;
	}

	set(part: Partial<T>): void {
		this.value = { ...this.value, ...part };
		this.tell();
	}

	/** Something inside has changed by itself. */
	tell(): void {
		if (this.isTelling) return;
		this.isTelling = true;
		queueMicrotask(() => {
			this.isTelling = false;
			for (const listener of [...this.listeners]) listener(this.value);
		});
	}

	/** Listens until what is returned is called. */
	listen(listener: (now: T) => void): () => void {
		this.listeners.add(listener);
		return () => this.listeners.delete(listener);
	}
}
