// Owns naming the key that makes a partition hot: by looking into what was appended last, now and then.
// Refuses to own which partitions are hot (the thresholds).
// Invariant: publishing pays nothing for it; of encrypted topics no key is named, since names end up in logs and alerts.
import type { Broker, TopicPartition } from "../../actors/broker.ts";
import type { PartitionSample } from "../../actors/measurement/types.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import { decodeBatch } from "../../storage/format/decode.ts";
import { batchSpans } from "../../storage/format/record_batch.ts";
import type { Clock } from "../../storage/ports.ts";

/** Between two looks. */
const EVERY_MS = 5_000;
/** Partitions looked into, and the share of all bytes that makes one worth it. */
const MAX_LOOKED_AT = 3;
const MIN_SHARE = 0.3;
/** What is looked at: the last messages, within these bytes. */
const LAST_MESSAGES = 2_000;
const LOOK_BYTES = 262_144;
/** A key is named when it has this share of the bytes that were looked at. */
const MIN_KEY_SHARE = 0.3;
const MAX_KEY_CHARS = 200;

const decoder = new TextDecoder();

export interface HotKeysOptions {
  readonly broker: Pick<Broker, "topic" | "partitionInfo" | "fetch">;
  readonly clock: Pick<Clock, "monotonic">;
  readonly maxDecompressedBytes: number;
}

export class HotKeys {
  #keys = new Map<string, string>();
  #lookedAtMs = -Infinity;

  constructor(private readonly options: HotKeysOptions) {}

  /** `busiest` with the keys that are known. */
  named(busiest: readonly PartitionSample[]): readonly PartitionSample[] {
    if (this.#keys.size === 0) return busiest;
    return busiest.map((one) => {
      const hotKey = this.#keys.get(nameOf(one));
      return hotKey === undefined ? one : { ...one, hotKey };
    });
  }

  /** Looks into the hottest of `busiest`, if it is time. */
  async look(busiest: readonly PartitionSample[]): Promise<void> {
    const nowMs = this.options.clock.monotonic();
    if (nowMs - this.#lookedAtMs < EVERY_MS) return;
    this.#lookedAtMs = nowMs;
    const keys = new Map<string, string>();
    for (const at of busiest.slice(0, MAX_LOOKED_AT)) {
      if (at.share < MIN_SHARE) break;
      const key = await this.#hottestOf(at);
      if (key !== null) keys.set(nameOf(at), key);
    }
    this.#keys = keys;
  }

  async #hottestOf(at: TopicPartition): Promise<string | null> {
    const { broker, maxDecompressedBytes } = this.options;
    const encryption = broker.topic(at.topic)?.config.encryption ?? "none";
    if (encryption !== "none") return null;
    try {
      const { logStartOffset, highWatermark } = await broker.partitionInfo(at);
      const from = Math.max(logStartOffset, highWatermark - LAST_MESSAGES);
      const { batches } = await broker.fetch(at, from, { maxBytes: LOOK_BYTES });
      return hottestIn(batches, maxDecompressedBytes);
    } catch (error) {
      if (error instanceof BrokerError) return null;
      throw error;
    }
  }
}

function nameOf({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`;
}

/** The key with the most bytes of whole batches, if it has many of them. */
export function hottestIn(batches: Uint8Array, maxDecompressedBytes: number): string | null {
  const bytesByKey = new Map<string, number>();
  let total = 0;
  for (const { at } of batchSpans(batches)) {
    for (const { key, value } of decodeBatch(batches, at, { maxDecompressedBytes })) {
      const bytes = (key?.length ?? 0) + (value?.length ?? 0);
      total += bytes;
      if (key === null) continue;
      const name = decoder.decode(key).slice(0, MAX_KEY_CHARS);
      bytesByKey.set(name, (bytesByKey.get(name) ?? 0) + bytes);
    }
  }
  let hottest: string | null = null;
  let most = total * MIN_KEY_SHARE;
  for (const [name, bytes] of bytesByKey) {
    if (bytes < most || bytes === 0) continue;
    most = bytes;
    hottest = name;
  }
  return hottest;
}
