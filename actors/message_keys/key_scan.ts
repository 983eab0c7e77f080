// Owns finding the keys that stored record batches carry.
// Refuses to own what is done with them (topic_keys.ts).
// Invariant: what is found in the log is what an append with these keys had put into it. Copies made by jobs carry no key of
// their own, and batches of producers (transactions, markers) are deduplicated by their sequence alone.
import { Buffer } from "node:buffer";
import { decodeBatch, type DecodedRecord } from "../../storage/format/decode.ts";
import { batchSpans, CODEC_MASK, readHeader } from "../../storage/format/record_batch.ts";
import { isUtf8 } from "../../storage/format/utf8.ts";
import type { Partition } from "../partition/partition.ts";
import { IDEMPOTENCY_KEY_HEADER, REPLAYED_HEADER } from "./types.ts";

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

/** Calls `onKey` for each key in `partition` from `fromOffset` to what can be read now; resolves to where that ends. */
export async function scanKeys(
  partition: Pick<Partition, "fetch" | "readable">,
  fromOffset: number,
  onKey: (found: FoundKey) => void,
): Promise<number> {
  const { startOffset, endOffset } = partition.readable();
  let next = Math.max(fromOffset, startOffset);
  while (next < endOffset) {
    const { batches, logStartOffset } = await partition.fetch(next, {
      maxBytes: MAX_READ_BYTES,
      isolation: "read_uncommitted",
    });
    if (batches.length === 0) {
      // Retention may have gone by; else there is nothing more.
      if (logStartOffset <= next) break;
      next = logStartOffset;
      continue;
    }
    next = Math.max(next + 1, keysOf(batches, next, onKey));
  }
  return next;
}

/** Keys of concatenated `batches` at or above `fromOffset`; returns the offset after the last batch. */
function keysOf(
  batches: Uint8Array,
  fromOffset: number,
  onKey: (found: FoundKey) => void,
): number {
  let next = fromOffset;
  for (const { at, sizeBytes } of batchSpans(batches)) {
    const { attributes, baseOffset, lastOffsetDelta, producerId } = readHeader(batches, at);
    next = baseOffset + lastOffsetDelta + 1;
    if (producerId !== NO_PRODUCER) continue;
    if (!mayHoldKeys(batches.subarray(at, at + sizeBytes), attributes)) continue;
    for (
      const record of decodeBatch(batches, at, { maxDecompressedBytes: MAX_DECOMPRESSED_BYTES })
    ) {
      const key = record.offset < fromOffset ? null : keyOf(record);
      if (key !== null) onKey({ key, offset: record.offset, timestamp: record.timestamp });
    }
  }
  return next;
}

/** To look for the header's name in plain bytes costs a fraction of decoding them. */
function mayHoldKeys(batch: Uint8Array, attributes: number): boolean {
  if (attributes & CODEC_MASK) return true;
  const bytes = Buffer.from(batch.buffer, batch.byteOffset, batch.byteLength);
  return bytes.includes(IDEMPOTENCY_KEY_HEADER, 0, "latin1");
}

/** The key that `record` carries: the first header of that name that is text, unless a job has put the record here. */
export function keyOf(record: Pick<DecodedRecord, "headers">): Uint8Array | null {
  let key: Uint8Array | null = null;
  for (const [name, value] of record.headers) {
    if (name === REPLAYED_HEADER) return null;
    if (name !== IDEMPOTENCY_KEY_HEADER || key !== null || value === null) continue;
    if (value.length > 0 && isUtf8(value, 0, value.length)) key = value;
  }
  return key;
}
