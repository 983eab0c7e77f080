// Owns the ordered list of a log's segments.
// Refuses to own their files and indexes.
// Invariant: base offsets grow along the list; the last segment is the one that is appended to. An index never changes
// its meaning by retention: segments are found by offset each time.
import { lowerBound } from "../lower_bound.ts";

export interface Segment {
  readonly baseOffset: number;
  /** Bytes of whole batches. */
  sizeBytes: number;
  /** Newest timestamp; null until it was looked up. -Infinity in an empty segment. */
  maxTimestamp: number | null;
}

export class Segments {
  #list: Segment[];

  constructor(list: readonly Segment[]) {
    this.#list = [...list];
  }

  get all(): readonly Segment[] {
    return this.#list;
  }

  get active(): Segment {
    const last = this.#list.at(-1);
    if (last === undefined) throw new Error("the log has no segment");
    return last;
  }

  get sizeBytes(): number {
    return this.#list.reduce((sum, segment) => sum + segment.sizeBytes, 0);
  }

  /** The segment in whose range `offset` lies, with the offset at which the next one starts; null below the first. */
  holding(
    offset: number,
    logEndOffset: number,
  ): { segment: Segment; endOffset: number } | null {
    const length = this.#list.length;
    const low = lowerBound(length, (index) => this.#list[index]!.baseOffset <= offset);
    if (low === 0) return null;
    const endOffset = this.#list[low]?.baseOffset ?? logEndOffset;
    return { segment: this.#list[low - 1]!, endOffset };
  }

  push(segment: Segment): void {
    this.#list.push(segment);
  }

  /** Takes out the first `count` segments. */
  dropFirst(count: number): Segment[] {
    const dropped = this.#list.slice(0, count);
    this.#list = this.#list.slice(count);
    return dropped;
  }

  /** Puts `by` in the place of `old`, which follow each other; false when they are not all there any more. */
  replace(old: readonly Segment[], by: Segment): boolean {
    const at = this.#list.indexOf(old[0]!);
    if (at < 0 || old.some((segment, index) => this.#list[at + index] !== segment)) return false;
    this.#list = this.#list.toSpliced(at, old.length, by);
    return true;
  }

  /** Takes out the last segment. */
  dropLast(): void {
    this.#list = this.#list.slice(0, -1);
  }
}
