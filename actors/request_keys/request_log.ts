// Owns the records of requests in `__requests`: an intent and, later, a response, each found by its key.
// Refuses to own what they mean (request_keys.ts).
// Invariant: the first record with a key is the only one (topic_keys.ts); bodies stay in the log, memory holds where they are.
import { BrokerError } from "../../storage/broker_error.ts";
import { decodeBatch } from "../../storage/format/decode.ts";
import { encodeBatch } from "../../storage/format/encode.ts";
import { partitionForKey } from "../../storage/format/murmur2.ts";
import { batchSpans } from "../../storage/format/record_batch.ts";
import type { Crc32c } from "../../storage/ports.ts";
import type { AppendReceipt, FetchOptions, FetchResult, TopicPartition } from "../broker.ts";
import type { KeyPlace } from "../message_keys/key_table.ts";
import { type BatchKeys, IDEMPOTENCY_KEY_HEADER, knownMessagesOf } from "../message_keys/types.ts";

const MAX_DECOMPRESSED_BYTES = 64 * 1_048_576;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

export interface RequestLogPorts {
  readonly topic: string;
  readonly crc32c: Crc32c;
  now(): number;
  /** Of the topic. */
  partitionCount(): number;
  fetch(partition: number, offset: number, options: FetchOptions): Promise<FetchResult>;
  append(
    at: TopicPartition,
    batches: readonly Uint8Array[],
    keys: BatchKeys,
  ): Promise<AppendReceipt>;
  find(key: string): Promise<KeyPlace | null>;
}

export class RequestLog {
  constructor(private readonly ports: RequestLogPorts) {}

  /** Appends `body` under `key`, unless there is one already; resolves to where that one or the new one is. */
  async put(key: string, body: unknown): Promise<{ place: KeyPlace; isNew: boolean }> {
    const { topic, crc32c, now, partitionCount, append } = this.ports;
    const partition = partitionForKey(encoder.encode(key), partitionCount());
    const record = {
      key,
      value: JSON.stringify(body),
      headers: [[IDEMPOTENCY_KEY_HEADER, key] as const],
      timestamp: now(),
    };
    try {
      const batches = [encodeBatch([record], { crc32c })];
      const { baseOffsets: [offset] } = await append({ topic, partition }, batches, [[key]]);
      return { place: { partition, offset: offset! }, isNew: true };
    } catch (error) {
      const first = knownMessagesOf(error)?.[0];
      if (first === undefined) throw error;
      return { place: { partition: first.partition, offset: first.offset }, isNew: false };
    }
  }

  /** Where the record with `key` is, null when there is none. */
  find(key: string): Promise<KeyPlace | null> {
    return this.ports.find(key);
  }

  /** Of a leader that has just been elected. */
  #notYet(): BrokerError {
    const message = `${this.ports.topic} cannot be read to its end yet`;
    return new BrokerError("LEADER_NOT_AVAILABLE", message);
  }

  /** What was put there; null when retention has removed it. */
  async read({ partition, offset }: KeyPlace): Promise<unknown> {
    try {
      const { batches, highWatermark } = await this.ports.fetch(partition, offset, { maxBytes: 1 });
      if (highWatermark <= offset) throw this.#notYet();
      for (const { at } of batchSpans(batches)) {
        const records = decodeBatch(batches, at, { maxDecompressedBytes: MAX_DECOMPRESSED_BYTES });
        const value = records.find((record) => record.offset === offset)?.value;
        if (value) return JSON.parse(decoder.decode(value));
      }
    } catch (error) {
      if (!(error instanceof BrokerError && error.code === "OFFSET_OUT_OF_RANGE")) throw error;
    }
    return null;
  }
}
