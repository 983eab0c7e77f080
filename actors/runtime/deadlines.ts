// Owns the order of deadlines over many keys: an indexed binary heap.
// Refuses to own time and timers (keyed_actor.ts).
// Invariant: one deadline a key; the earliest is found at once, every change costs O(log keys).

interface Slot {
  readonly key: string;
  dueMs: number;
  index: number;
}

/** Deadlines (monotonic ms) by key. */
export class Deadlines {
  readonly #heap: Slot[] = [];
  readonly #slots = new Map<string, Slot>();

  get size(): number {
    return this.#heap.length;
  }

  /** The earliest deadline, null when there is none. */
  get earliestMs(): number | null {
    return this.#heap[0]?.dueMs ?? null;
  }

  /** Sets the deadline of `key`; null takes it away. */
  set(key: string, dueMs: number | null): void {
    const slot = this.#slots.get(key);
    if (dueMs === null) {
      if (slot !== undefined) this.#remove(slot);
    } else if (slot === undefined) {
      const added = { key, dueMs, index: this.#heap.length };
      this.#heap.push(added);
      this.#slots.set(key, added);
      this.#rise(added);
    } else if (slot.dueMs !== dueMs) {
      slot.dueMs = dueMs;
      this.#rise(slot);
      this.#sink(slot);
    }
  }

  /** Takes away up to `max` keys whose deadline has come, earliest first. */
  takeDue(nowMs: number, max: number): string[] {
    const due: string[] = [];
    while (due.length < max) {
      const first = this.#heap[0];
      if (first === undefined || first.dueMs > nowMs) break;
      this.#remove(first);
      due.push(first.key);
    }
    return due;
  }

  clear(): void {
    this.#heap.length = 0;
    this.#slots.clear();
  }

  #remove(slot: Slot): void {
    this.#slots.delete(slot.key);
    const last = this.#heap.pop() as Slot;
    if (last === slot) return;
    this.#place(last, slot.index);
    this.#rise(last);
    this.#sink(last);
  }

  #place(slot: Slot, index: number): void {
    this.#heap[index] = slot;
    slot.index = index;
  }

  #rise(slot: Slot): void {
    while (slot.index > 0) {
      const index = slot.index;
      const parent = this.#heap[(index - 1) >> 1] as Slot;
      if (parent.dueMs <= slot.dueMs) return;
      this.#place(slot, parent.index);
      this.#place(parent, index);
    }
  }

  #sink(slot: Slot): void {
    while (true) {
      const index = slot.index;
      const left = this.#heap[2 * index + 1];
      const right = this.#heap[2 * index + 2];
      const child = right !== undefined && left !== undefined && right.dueMs < left.dueMs
        ? right
        : left;
      if (child === undefined || child.dueMs >= slot.dueMs) return;
      this.#place(slot, child.index);
      this.#place(child, index);
    }
  }
}
