// Owns dividing a publish among partitions: records by partition, batches of bounded size, results in input order.
// Refuses to own appending them and what the answer as a whole says.
// Invariant: every message is in one share, at the place that its result will have.
import type { AppendReceipt, Topic } from "../actors/broker.ts";
import type { BrokerError } from "../storage/broker_error.ts";
import { encodeBatch, type RecordInput } from "../storage/format/encode.ts";
import type { Clock, Crc32c, Randomness } from "../storage/ports.ts";
import { idempotencyKeyOf, type IncomingMessage, recordOf } from "./incoming_message.ts";
import type { KeyedBatch, Placed } from "./keyed_append.ts";
import type { ApiLimits } from "./limits.ts";
import { PartitionChooser } from "./partition_choice.ts";
import type { ProducerStamp } from "./producer_stamp.ts";
import { refuseUnknownPartition } from "./topic_lookup.ts";

/** Messages and UTF-16 units of values after which other requests get their turn. */
const SLICE_MESSAGES = 1_000;
const SLICE_UNITS = 1_048_576;
/** Sequence numbers of a producer count modulo this (KIP-98). */
const SEQUENCES = 0x8000_0000;

/** Where shares of messages with keys are kept apart: this minus the partition. */
const KEYED_SHARE = -1;

/** What goes to one partition. */
export interface Share {
  readonly partition: number;
  /** Until they are encoded. */
  readonly records: RecordInput[];
  /** Where its messages stand in the request. */
  readonly indexes: number[];
  batches: Uint8Array[];
  /** Index among `records` of the first of each batch. */
  starts: number[];
  /** Who sends it, when that is to be told with the batches. */
  producer?: ProducerStamp;
  /** Idempotency keys by index among `records`; undefined where no message has one. */
  keys?: Map<number, string>;
  /** Where messages are, by index among `records`; only of shares with keys. */
  placed?: ReadonlyMap<number, Placed>;
  receipt?: AppendReceipt;
  error?: BrokerError;
}

/** What dividing and encoding need. */
export interface SharePorts {
  readonly limits: ApiLimits;
  readonly clock: Clock;
  readonly randomness: Randomness;
  readonly crc32c: Crc32c;
  readonly yieldToEventLoop: () => Promise<void>;
}

/** What is to be divided. */
export interface Division {
  readonly messages: readonly IncomingMessage[];
  /** For messages that name none. */
  readonly partition: number | undefined;
  readonly topic: Topic;
  readonly traceparent: string | null;
  /** False: idempotency keys are stored as any header is, and nothing more. */
  readonly deduplicate: boolean;
  /**
   * In [0, 1), for messages without partition and key; undefined: a random one. Given with an Idempotency-Key: messages
   * with keys of their own then go into shares of their own, since each kind is found again in its own way.
   */
  readonly chance: number | undefined;
}

/** Lets other requests run once enough was done since the last time. */
class Turns {
  #messages = 0;
  #units = 0;

  constructor(readonly yieldToEventLoop: () => Promise<void>) {}

  /** True when it is time to await `take`. */
  due(record: RecordInput): boolean {
    this.#messages++;
    this.#units += record.value?.length ?? 0;
    return this.#messages >= SLICE_MESSAGES || this.#units >= SLICE_UNITS;
  }

  take(): Promise<void> {
    this.#messages = 0;
    this.#units = 0;
    return this.yieldToEventLoop();
  }
}

/** A publish by partition. */
export interface Divided {
  readonly shares: Share[];
  /** Messages that are in no share, since another before them has their idempotency key: their index, and that one's. */
  readonly repeats: readonly (readonly [number, number])[];
}

/** Checks every message and gives it to its partition. Throws INVALID_REQUEST, MESSAGE_TOO_LARGE, UNKNOWN_PARTITION. */
export async function shareOut(
  { clock, limits, randomness, yieldToEventLoop }: SharePorts,
  { messages, partition, topic, traceparent, deduplicate, chance }: Division,
): Promise<Divided> {
  const { maxMessageBytes } = topic.config;
  const context = { limits, maxMessageBytes, traceparent, timestamp: clock.now() };
  if (partition !== undefined) refuseUnknownPartition(topic, partition, "partition");
  const chooser = new PartitionChooser(topic, partition, chance ?? randomness.fraction());
  const isSplit = chance !== undefined;
  const shares = new Map<number, Share>();
  const keys = new Map<string, number>();
  const repeats: [number, number][] = [];
  const turns = new Turns(yieldToEventLoop);
  for (let index = 0; index < messages.length; index++) {
    const message = messages[index]!;
    const record = recordOf(message, index, context);
    const key = deduplicate ? idempotencyKeyOf(message) : null;
    if (key !== null) {
      const first = keys.get(key);
      if (first !== undefined) {
        repeats.push([index, first]);
        continue;
      }
      keys.set(key, index);
    }
    const target = chooser.choose(message, index);
    const name = isSplit && key !== null ? KEYED_SHARE - target : target;
    let share = shares.get(name);
    if (share === undefined) {
      share = { partition: target, records: [], indexes: [], batches: [], starts: [] };
      shares.set(name, share);
    }
    if (key !== null) (share.keys ??= new Map()).set(share.records.length, key);
    share.records.push(record);
    share.indexes.push(index);
    if (turns.due(record)) await turns.take();
  }
  return { shares: [...shares.values()], repeats };
}

/** The encoded batches of a share with what is known of their records. */
export function keyedBatches({ batches, starts, indexes, keys }: Share): KeyedBatch[] {
  return batches.map((bytes, batch) => {
    const start = starts[batch]!;
    const end = starts[batch + 1] ?? indexes.length;
    const numbers = Array.from({ length: end - start }, (_, record) => start + record);
    return { bytes, numbers, keys: numbers.map((number) => keys?.get(number) ?? null) };
  });
}

/** Encodes every share into batches of bounded size, and lets its records go. */
export async function encodeShares(
  ports: SharePorts,
  shares: readonly Share[],
): Promise<void> {
  const turns = new Turns(ports.yieldToEventLoop);
  for (const share of shares) {
    await encodeShare(ports, share, turns);
    share.records.length = 0;
  }
}

async function encodeShare(
  { limits, crc32c }: SharePorts,
  share: Share,
  turns: Turns,
): Promise<void> {
  const { records } = share;
  let start = 0;
  let units = 0;
  let due = false;
  for (let index = 0; index < records.length; index++) {
    const record = records[index]!;
    due = turns.due(record) || due;
    units += record.value?.length ?? 0;
    const end = index + 1;
    const full = units >= limits.batchTargetBytes || end - start >= limits.batchTargetMessages;
    if (!full && end < records.length) continue;
    const part = start === 0 && end === records.length ? records : records.slice(start, end);
    share.batches.push(encodeBatch(part, { crc32c, ...stampAt(share.producer, start) }));
    share.starts.push(start);
    start = end;
    units = 0;
    if (due) await turns.take();
    due = false;
  }
}

/** What a batch tells of its producer when it starts with message `start` of its share. */
function stampAt(producer: ProducerStamp | undefined, start: number) {
  if (producer === undefined) return undefined;
  const { producerId, producerEpoch, sequence, transactional = false } = producer;
  const baseSequence = (sequence + start) % SEQUENCES;
  return { producerId, producerEpoch, baseSequence, transactional };
}

/** What becomes of one message. */
export type Result =
  | { partition: number; offset: number; duplicate: boolean }
  | { partition: number; error: { code: string; detail: string; retryable: boolean } };

/** Puts the results of a share's messages where the messages stood. */
export function fillResults(results: Result[], share: Share): void {
  const { partition, indexes, starts, receipt, placed } = share;
  if (receipt === undefined) {
    const { code, message, retryable } = share.error!;
    const failure: Result = { partition, error: { code, detail: message, retryable } };
    indexes.forEach((index, record) => results[index] = placed?.get(record) ?? failure);
    return;
  }
  if (placed !== undefined) {
    indexes.forEach((index, record) => results[index] = placed.get(record)!);
    return;
  }
  for (let batch = 0; batch < starts.length; batch++) {
    const start = starts[batch]!;
    const end = starts[batch + 1] ?? indexes.length;
    const base = receipt.baseOffsets[batch]!;
    const duplicate = receipt.duplicates[batch]!;
    for (let record = start; record < end; record++) {
      results[indexes[record]!] = { partition, offset: base + record - start, duplicate };
    }
  }
}
