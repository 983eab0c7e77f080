// Owns an append of a request of which an earlier attempt came to no answer: what is in the log already is left alone.
// Refuses to own who may attempt it (request_keys.ts) and how its batches are known (marked_batches.ts).
// Invariant: what an earlier attempt has appended is in the log, and nowhere else.
import type { AppendReceipt } from "../broker.ts";
import { findMarked } from "./marked_batches.ts";
import type { RequestPartition } from "./request_partition.ts";

/** Appends those of the marked `batches` that are not there; the receipt tells the others as duplicates. */
export async function appendMissing(
  { partition, durability }: {
    partition: RequestPartition;
    /** Of the topic. */
    durability: AppendReceipt["durability"];
  },
  mark: number,
  { fromOffset, batches }: { fromOffset: number; batches: readonly Uint8Array[] },
): Promise<AppendReceipt> {
  await partition.settle?.();
  const found = await findMarked(partition, mark, { fromOffset, batches });
  const missing = batches.filter((_, index) => found[index] === null);
  const duplicates = found.map((offset) => offset !== null);
  if (missing.length === 0) {
    const { highWatermark, isr } = await partition.info();
    const baseOffsets = found as number[];
    return { baseOffsets, duplicates, highWatermark, durability, inSyncReplicas: isr.length };
  }
  const receipt = await partition.append(missing, { acks: "all" });
  let next = 0;
  const baseOffsets = found.map((offset) => offset ?? receipt.baseOffsets[next++]!);
  return { ...receipt, baseOffsets, duplicates };
}
