// Owns appends with message keys to a whole broker in memory, and what is stored of them.
// Refuses to own what keys are to do. Invariant: a broker that is killed writes nothing down.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import type { AppendReceipt } from "../../actors/broker.ts";
import type { LocalBroker } from "../../actors/local_broker.ts";
import { IDEMPOTENCY_KEY_HEADER, knownMessagesOf } from "../../actors/message_keys/types.ts";
import { decodeBatch } from "../../storage/format/decode.ts";
import { encodeBatch } from "../../storage/format/encode.ts";
import { batchSpans } from "../../storage/format/record_batch.ts";
import { MemoryLogStore } from "../../storage/memory/memory_log.ts";
import { FaultyLogStore } from "./faulty_logs.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./memory_broker.ts";
import { VirtualClock } from "./virtual_time.ts";

export const HOUR_MS = 3_600_000;

const MAX_DECOMPRESSED_BYTES = 1_048_576;

export function batchOf(
  keys: readonly (string | null)[],
  extra: [string, string][] = [],
): Uint8Array {
  const records = keys.map((key) => ({
    key: null,
    value: `of ${key}`,
    headers: key === null ? extra : [[IDEMPOTENCY_KEY_HEADER, key] as const, ...extra],
    timestamp: 0,
  }));
  return encodeBatch(records, { crc32c });
}

export function append(
  broker: LocalBroker,
  keys: readonly (string | null)[],
  partition = 0,
): Promise<AppendReceipt> {
  const options = { acks: "all" as const, idempotencyKeys: [keys] };
  return broker.append({ topic: "orders", partition }, [batchOf(keys)], options);
}

/** The messages that were there already; fails when all were new. */
export async function knownOf(appended: Promise<AppendReceipt>) {
  const error = await appended.then(() => null, (error: unknown) => error);
  const known = knownMessagesOf(error);
  assert.ok(known !== null, `not refused as known: ${error}`);
  return known.map(({ record, partition, offset }) => [record, partition, offset]);
}

/** Keys in a partition, in the order of their messages. */
export async function stored(broker: LocalBroker, partition = 0): Promise<(string | null)[]> {
  const { batches } = await broker.fetch({ topic: "orders", partition }, 0, { maxBytes: 1e9 });
  const text = new TextDecoder();
  return [...batchSpans(batches)].flatMap(({ at }) =>
    decodeBatch(batches, at, { maxDecompressedBytes: MAX_DECOMPRESSED_BYTES })
      .map(({ headers }) => {
        const key = headers.find(([name]) => name === IDEMPOTENCY_KEY_HEADER)?.[1];
        return key === undefined || key === null ? null : text.decode(key);
      })
  );
}

export async function opened(options: { time?: VirtualClock; partitions?: number } = {}) {
  const time = options.time ?? new VirtualClock();
  const logs = new FaultyLogStore(new MemoryLogStore(time));
  const stores = memoryBrokerStores({ time, logs });
  const broker = await stores.open();
  const { partitions = 1 } = options;
  await broker.createTopic({ name: "orders", partitions, config: TOPIC_CONFIG });
  return { ...stores, logs, time, broker };
}

/** Ends a broker that does not get to write anything down any more. */
export async function kill(
  broker: LocalBroker,
  { snapshots }: Pick<ReturnType<typeof memoryBrokerStores>, "snapshots">,
): Promise<void> {
  const { save } = snapshots;
  snapshots.save = () => Promise.resolve();
  await broker.close().catch(() => undefined);
  snapshots.save = save;
}
