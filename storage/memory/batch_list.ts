// Owns the list of the batches that a small log holds, and every question that it answers without their bytes.
// Refuses to own the bytes or their durability: memory_log.ts and kv/kv_log.ts keep those.
// Invariant: entries are contiguous from `startOffset` to `endOffset`.
import { lowerBound } from "../lower_bound.ts";
import { BrokerError } from "../broker_error.ts";
import {
  baseOffsetAt,
  batchSpans,
  lastOffsetDeltaAt,
  leaderEpochAt,
  maxTimestampAt,
} from "../format/record_batch.ts";
import type { LogConfig, ReadOptions, RetentionPolicy } from "../log.ts";

export interface BatchEntry {
  readonly baseOffset: number;
  /** Offset after the last record. */
  readonly endOffset: number;
  readonly sizeBytes: number;
  /** Largest timestamp, ms. */
  readonly maxTimestamp: number;
  readonly leaderEpoch: number;
  readonly bytes: Uint8Array;
}

/** An entry without its bytes, for a log that keeps them elsewhere. */
export type BatchPlace = Omit<BatchEntry, "bytes">;

/**
 * The batches in `chunks`, each of which holds one or more whole batches. Throws a plain Error unless their offsets
 * go on from `nextOffset` without a gap, and CORRUPT_BATCH for bytes that are no batches.
 */
export function describeBatches(chunks: readonly Uint8Array[], nextOffset: number): BatchEntry[] {
  const entries: BatchEntry[] = [];
  for (const chunk of chunks) {
    for (const { at, sizeBytes } of batchSpans(chunk)) {
      const baseOffset = baseOffsetAt(chunk, at);
      const endOffset = baseOffset + lastOffsetDeltaAt(chunk, at) + 1;
      if (baseOffset !== nextOffset || endOffset <= baseOffset) {
        throw new Error(`batch [${baseOffset}, ${endOffset}) does not continue at ${nextOffset}`);
      }
      nextOffset = endOffset;
      entries.push({
        baseOffset,
        endOffset,
        sizeBytes,
        maxTimestamp: maxTimestampAt(chunk, at),
        leaderEpoch: leaderEpochAt(chunk, at),
        bytes: chunk.subarray(at, at + sizeBytes),
      });
    }
  }
  return entries;
}

/** The batches of one log in order, each counted to a segment. Finding one by offset is logarithmic, by time linear. */
export class BatchList<E extends BatchPlace> {
  #entries: E[] = [];
  /** Segment of each entry; a number that only grows. */
  #segments: number[] = [];
  #segment = 0;
  #segmentSizeBytes = 0;
  #segmentOpenedAt = 0;
  #startOffset: number;
  #sizeBytes = 0;

  constructor(startOffset: number) {
    this.#startOffset = startOffset;
  }

  get startOffset(): number {
    return this.#startOffset;
  }

  get endOffset(): number {
    return this.#entries.at(-1)?.endOffset ?? this.#startOffset;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Adds the next entry; a new segment starts where `config` says so. `now` is monotonic, ms. */
  push(entry: E, config: LogConfig, now: number): void {
    if (entry.baseOffset !== this.endOffset) {
      throw new Error(`batch at ${entry.baseOffset} does not continue at ${this.endOffset}`);
    }
    const full = this.#segmentSizeBytes + entry.sizeBytes > config.segmentBytes;
    const old = now - this.#segmentOpenedAt >= config.segmentMs;
    if (this.#segmentSizeBytes > 0 && (full || old)) {
      this.#segment++;
      this.#segmentSizeBytes = 0;
    }
    if (this.#segmentSizeBytes === 0) this.#segmentOpenedAt = now;
    this.#segmentSizeBytes += entry.sizeBytes;
    this.#sizeBytes += entry.sizeBytes;
    this.#entries.push(entry);
    this.#segments.push(this.#segment);
  }

  /** The entries that `Log.read` returns. Throws OFFSET_OUT_OF_RANGE. */
  select(offset: number, options: ReadOptions): E[] {
    if (!(offset >= this.#startOffset && offset <= this.endOffset)) {
      throw new BrokerError(
        "OFFSET_OUT_OF_RANGE",
        `offset ${offset} is not in [${this.#startOffset}, ${this.endOffset}]`,
        { offset, logStartOffset: this.#startOffset, logEndOffset: this.endOffset },
      );
    }
    const selected: E[] = [];
    if (offset >= options.endOffset) return selected;
    let sizeBytes = 0;
    for (let index = this.#indexOf(offset); index < this.#entries.length; index++) {
      const entry = this.#entries[index]!;
      sizeBytes += entry.sizeBytes;
      if (entry.endOffset > options.endOffset) break;
      if (selected.length > 0 && sizeBytes > options.maxBytes) break;
      selected.push(entry);
    }
    return selected;
  }

  /** See `Log.offsetForTimestamp`; exact to the batch. */
  offsetForTimestamp(timestampMs: number): number | null {
    return this.#entries.find((entry) => entry.maxTimestamp >= timestampMs)?.baseOffset ?? null;
  }

  /** See `Log.endOffsetForEpoch`; epoch -1 and the start when there is nothing of that epoch or an older one. */
  endOffsetForEpoch(leaderEpoch: number): { leaderEpoch: number; endOffset: number } {
    const last = this.#entries.findLast((entry) => entry.leaderEpoch <= leaderEpoch);
    if (last === undefined) return { leaderEpoch: -1, endOffset: this.#startOffset };
    return { leaderEpoch: last.leaderEpoch, endOffset: last.endOffset };
  }

  /** How many of the oldest entries `policy` lets go: whole segments, never the newest. */
  droppable(policy: RetentionPolicy): number {
    let dropped = 0;
    let keptBytes = this.#sizeBytes;
    while (dropped < this.#entries.length) {
      const segment = this.#segments[dropped]!;
      if (segment === this.#segments.at(-1)) break;
      const end = this.#segments.indexOf(segment + 1, dropped);
      const oldest = this.#entries.slice(dropped, end);
      const bytes = oldest.reduce((sum, entry) => sum + entry.sizeBytes, 0);
      const newest = oldest.reduce((max, entry) => Math.max(max, entry.maxTimestamp), -Infinity);
      const tooOld = policy.retentionMs !== null && policy.now - newest > policy.retentionMs;
      const tooMuch = policy.retentionBytes !== null && keptBytes - bytes >= policy.retentionBytes;
      if (oldest.at(-1)!.endOffset > policy.keepFrom || !(tooOld || tooMuch)) break;
      keptBytes -= bytes;
      dropped = end;
    }
    return dropped;
  }

  /** Where the list would start without its `count` oldest entries. */
  offsetAfter(count: number): number {
    return count === 0 ? this.#startOffset : this.#entries[count - 1]!.endOffset;
  }

  /** Where the list would end without the entries that end after `offset`. */
  endAtMost(offset: number): number {
    if (offset >= this.endOffset) return this.endOffset;
    return this.#entries[this.#indexOf(offset)]?.baseOffset ?? this.#startOffset;
  }

  /** Forgets the `count` oldest entries and returns them. */
  dropOldest(count: number): E[] {
    const dropped = this.#entries.splice(0, count);
    this.#segments.splice(0, count);
    for (const entry of dropped) this.#sizeBytes -= entry.sizeBytes;
    this.#startOffset = dropped.at(-1)?.endOffset ?? this.#startOffset;
    return dropped;
  }

  /** Forgets every entry that ends after `offset`, newest first, and returns them. */
  dropAfter(offset: number): E[] {
    const dropped: E[] = [];
    while ((this.#entries.at(-1)?.endOffset ?? -1) > offset) {
      const entry = this.#entries.pop()!;
      this.#sizeBytes -= entry.sizeBytes;
      const segment = this.#segments.pop()!;
      if (segment === this.#segment) this.#segmentSizeBytes -= entry.sizeBytes;
      dropped.push(entry);
    }
    this.#resumeSegment();
    return dropped;
  }

  /** After a cut the segment of the newest entry that is left is the one that is written. */
  #resumeSegment(): void {
    const segment = this.#segments.at(-1) ?? this.#segment;
    if (segment === this.#segment) return;
    this.#segment = segment;
    this.#segmentSizeBytes = 0;
    for (let index = this.#entries.length - 1; this.#segments[index] === segment; index--) {
      this.#segmentSizeBytes += this.#entries[index]!.sizeBytes;
    }
  }

  /** Index of the entry that holds `offset`, or of the first after it. */
  #indexOf(offset: number): number {
    return lowerBound(this.#entries.length, (index) => this.#entries[index]!.endOffset <= offset);
  }
}

/** The bytes of `parts` after one another; one part alone is not copied. */
export function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  if (parts.length === 1) return parts[0]!;
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
