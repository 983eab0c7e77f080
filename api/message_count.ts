// Owns counting the messages that readers are shown between two offsets of a partition.
// Refuses to own which offsets those are (what a group moves over, or has yet to read).
// Invariant: exact within the byte budget; what lies beyond it, or cannot be read, counts as one message an offset.
import type { Broker, FetchResult, TopicPartition } from "../actors/broker.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { decodeBatch } from "../storage/format/decode.ts";
import { type BatchHeader, batchSpans, readHeader } from "../storage/format/record_batch.ts";
import { isHidden } from "./hidden_batches.ts";

const FETCH_BYTES = 1_048_576;

/** Bytes of log that one request may still read to count. */
export interface CountBudget {
  bytesLeft: number;
}

export interface CountOptions {
  /** Offsets, `to` exclusive. */
  readonly from: number;
  readonly to: number;
  readonly budget: CountBudget;
  /** Whether messages of transactions that have not ended count, as if they were committed. */
  readonly withOpen: boolean;
  readonly maxDecompressedBytes: number;
}

/**
 * Messages from `from` to `to`: neither control batches nor aborted transactions, nor what compaction has taken.
 */
export async function countMessages(
  broker: Broker,
  { topic, partition }: TopicPartition,
  options: CountOptions,
): Promise<number> {
  const { budget, withOpen } = options;
  let { to } = options;
  let next = options.from;
  let count = 0;
  while (next < to && budget.bytesLeft > 0) {
    const maxBytes = Math.min(FETCH_BYTES, budget.bytesLeft);
    const found = await fetched(broker, { topic, partition }, { offset: next, maxBytes });
    if (found === null) break;
    if (!withOpen) to = Math.min(to, found.lastStableOffset);
    if (found.batches.length === 0) break;
    budget.bytesLeft -= found.batches.length;
    for (const { at } of batchSpans(found.batches)) {
      const header = readHeader(found.batches, at);
      const end = header.baseOffset + header.lastOffsetDelta + 1;
      const range = { from: Math.max(next, header.baseOffset), to: Math.min(to, end) };
      if (range.from >= range.to) continue;
      if (!isHidden(header, found.aborted)) {
        count += inBatch(header, range, () => decodeBatch(found.batches, at, options));
      }
      next = Math.min(end, to);
    }
  }
  return count + Math.max(0, to - next);
}

function inBatch(
  header: BatchHeader,
  { from, to }: { from: number; to: number },
  records: () => readonly { readonly offset: number }[],
): number {
  const { baseOffset, lastOffsetDelta } = header;
  if (from <= baseOffset && to > baseOffset + lastOffsetDelta) return header.recordCount;
  // Nothing was taken out of it: no need to look inside.
  if (header.recordCount === header.lastOffsetDelta + 1) return to - from;
  return records().filter(({ offset }) => offset >= from && offset < to).length;
}

async function fetched(
  broker: Broker,
  at: TopicPartition,
  { offset, maxBytes }: { offset: number; maxBytes: number },
): Promise<FetchResult | null> {
  try {
    return await broker.fetch(at, offset, { maxBytes, isolation: "read_committed" });
  } catch (error) {
    if (error instanceof BrokerError) return null;
    throw error;
  }
}
