// Owns a set of offsets kept as disjoint ranges in order: what is in flight of one partition.
// Refuses to own what being in flight means (window.ts).
// Invariant: ranges never touch or overlap, and `size` is the number of offsets they hold.

/** Offsets from `from` (inclusive) to `to` (exclusive). */
export interface OffsetRange {
  readonly from: number;
  readonly to: number;
}

/** A set of offsets; memory grows with its gaps, not with its size. */
export class OffsetRanges {
  #ranges: OffsetRange[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get ranges(): readonly OffsetRange[] {
    return this.#ranges;
  }

  has(offset: number): boolean {
    const range = this.#ranges[this.#firstEndingAfter(offset)];
    return range !== undefined && range.from <= offset;
  }

  /** Adds offsets that are not in the set; a broken invariant when one is. */
  add(from: number, to: number): void {
    if (to <= from) return;
    const at = this.#firstEndingAfter(from);
    const next = this.#ranges[at];
    if (next !== undefined && next.from < to) {
      throw new Error(`offsets ${from} to ${to} overlap ${next.from} to ${next.to} in flight`);
    }
    const before = this.#ranges[at - 1];
    const joinsBefore = before !== undefined && before.to === from;
    const joinsNext = next !== undefined && next.from === to;
    const merged = { from: joinsBefore ? before.from : from, to: joinsNext ? next.to : to };
    const start = joinsBefore ? at - 1 : at;
    this.#ranges.splice(start, Number(joinsBefore) + Number(joinsNext), merged);
    this.#size += to - from;
  }

  /** Takes one offset out; false when it was not in. */
  remove(offset: number): boolean {
    const at = this.#firstEndingAfter(offset);
    const range = this.#ranges[at];
    if (range === undefined || range.from > offset) return false;
    const rest: OffsetRange[] = [];
    if (range.from < offset) rest.push({ from: range.from, to: offset });
    if (offset + 1 < range.to) rest.push({ from: offset + 1, to: range.to });
    this.#ranges.splice(at, 1, ...rest);
    this.#size -= 1;
    return true;
  }

  /** Takes out everything below `offset`; returns how many that were. */
  removeBelow(offset: number): number {
    const at = this.#firstEndingAfter(offset);
    const before = this.#size;
    for (const range of this.#ranges.splice(0, at)) this.#size -= range.to - range.from;
    const first = this.#ranges[0];
    if (first !== undefined && first.from < offset) {
      this.#ranges[0] = { from: offset, to: first.to };
      this.#size -= offset - first.from;
    }
    return before - this.#size;
  }

  /** Index of the first range that ends after `offset`; the number of ranges when none does. */
  #firstEndingAfter(offset: number): number {
    let low = 0;
    let high = this.#ranges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#ranges[middle]!.to > offset) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
