// Owns finding batches in the bytes of one archived object, by offset and by time.
// Refuses to own getting and checking the bytes (archived_objects.ts).
// Invariant: what is returned is whole batches, as `Log.read` has them.
import {
  baseOffsetAt,
  batchSpans,
  lastOffsetDeltaAt,
  maxTimestampAt,
  recordCountAt,
} from "../format/record_batch.ts";

/** A view is copied when a slow reader would keep an object alive with it that is this many times as large. */
const MAX_PINNED_FACTOR = 4;

const NOTHING = new Uint8Array(0);

/** Whole batches of an object from the one that holds `offset` on: see Log.read. */
export function batchesFrom(
  bytes: Uint8Array,
  offset: number,
  limits: { limitOffset: number; maxBytes: number },
): Uint8Array {
  let start = -1;
  let end = 0;
  for (const { at, sizeBytes } of batchSpans(bytes)) {
    const endOffset = baseOffsetAt(bytes, at) + lastOffsetDeltaAt(bytes, at) + 1;
    if (endOffset <= offset) continue;
    if (endOffset > limits.limitOffset) break;
    if (start >= 0 && at + sizeBytes - start > limits.maxBytes) break;
    if (start < 0) start = at;
    end = at + sizeBytes;
  }
  if (start < 0) return NOTHING;
  const pinsTooMuch = bytes.length > (end - start) * MAX_PINNED_FACTOR;
  return pinsTooMuch ? bytes.slice(start, end) : bytes.subarray(start, end);
}

/** The first batch with a record from `timestampMs` on; null when none has. */
export function batchOfTime(bytes: Uint8Array, timestampMs: number): Uint8Array | null {
  for (const { at, sizeBytes } of batchSpans(bytes)) {
    if (maxTimestampAt(bytes, at) < timestampMs || recordCountAt(bytes, at) === 0) continue;
    return bytes.subarray(at, at + sizeBytes);
  }
  return null;
}
