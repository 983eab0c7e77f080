// Owns appending batches some of whose records have idempotency keys: what the topic has already is left out of them.
// Refuses to own which keys are known (the broker) and what the answer looks like (the routes).
// Invariant: every record ends up in the log once, or is told where it was before, or nothing is known of it and the error says why.
import type { AppendReceipt, Broker, TopicPartition } from "../actors/broker.ts";
import { knownMessagesOf } from "../actors/message_keys/types.ts";
import { asBrokerError, type BrokerError } from "../storage/broker_error.ts";
import { compressionOf } from "../storage/format/compression.ts";
import { decodeBatch } from "../storage/format/decode.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { CODEC_MASK, readHeader } from "../storage/format/record_batch.ts";
import type { Crc32c } from "../storage/ports.ts";

/** A batch, and what is known of its records, in their order. */
export interface KeyedBatch {
  readonly bytes: Uint8Array;
  /** Number of each record among all that are appended together. */
  readonly numbers: readonly number[];
  /** Key of each record, null where it has none. */
  readonly keys: readonly (string | null)[];
}

/** Where a record is, and whether it was there before. */
export interface Placed {
  readonly partition: number;
  readonly offset: number;
  readonly duplicate: boolean;
}

export interface KeyedOutcome {
  /** By number of the record; none for those that `error` is about. */
  readonly placed: ReadonlyMap<number, Placed>;
  /** Of the last append; what it would have said when there was nothing left to append; none with an error. */
  readonly receipt?: AppendReceipt;
  /** Why the records that are not placed are not stored. */
  readonly error?: unknown;
}

export interface KeyedAppendPorts {
  readonly broker: Broker;
  readonly crc32c: Crc32c;
  readonly limits: { readonly maxDecompressedBytes: number };
}

/**
 * Appends what the topic does not have yet. Of records with one key the first counts; the others are not placed. Resolves
 * when everything is durable, also where that was not asked for: else a key would be known whose message may still be lost.
 */
export async function appendKeyed(
  ports: KeyedAppendPorts,
  at: TopicPartition,
  batches: readonly KeyedBatch[],
): Promise<KeyedOutcome> {
  const placed = new Map<number, Placed>();
  let left = firstOfEach(ports, batches);
  // Ends: every round but the last finds at least one record that then is left out.
  while (left.length > 0) {
    try {
      const receipt = await ports.broker.append(at, left.map(({ bytes }) => bytes), {
        acks: "all",
        idempotencyKeys: left.map(({ keys }) => keys),
      });
      place(placed, left, { at, receipt });
      return { placed, receipt };
    } catch (error) {
      const known = knownMessagesOf(error);
      if (known === null) return { placed, error };
      const gone = left.map(() => new Set<number>());
      for (const { batch, record, partition, offset } of known) {
        gone[batch]!.add(record);
        placed.set(left[batch]!.numbers[record]!, { partition, offset, duplicate: true });
      }
      left = left.flatMap((batch, index) => without(ports, batch, gone[index]!));
    }
  }
  return { placed, receipt: await receiptOfNothing(ports.broker, at) };
}

/** A fault of the broker's own is told to `onError`; the caller learns no more than that there was one. */
export function refusalOf(error: unknown, onError: (error: unknown) => void): BrokerError {
  const refusal = asBrokerError(error);
  if (refusal !== error) onError(error);
  return refusal;
}

function place(
  placed: Map<number, Placed>,
  batches: readonly KeyedBatch[],
  { at, receipt }: { at: TopicPartition; receipt: AppendReceipt },
): void {
  batches.forEach(({ numbers }, index) => {
    const base = receipt.baseOffsets[index]!;
    const duplicate = receipt.duplicates[index]!;
    numbers.forEach((number, record) => {
      placed.set(number, { partition: at.partition, offset: base + record, duplicate });
    });
  });
}

function firstOfEach(ports: KeyedAppendPorts, batches: readonly KeyedBatch[]): KeyedBatch[] {
  const seen = new Set<string>();
  return batches.flatMap((batch) => {
    const gone = new Set<number>();
    batch.keys.forEach((key, record) => {
      if (key === null) return;
      if (seen.has(key)) gone.add(record);
      seen.add(key);
    });
    return without(ports, batch, gone);
  });
}

/** The batch without some of its records; none at all when nothing is left of it. */
function without(
  { crc32c, limits }: KeyedAppendPorts,
  batch: KeyedBatch,
  gone: ReadonlySet<number>,
): KeyedBatch[] {
  if (gone.size === 0) return [batch];
  const stays = (_: unknown, record: number) => !gone.has(record);
  const numbers = batch.numbers.filter(stays);
  if (numbers.length === 0) return [];
  const { attributes } = readHeader(batch.bytes, 0);
  const compression = compressionOf(attributes & CODEC_MASK);
  const records = decodeBatch(batch.bytes, 0, limits).filter(stays);
  const bytes = encodeBatch(records, { crc32c, compression });
  return [{ bytes, numbers, keys: batch.keys.filter(stays) }];
}

/** What is true of messages that were appended before. */
async function receiptOfNothing(broker: Broker, at: TopicPartition): Promise<AppendReceipt> {
  const { highWatermark, isr } = await broker.partitionInfo(at);
  const durability = broker.topic(at.topic)?.config.durability ?? "fsync";
  return { baseOffsets: [], duplicates: [], highWatermark, durability, inSyncReplicas: isr.length };
}
