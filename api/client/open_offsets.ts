// Owns the offsets of one partition that an application was given and has not settled.
// Refuses to own what settling means (partition_state.ts).
// Invariant: ranges are disjoint and in order; memory grows with their gaps, not with the messages.

interface Range {
  from: number;
  /** Exclusive. */
  to: number;
}

export class OpenOffsets {
  #ranges: Range[] = [];
  #size = 0;

  /** How many. */
  get size(): number {
    return this.#size;
  }

  has(offset: number): boolean {
    return this.#ranges.some((range) => range.from <= offset && offset < range.to);
  }

  /** Adds one; nothing happens when it is there. */
  add(offset: number): void {
    let at = this.#ranges.length;
    while (at > 0 && this.#ranges[at - 1]!.from > offset) at--;
    const before = this.#ranges[at - 1];
    if (before !== undefined && offset < before.to) return;
    this.#size++;
    if (before?.to === offset) before.to++;
    else this.#ranges.splice(at, 0, { from: offset, to: offset + 1 });
  }

  /** Takes one out; nothing happens when it is not there. */
  remove(offset: number): void {
    const at = this.#ranges.findIndex((range) => range.from <= offset && offset < range.to);
    const range = this.#ranges[at];
    if (range === undefined) return;
    this.#size--;
    const parts = [{ from: range.from, to: offset }, { from: offset + 1, to: range.to }];
    this.#ranges.splice(at, 1, ...parts.filter((part) => part.from < part.to));
  }

  /** Takes out all below `offset`. */
  removeBelow(offset: number): void {
    let done = 0;
    for (const range of this.#ranges) {
      if (range.from >= offset) break;
      const to = Math.min(range.to, offset);
      this.#size -= to - range.from;
      range.from = to;
      if (range.from === range.to) done++;
    }
    this.#ranges.splice(0, done);
  }
}
