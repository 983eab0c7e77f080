// Owns the check that batches continue the log they are appended to.
// Refuses to own trust in their contents: the partition has checked it, or made it.
// Invariant: batches that pass leave no gap in offsets and never lower the leader epoch.
import {
  baseOffsetAt,
  HEADER_BYTES,
  lastOffsetDeltaAt,
  leaderEpochAt,
  maxTimestampAt,
  sizeBytesAt,
} from "../format/record_batch.ts";

export interface AppendPlan {
  readonly sizeBytes: number;
  /** Log end offset after the append. */
  readonly endOffset: number;
}

/** More in one append breaks 32-bit positions in a segment. */
const MAX_APPEND_BYTES = 2 ** 31 - 1;

/** Throws a plain Error when `batches` do not continue a log that ends at `logEndOffset` in `leaderEpoch`. */
export function planAppend(
  batches: readonly Uint8Array[],
  log: { name: string; logEndOffset: number; leaderEpoch: number },
): AppendPlan {
  let sizeBytes = 0;
  let offset = log.logEndOffset;
  let { leaderEpoch } = log;
  for (const batch of batches) {
    const refuse = (why: string) => new Error(`append to log ${log.name} at ${offset}: ${why}`);
    if (batch.length < HEADER_BYTES || sizeBytesAt(batch, 0) !== batch.length) {
      throw refuse(`${batch.length} bytes are no whole batch`);
    }
    const baseOffset = baseOffsetAt(batch, 0);
    if (baseOffset !== offset) throw refuse(`the batch starts at ${baseOffset}`);
    const lastOffsetDelta = lastOffsetDeltaAt(batch, 0);
    if (lastOffsetDelta < 0) throw refuse(`the last offset delta is ${lastOffsetDelta}`);
    const epoch = leaderEpochAt(batch, 0);
    if (epoch < leaderEpoch) throw refuse(`leader epoch ${epoch} is below ${leaderEpoch}`);
    // Refuses times that no index could hold, before anything is written.
    maxTimestampAt(batch, 0);
    leaderEpoch = epoch;
    offset += lastOffsetDelta + 1;
    sizeBytes += batch.length;
  }
  if (!Number.isSafeInteger(offset)) throw new Error(`log ${log.name} is out of offsets`);
  if (sizeBytes > MAX_APPEND_BYTES) throw new Error(`one append of ${sizeBytes} bytes`);
  return { sizeBytes, endOffset: offset };
}
