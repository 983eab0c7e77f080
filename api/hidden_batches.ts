// Owns which stored batches no reader is shown: control batches, and those of aborted transactions.
// Refuses to own where aborted transactions are (the partition says) and how far a reader may read.
// Invariant: what is hidden is hidden by its header alone; a batch is hidden as a whole or not at all.
import type { AbortedRange } from "../actors/broker.ts";
import {
  attributesAt,
  type BatchHeader,
  batchSpans,
  CONTROL_BIT,
  readHeader,
  TRANSACTIONAL_BIT,
} from "../storage/format/record_batch.ts";

export const NOTHING_ABORTED: readonly AbortedRange[] = Object.freeze([]);

/** Whether readers are to pass over the batch. `aborted` are the ranges that came with it. */
export function isHidden(
  { attributes, producerId, baseOffset }: BatchHeader,
  aborted: readonly AbortedRange[] = NOTHING_ABORTED,
): boolean {
  if ((attributes & CONTROL_BIT) !== 0) return true;
  if (aborted.length === 0 || (attributes & TRANSACTIONAL_BIT) === 0) return false;
  return aborted.some((range) =>
    range.producerId === producerId && range.firstOffset <= baseOffset &&
    baseOffset <= range.lastOffset
  );
}

/** Concatenated batches without those that are hidden: the same bytes when none is. Throws CORRUPT_BATCH. */
export function visibleBatches(
  batches: Uint8Array,
  aborted: readonly AbortedRange[] = NOTHING_ABORTED,
): Uint8Array {
  // Most batches are told apart by two bytes: this is on every reader's way.
  const suspects = aborted.length === 0 ? CONTROL_BIT : CONTROL_BIT | TRANSACTIONAL_BIT;
  const kept: { from: number; to: number }[] = [];
  let keptBytes = 0;
  for (const { at, sizeBytes } of batchSpans(batches)) {
    if (
      (attributesAt(batches, at) & suspects) !== 0 && isHidden(readHeader(batches, at), aborted)
    ) {
      continue;
    }
    const last = kept.at(-1);
    if (last?.to === at) last.to += sizeBytes;
    else kept.push({ from: at, to: at + sizeBytes });
    keptBytes += sizeBytes;
  }
  if (keptBytes === batches.length) return batches;
  const visible = new Uint8Array(keptBytes);
  let into = 0;
  for (const { from, to } of kept) {
    visible.set(batches.subarray(from, to), into);
    into += to - from;
  }
  return visible;
}
