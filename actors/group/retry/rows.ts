// Owns a persistent, sorted set of rows of numbers: what is kept of many retries, in little memory.
// Refuses to own what the numbers mean.
// Invariant: plain arrays, never changed in place; a change copies the chunks it touches and the list of chunks. No two
// rows have the same key, and rows are in order of their keys.
//
// A row lies flat in its chunk, so a hundred thousand rows are a few hundred arrays of doubles, not as many objects.
import { lowerBound } from "../../../storage/lower_bound.ts";

/** Rows that a chunk holds at most; one that is changed is copied. */
const MAX_CHUNK_ROWS = 128;
/** What a chunk is filled with when rows are cut anew, so that it can grow. */
const FULL_ROWS = 96;

export interface Rows {
  readonly size: number;
  readonly chunks: readonly (readonly number[])[];
}

export const NO_ROWS: Rows = Object.freeze({ size: 0, chunks: Object.freeze([]) });

/** Rows of `width` numbers, the first `keyWidth` of which are the key. */
export class RowSet {
  constructor(readonly width: number, readonly keyWidth: number) {}

  /** The row with this key, null when there is none. */
  find(rows: Rows, key: readonly number[]): readonly number[] | null {
    const chunk = rows.chunks[this.#chunkOf(rows, key)];
    if (chunk === undefined) return null;
    const at = this.#lowerBound(chunk, key);
    return at < chunk.length && this.#compare(chunk, at, key, 0, this.keyWidth) === 0
      ? chunk.slice(at, at + this.width)
      : null;
  }

  has(rows: Rows, key: readonly number[]): boolean {
    return rows.size > 0 && this.find(rows, key) !== null;
  }

  /** The row with the lowest key, null when there is none. */
  first(rows: Rows): readonly number[] | null {
    return rows.chunks[0]?.slice(0, this.width) ?? null;
  }

  /** Rows from `from` (a key, or the beginning of one) on, in order. */
  *from(rows: Rows, from: readonly number[]): Generator<readonly number[]> {
    const first = Math.max(0, this.#chunkOf(rows, from));
    for (let which = first; which < rows.chunks.length; which++) {
      const chunk = rows.chunks[which]!;
      let at = which === first ? this.#lowerBound(chunk, from) : 0;
      for (; at < chunk.length; at += this.width) yield chunk.slice(at, at + this.width);
    }
  }

  /** Rows whose key begins with `prefix`, in order. */
  *under(rows: Rows, prefix: readonly number[]): Generator<readonly number[]> {
    if (rows.size === 0) return;
    for (const row of this.from(rows, prefix)) {
      if (this.#compare(row, 0, prefix, 0, prefix.length) !== 0) return;
      yield row;
    }
  }

  /** The first of them, null when there is none. */
  firstUnder(rows: Rows, prefix: readonly number[]): readonly number[] | null {
    for (const row of this.under(rows, prefix)) return row;
    return null;
  }

  /** The last row whose key is below `key` (or the beginning of one), null when there is none. */
  before(rows: Rows, key: readonly number[]): readonly number[] | null {
    const which = this.#chunkOf(rows, key);
    const chunk = rows.chunks[which];
    if (chunk === undefined) return null;
    const at = this.#lowerBound(chunk, key);
    if (at > 0) return chunk.slice(at - this.width, at);
    return rows.chunks[which - 1]?.slice(-this.width) ?? null;
  }

  /** With `added`, rows one after the other in order of their keys, in place of those with the same keys. */
  put(rows: Rows, added: readonly number[]): Rows {
    if (added.length === 0) return rows;
    const { chunks } = rows;
    let size = rows.size;
    let taken = 0;
    let which = Math.max(0, this.#chunkOf(rows, added));
    const made = chunks.slice(0, which);
    do {
      const chunk = chunks[which] ?? [];
      const next = chunks[which + 1];
      const end = next === undefined ? added.length : this.#lowerBound(added, next, taken);
      if (end > taken) {
        const merged = this.#merge(chunk, added, taken, end);
        size += (merged.length - chunk.length) / this.width;
        this.#cut(merged, made);
      } else made.push(chunk);
      taken = end;
      which++;
    } while (which < chunks.length && taken < added.length);
    return { size, chunks: which < chunks.length ? made.concat(chunks.slice(which)) : made };
  }

  /** Without the rows of `keys`, keys one after the other in order; those that are not there are passed over. */
  remove(rows: Rows, keys: readonly number[]): Rows {
    const { keyWidth } = this;
    if (rows.size === 0 || keys.length === 0) return rows;
    let key = 0;
    const isNext = (chunk: readonly number[], at: number): boolean => {
      while (key < keys.length) {
        const order = this.#compare(keys, key, chunk, at, keyWidth);
        if (order > 0) return false;
        key += keyWidth;
        if (order === 0) return true;
      }
      return false;
    };
    const first = Math.max(0, this.#chunkOf(rows, keys));
    return this.#without(rows, first, isNext, () => key >= keys.length);
  }

  /** Without the rows whose key begins with `prefix` and has less than `below` behind it. */
  removeBelow(rows: Rows, prefix: readonly number[], below: number): Rows {
    if (rows.size === 0) return rows;
    const length = prefix.length;
    let over = false;
    const isIn = (chunk: readonly number[], at: number): boolean => {
      const order = this.#compare(chunk, at, prefix, 0, length);
      const inside = order === 0 && chunk[at + length]! < below;
      over = order > 0 || (order === 0 && !inside);
      return inside;
    };
    return this.#without(rows, Math.max(0, this.#chunkOf(rows, prefix)), isIn, () => over);
  }

  /** The rows with the lowest keys as long as `isIn` says so, at most `max`, and the rest. */
  takeFirst(
    rows: Rows,
    max: number,
    isIn: (chunk: readonly number[], at: number) => boolean,
  ): { taken: number[]; rest: Rows } {
    const { width } = this;
    const taken: number[] = [];
    let which = 0;
    for (; which < rows.chunks.length; which++) {
      const chunk = rows.chunks[which]!;
      let at = 0;
      while (at < chunk.length && taken.length + at < max * width && isIn(chunk, at)) at += width;
      for (let i = 0; i < at; i++) taken.push(chunk[i]!);
      if (at === chunk.length) continue;
      const chunks = rows.chunks.slice(which);
      if (at > 0) chunks[0] = chunk.slice(at);
      return { taken, rest: { size: rows.size - taken.length / width, chunks } };
    }
    return { taken, rest: NO_ROWS };
  }

  /** `flat`, rows one after the other in any order, in order of their keys; of two with the same key the later one. */
  sorted(flat: readonly number[]): readonly number[] {
    const { width, keyWidth } = this;
    let inOrder = true;
    for (let at = width; inOrder && at < flat.length; at += width) {
      inOrder = this.#compare(flat, at - width, flat, at, keyWidth) < 0;
    }
    if (inOrder) return flat;
    const starts = Array.from({ length: flat.length / width }, (_, i) => i * width);
    starts.sort((a, b) => this.#compare(flat, a, flat, b, keyWidth) || a - b);
    const made: number[] = [];
    for (let i = 0; i < starts.length; i++) {
      const at = starts[i]!;
      const next = starts[i + 1];
      if (next !== undefined && this.#compare(flat, at, flat, next, keyWidth) === 0) continue;
      for (let j = 0; j < width; j++) made.push(flat[at + j]!);
    }
    return made;
  }

  #compare(
    a: readonly number[],
    atA: number,
    b: readonly number[],
    atB: number,
    length: number,
  ): number {
    for (let i = 0; i < length; i++) {
      const difference = a[atA + i]! - b[atB + i]!;
      if (difference !== 0) return difference;
    }
    return 0;
  }

  /** Index of the chunk that holds the place of `key`, -1 when there are no chunks or it is before the first row. */
  #chunkOf({ chunks }: Rows, key: readonly number[]): number {
    const length = Math.min(key.length, this.keyWidth);
    return lowerBound(chunks.length, (index) => {
      const order = this.#compare(chunks[index]!, 0, key, 0, length);
      // The beginning of a key stands before all keys that begin so.
      return order < 0 || (order === 0 && length === this.keyWidth);
    }) - 1;
  }

  /** Index of the first row from `start` on whose key is not below the one (or the beginning of one) at `keyAt`. */
  #lowerBound(flat: readonly number[], key: readonly number[], start = 0, keyAt = 0): number {
    const { width } = this;
    const length = Math.min(key.length - keyAt, this.keyWidth);
    let low = start / width;
    let high = flat.length / width;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#compare(flat, middle * width, key, keyAt, length) < 0) low = middle + 1;
      else high = middle;
    }
    return low * width;
  }

  #merge(chunk: readonly number[], added: readonly number[], from: number, to: number): number[] {
    if (chunk.length === 0) return added.slice(from, to);
    const { width, keyWidth } = this;
    // Whole stretches are copied at once: most of a chunk is not touched by what is added.
    const pieces: number[][] = [];
    let at = 0;
    for (let next = from; next < to;) {
      const start = at;
      at = this.#lowerBound(chunk, added, at, next);
      if (at > start) pieces.push(chunk.slice(start, at));
      if (at < chunk.length && this.#compare(chunk, at, added, next, keyWidth) === 0) at += width;
      const first = next;
      do next += width; while (
        next < to && (at === chunk.length || this.#compare(added, next, chunk, at, keyWidth) < 0)
      );
      pieces.push(added.slice(first, next));
    }
    if (at < chunk.length) pieces.push(chunk.slice(at));
    return pieces.length === 1 ? pieces[0]! : pieces[0]!.concat(...pieces.slice(1));
  }

  #cut(merged: readonly number[], into: (readonly number[])[]): void {
    const { width } = this;
    if (merged.length <= MAX_CHUNK_ROWS * width) {
      into.push(merged);
      return;
    }
    const pieces = Math.ceil(merged.length / (FULL_ROWS * width));
    const rowsEach = Math.ceil(merged.length / width / pieces);
    for (let at = 0; at < merged.length; at += rowsEach * width) {
      into.push(merged.slice(at, at + rowsEach * width));
    }
  }

  #without(
    rows: Rows,
    first: number,
    isOut: (chunk: readonly number[], at: number) => boolean,
    isOver: () => boolean,
  ): Rows {
    const { width } = this;
    const { chunks } = rows;
    const made = chunks.slice(0, first);
    let size = rows.size;
    let which = first;
    for (; which < chunks.length && !isOver(); which++) {
      const chunk = chunks[which]!;
      const kept: number[][] = [];
      let from = 0;
      let out = 0;
      for (let at = 0; at < chunk.length; at += width) {
        if (!isOut(chunk, at)) continue;
        if (at > from) kept.push(chunk.slice(from, at));
        from = at + width;
        out++;
      }
      if (out === 0) {
        made.push(chunk);
        continue;
      }
      size -= out;
      if (from < chunk.length) kept.push(chunk.slice(from));
      if (kept.length > 0) this.#pushSmall(made, kept[0]!.concat(...kept.slice(1)));
    }
    if (size === rows.size) return rows;
    if (size === 0) return NO_ROWS;
    return { size, chunks: which < chunks.length ? made.concat(chunks.slice(which)) : made };
  }

  /** What is left of a chunk joins the one before when both are small: many removals must not leave many small chunks. */
  #pushSmall(made: (readonly number[])[], kept: readonly number[]): void {
    const before = made.at(-1);
    if (before !== undefined && before.length + kept.length <= FULL_ROWS * this.width) {
      made[made.length - 1] = before.concat(kept);
    } else made.push(kept);
  }
}
