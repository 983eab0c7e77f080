// Owns the sparse index of one segment in memory: by offset and by time, at the same places.
// Refuses to own its files (index_files.ts) and the batches it points at.
// Invariant: entries point at starts of batches in order; an entry's time is the newest of all batches before it.
import { lowerBound } from "../lower_bound.ts";

/** A batch as the index sees it. */
export interface IndexedBatch {
  readonly baseOffset: number;
  readonly position: number;
  readonly sizeBytes: number;
  readonly maxTimestamp: number;
}

/** A place in a segment: the batch there starts with `offset`. */
export interface SegmentPlace {
  readonly offset: number;
  readonly position: number;
}

const FIRST_CAPACITY = 16;
const BYTES_PER_ENTRY = 16;

export class SegmentIndex {
  #relativeOffsets = new Uint32Array(FIRST_CAPACITY);
  #positions = new Uint32Array(FIRST_CAPACITY);
  #timesBefore = new Float64Array(FIRST_CAPACITY);
  #count = 0;
  #coveredBytes = 0;
  #maxTimestamp = -Infinity;

  constructor(readonly baseOffset: number) {}

  /** Bytes of the segment, from its start, that are indexed. */
  get coveredBytes(): number {
    return this.#coveredBytes;
  }

  /** Newest timestamp of the covered batches, -Infinity when there are none. */
  get maxTimestamp(): number {
    return this.#maxTimestamp;
  }

  get entryCount(): number {
    return this.#count;
  }

  get memoryBytes(): number {
    return this.#positions.length * BYTES_PER_ENTRY;
  }

  /** Takes in the batch that follows the covered ones; every `intervalBytes` one becomes an entry. */
  add(batch: IndexedBatch, intervalBytes: number): void {
    const before = this.#count === 0 ? 0 : this.#positions[this.#count - 1]!;
    if (batch.position - before >= intervalBytes) {
      this.pushEntry(batch.baseOffset - this.baseOffset, batch.position, this.#maxTimestamp);
    }
    this.cover(batch.position + batch.sizeBytes, Math.max(this.#maxTimestamp, batch.maxTimestamp));
  }

  pushEntry(relativeOffset: number, position: number, timeBefore: number): void {
    if (this.#count === this.#positions.length) this.#grow();
    this.#relativeOffsets[this.#count] = relativeOffset;
    this.#positions[this.#count] = position;
    this.#timesBefore[this.#count++] = timeBefore;
  }

  cover(coveredBytes: number, maxTimestamp: number): void {
    this.#coveredBytes = coveredBytes;
    this.#maxTimestamp = maxTimestamp;
  }

  /** Entry `index` as it is stored. */
  entry(index: number): { relativeOffset: number; position: number; timeBefore: number } {
    return {
      relativeOffset: this.#relativeOffsets[index]!,
      position: this.#positions[index]!,
      timeBefore: this.#timesBefore[index]!,
    };
  }

  /** The nearest known place at or before the batch that holds `offset`. */
  placeOf(offset: number): SegmentPlace {
    return this.#place(
      lowerBound(this.#count, (at) => this.baseOffset + this.#relativeOffsets[at]! <= offset),
    );
  }

  /** A place before which every batch is older than `timestampMs`. */
  placeOfTime(timestampMs: number): SegmentPlace {
    return this.#place(lowerBound(this.#count, (at) => this.#timesBefore[at]! < timestampMs));
  }

  /**
   * Takes the index back to its last entry at or before `position` and covers nothing behind it: the batches from
   * the place it returns on must be added again.
   */
  rewind(position: number): SegmentPlace {
    const kept = lowerBound(this.#count, (at) => this.#positions[at]! <= position);
    const place = this.#place(kept);
    this.#count = Math.max(0, kept - 1);
    this.cover(place.position, kept === 0 ? -Infinity : this.#timesBefore[kept - 1]!);
    return place;
  }

  /** The place of the last of the first `count` entries; the segment's start for 0. */
  #place(count: number): SegmentPlace {
    if (count === 0) return { offset: this.baseOffset, position: 0 };
    const { relativeOffset, position } = this.entry(count - 1);
    return { offset: this.baseOffset + relativeOffset, position };
  }

  #grow(): void {
    const capacity = this.#positions.length * 2;
    const grown = <T extends Uint32Array | Float64Array>(to: T, from: T): T => {
      to.set(from);
      return to;
    };
    this.#relativeOffsets = grown(new Uint32Array(capacity), this.#relativeOffsets);
    this.#positions = grown(new Uint32Array(capacity), this.#positions);
    this.#timesBefore = grown(new Float64Array(capacity), this.#timesBefore);
  }
}
