// Owns which messages may be nacked: those that a committed read gives, or gave before compaction or retention took them.
// Refuses to own what a nack does (the group's actor), and what members hold (their sessions).
// Invariant: what no reader was shown is refused; what cannot be looked up right now is not held against it.
import type { Broker, FetchResult, TopicPartition } from "../actors/broker.ts";
import { isVisible } from "../actors/partition/visible_batches.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { batchSpans, readHeader } from "../storage/format/record_batch.ts";

/** A fetch answers one batch at least. */
const ONE_BATCH_BYTES = 1;

/**
 * Where reading of the partition ends, for a nack of the message at `offset`. Throws OFFSET_OUT_OF_RANGE for an offset
 * before the log's start, or that readers are not shown: of an open or aborted transaction, or the end of one.
 */
export async function endForNack(
  broker: Pick<Broker, "partitionInfo" | "fetch">,
  at: TopicPartition & { readonly offset: number },
): Promise<number> {
  const { highWatermark, logStartOffset, lastStableOffset } = await broker.partitionInfo(at);
  if (at.offset < logStartOffset) {
    throw refused(at, `is before its start ${logStartOffset}`, { logStartOffset, highWatermark });
  }
  const end = Math.min(highWatermark, lastStableOffset);
  if (at.offset >= highWatermark) return end;
  if (at.offset >= end) {
    throw refused(at, `is not to be read before the transaction that is open at ${end} ends`, {
      lastStableOffset,
    });
  }
  if (await isHidden(broker, at)) {
    throw refused(at, "is no message: readers pass over an aborted transaction, and its end", {});
  }
  return end;
}

async function isHidden(
  broker: Pick<Broker, "fetch">,
  at: TopicPartition & { readonly offset: number },
): Promise<boolean> {
  let fetched: FetchResult;
  try {
    const isolation = "read_committed" as const;
    fetched = await broker.fetch(at, at.offset, { maxBytes: ONE_BATCH_BYTES, isolation });
  } catch (error) {
    // A damaged log or an archive that is away must not keep a member from saying that it failed.
    if (error instanceof BrokerError) return false;
    throw error;
  }
  for (const { at: start } of batchSpans(fetched.batches)) {
    const header = readHeader(fetched.batches, start);
    if (header.baseOffset + header.lastOffsetDelta < at.offset) continue;
    return header.baseOffset <= at.offset && !isVisible(header, fetched);
  }
  return false;
}

function refused(
  { topic, partition, offset }: TopicPartition & { readonly offset: number },
  why: string,
  details: Record<string, number>,
): BrokerError {
  return new BrokerError(
    "OFFSET_OUT_OF_RANGE",
    `offset ${offset} of partition ${partition} of ${topic} ${why}`,
    { topic, partition, offset, ...details },
  );
}
