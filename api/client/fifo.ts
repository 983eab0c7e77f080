// Owns a first-in-first-out list whose ends are both cheap however long it is.
// Refuses to own a bound: whoever fills it has one.
// Invariant: what was pushed first is shifted first; what was shifted is not held on to.

/** Slots that were left at the front are given back when there are this many and they are the larger half. */
const COMPACT_AT = 1_024;

export class Fifo<T> {
  #items: (T | undefined)[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  push(item: T): void {
    this.#items.push(item);
  }

  /** The first, undefined when there is none. */
  peek(): T | undefined {
    return this.#items[this.#head];
  }

  shift(): T | undefined {
    if (this.length === 0) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head++] = undefined;
    if (this.#head === this.#items.length) {
      this.#items = [];
      this.#head = 0;
    } else if (this.#head >= COMPACT_AT && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }
}
