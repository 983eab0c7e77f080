// Owns the judgement on one stored batch after the other, from the log start on: what compaction leaves of each.
// Refuses to own files, and the order of steps (compactor.ts). Pure.
// Invariant: a record goes only when a newer one of its key lies below the clean end, when it is a tombstone that all have
// had time to read, or when its transaction was aborted. A batch that cannot be read as records stays as it is.
//
// A marker stays as long as anything transactional of its producer is kept before it: without it that would look open.
import { Buffer } from "node:buffer";
import { BrokerError } from "../broker_error.ts";
import {
  type BatchHeader,
  CODEC_MASK,
  CONTROL_BIT,
  readHeader,
  TRANSACTIONAL_BIT,
} from "../format/record_batch.ts";
import {
  type BatchOutline,
  emptyBatch,
  hasHeader,
  outlineBatch,
  type RecordOutline,
  thinBatch,
} from "../format/thin_batch.ts";
import type { AbortedTransaction } from "../log.ts";
import type { Crc32c } from "../ports.ts";
import type { KeyOffsets } from "./key_offsets.ts";

/** A batch that holds more is left as it is. */
const MAX_DECOMPRESSED_BYTES = 64 * 1024 * 1024;

export interface CleaningRules {
  /** Of all records from the last clean end up to this one's. */
  readonly newest: Pick<KeyOffsets, "newest">;
  /** Tombstones below have stayed long enough. */
  readonly tombstonesUpTo: number;
  /** Last batches of producers keep their header when they are not older, ms. */
  readonly producersSince: number;
  /** Whether its producer has appended another of its kind, records or a marker, behind this batch, as far as known. */
  hasAppendedAfter(header: BatchHeader): boolean;
  readonly aborted: AbortedTransactions;
}

/** What is left of a batch: all of it, another batch in its place, or nothing but its offsets. */
export type Cleaned = "same" | "nothing" | Uint8Array;

export class BatchCleaner {
  removedRecords = 0;
  /** Tombstones and markers that a later compaction will take. */
  pending = 0;
  /** Producers with something transactional kept since their last marker. */
  readonly #openTransactions = new Set<number>();

  constructor(private readonly rules: CleaningRules, private readonly crc32c: Crc32c) {}

  /** The batch at `at`, without guard. */
  clean(bytes: Uint8Array, at: number): Cleaned {
    const header = readHeader(bytes, at);
    if ((header.attributes & CONTROL_BIT) !== 0) return this.#marker(header);
    if (header.recordCount === 0) return this.#withoutRecords(bytes, at, header);
    const outline = outlineOrNull(bytes, at);
    if (outline === null) return this.#keeping(header, "same");
    const kept = this.rules.aborted.holds(header)
      ? []
      : outline.records.filter((record) => this.#isKept(record));
    this.removedRecords += outline.records.length - kept.length;
    if (kept.length === outline.records.length) return this.#keeping(header, "same");
    if (kept.length === 0) return this.#withoutRecords(bytes, at, header);
    return this.#keeping(header, thinBatch(bytes, at, { outline, kept, crc32c: this.crc32c }));
  }

  #isKept({ key, offset, hasValue }: RecordOutline): boolean {
    if (key === null) return true;
    if (this.rules.newest.newest(key) > offset) return false;
    if (hasValue) return true;
    if (offset < this.rules.tombstonesUpTo) return false;
    this.pending++;
    return true;
  }

  #keeping(header: BatchHeader, left: Cleaned): Cleaned {
    if ((header.attributes & TRANSACTIONAL_BIT) !== 0) {
      this.#openTransactions.add(header.producerId);
    }
    return left;
  }

  #withoutRecords(bytes: Uint8Array, at: number, header: BatchHeader): Cleaned {
    if (!this.#isProducersLast(header)) return "nothing";
    const isEmpty = header.recordCount === 0 && (header.attributes & CODEC_MASK) === 0;
    return this.#keeping(header, isEmpty ? "same" : emptyBatch(bytes, at, this.crc32c));
  }

  #isProducersLast(header: BatchHeader): boolean {
    return header.producerId >= 0 && header.maxTimestamp >= this.rules.producersSince &&
      !this.rules.hasAppendedAfter(header);
  }

  #marker(header: BatchHeader): Cleaned {
    const { producerId, baseOffset } = header;
    const isNeeded = this.#openTransactions.delete(producerId);
    if (isNeeded || this.#isProducersLast(header)) return "same";
    if (baseOffset < this.rules.tombstonesUpTo) return "nothing";
    this.pending++;
    return "same";
  }
}

function outlineOrNull(bytes: Uint8Array, at: number) {
  try {
    return outlineBatch(bytes, at, { maxDecompressedBytes: MAX_DECOMPRESSED_BYTES });
  } catch (error) {
    if (error instanceof BrokerError) return null;
    throw error;
  }
}

/** What is told of the keys in a batch. */
export interface KeyVisit {
  readonly aborted: AbortedTransactions;
  readonly onKey: (key: Uint8Array, offset: number) => void;
  /** Null for none: see CompactionPolicy. */
  readonly remembered: RememberedRecords | null;
}

/** Records that nobody must take away yet. */
export interface RememberedRecords {
  readonly header: Uint8Array;
  /** Those with a time from here to `until` count; a time beyond is no time. */
  readonly since: number;
  readonly until: number;
}

/**
 * Calls back for each record with a key that counts for which is the newest, unless the batch has a remembered one:
 * then nothing is called, and the time of the newest of those is returned. Null otherwise.
 */
export function visitKeys(bytes: Uint8Array, at: number, visit: KeyVisit): number | null {
  const header = readHeader(bytes, at);
  if ((header.attributes & CONTROL_BIT) !== 0 || visit.aborted.holds(header)) return null;
  const outline = outlineOrNull(bytes, at);
  if (outline === null) return null;
  const { remembered } = visit;
  const newest = remembered === null || header.producerId >= 0
    ? null
    : newestRemembered(outline, remembered);
  if (newest !== null) return newest;
  for (const { key, offset } of outline.records) if (key !== null) visit.onKey(key, offset);
  return null;
}

function newestRemembered(outline: BatchOutline, remembered: RememberedRecords): number | null {
  const { header, since, until } = remembered;
  const { buffer, byteOffset, length } = outline.bytes;
  // Most batches do not have the name anywhere.
  if (!Buffer.from(buffer, byteOffset, length).includes(Buffer.from(header))) return null;
  let newest: number | null = null;
  for (const record of outline.records) {
    const { timestamp } = record;
    if (timestamp < since || timestamp > until || timestamp < (newest ?? 0)) continue;
    if (hasHeader(outline, record, header)) newest = timestamp;
  }
  return newest;
}

/** Finds the aborted transaction that a batch is part of. */
export class AbortedTransactions {
  readonly #byProducer = new Map<number, AbortedTransaction[]>();

  constructor(all: readonly AbortedTransaction[]) {
    for (const each of all) {
      const known = this.#byProducer.get(each.producerId);
      if (known === undefined) this.#byProducer.set(each.producerId, [each]);
      else known.push(each);
    }
  }

  holds({ producerId, baseOffset, attributes }: BatchHeader): boolean {
    if ((attributes & TRANSACTIONAL_BIT) === 0) return false;
    return this.#byProducer.get(producerId)?.some(({ firstOffset, lastOffset }) =>
      firstOffset <= baseOffset && baseOffset <= lastOffset
    ) ?? false;
  }
}
