// Owns finding the keys that stored record batches carry.
// Refuses to own what is done with them (topic_keys.ts).
// Invariant: what is found in the log is what an append with these keys had put into it. Copies made by jobs carry a key in
// topics other than their original's; else batches of producers (transactions, markers) are deduplicated by their sequence
// alone.
import { Buffer } from "node:buffer";
import { decodeBatch, type DecodedRecord } from "../../storage/format/decode.ts";
import { batchSpans, CODEC_MASK, readHeader } from "../../storage/format/record_batch.ts";
import { isUtf8 } from "../../storage/format/utf8.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import type { FetchOptions, FetchResult } from "../broker.ts";
import type { OffsetRange } from "../partition/types.ts";
import { IDEMPOTENCY_KEY_HEADER, ORIGIN_TOPIC_HEADER, REPLAYED_HEADER } from "./types.ts";

const MAX_READ_BYTES = 1_048_576;
const NO_PRODUCER = -1;
const MAX_DECOMPRESSED_BYTES = 64 * 1_048_576;

/** A key found in the log. */
export interface FoundKey {
  readonly key: Uint8Array;
  readonly offset: number;
  /** What its producer says, ms. */
  readonly timestamp: number;
}

/** What is looked through: a partition of `topic`, from an offset on. */
export interface ScanRange {
  readonly topic: string;
  fetch(offset: number, options: FetchOptions): Promise<FetchResult>;
  readonly readable: OffsetRange;
  readonly fromOffset: number;
}

/**
 * Calls `onKey` for each key in the range up to the end of what can be read; resolves to that. Rejects with
 * LEADER_NOT_AVAILABLE while a leader that has just been elected does not know how far that is.
 */
export async function scanKeys(
  { topic, fetch, readable: { startOffset, endOffset }, fromOffset }: ScanRange,
  onKey: (found: FoundKey) => void,
): Promise<number> {
  let next = Math.max(fromOffset, startOffset);
  while (next < endOffset) {
    const { batches, logStartOffset, highWatermark } = await fetch(next, {
      maxBytes: MAX_READ_BYTES,
      isolation: "read_uncommitted",
    });
    if (batches.length === 0) {
      if (highWatermark <= next) throw notReadable(topic, next);
      // Retention may have gone by; else there is nothing more.
      if (logStartOffset <= next) break;
      next = logStartOffset;
      continue;
    }
    next = Math.max(next + 1, keysOf(batches, { topic, fromOffset: next }, onKey));
  }
  return next;
}

function notReadable(topic: string, offset: number): BrokerError {
  return new BrokerError("LEADER_NOT_AVAILABLE", `${topic} cannot be read at ${offset} yet`);
}

/** Keys of concatenated `batches` at or above `fromOffset`; returns the offset after the last batch. */
function keysOf(
  batches: Uint8Array,
  { topic, fromOffset }: Pick<ScanRange, "topic" | "fromOffset">,
  onKey: (found: FoundKey) => void,
): number {
  let next = fromOffset;
  for (const { at, sizeBytes } of batchSpans(batches)) {
    const { attributes, baseOffset, lastOffsetDelta, producerId } = readHeader(batches, at);
    next = baseOffset + lastOffsetDelta + 1;
    const batch = batches.subarray(at, at + sizeBytes);
    const isOfProducer = producerId !== NO_PRODUCER;
    if (isOfProducer ? !mayHoldCopies(batch, attributes) : !mayHoldKeys(batch, attributes)) {
      continue;
    }
    for (
      const record of decodeBatch(batches, at, { maxDecompressedBytes: MAX_DECOMPRESSED_BYTES })
    ) {
      if (record.offset < fromOffset) continue;
      const key = isOfProducer ? copiedKeyOf(record, topic) : keyOf(record);
      if (key !== null) onKey({ key, offset: record.offset, timestamp: record.timestamp });
    }
  }
  return next;
}

/** To look for the header's name in plain bytes costs a fraction of decoding them. */
function mayHoldKeys(batch: Uint8Array, attributes: number): boolean {
  if (attributes & CODEC_MASK) return true;
  return holds(batch, IDEMPOTENCY_KEY_HEADER);
}

/** Jobs do not compress. */
function mayHoldCopies(batch: Uint8Array, attributes: number): boolean {
  if (attributes & CODEC_MASK) return false;
  return holds(batch, IDEMPOTENCY_KEY_HEADER) && holds(batch, REPLAYED_HEADER);
}

function holds(batch: Uint8Array, name: string): boolean {
  const bytes = Buffer.from(batch.buffer, batch.byteOffset, batch.byteLength);
  return bytes.includes(name, 0, "latin1");
}

type Headers = Pick<DecodedRecord, "headers">;

/** The key that `record` carries, unless a job has put the record here. */
export function keyOf(record: Headers): Uint8Array | null {
  return record.headers.some(([name]) => name === REPLAYED_HEADER) ? null : namedKeyOf(record);
}

/** The key with which a record that a job has put into `topic` counts there: none where its original is of that topic. */
function copiedKeyOf(record: Headers, topic: string): Uint8Array | null {
  if (!record.headers.some(([name]) => name === REPLAYED_HEADER)) return null;
  const origin = record.headers.find(([name]) => name === ORIGIN_TOPIC_HEADER)?.[1] ?? null;
  const isFromElsewhere = origin !== null && Buffer.from(origin).toString("latin1") !== topic;
  return isFromElsewhere ? namedKeyOf(record) : null;
}

/** The first header of that name that is text, whoever wrote the record. */
export function namedKeyOf(record: Headers): Uint8Array | null {
  let key: Uint8Array | null = null;
  for (const [name, value] of record.headers) {
    if (name !== IDEMPOTENCY_KEY_HEADER || key !== null || value === null) continue;
    if (value.length > 0 && isUtf8(value, 0, value.length)) key = value;
  }
  return key;
}
