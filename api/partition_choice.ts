// Owns choosing the partition of each published message: its own word, the request's, its key, its idempotency key, chance.
// Refuses to own what is done with it.
// Invariant: one key, one partition, as in every client that speaks of partitions the way Kafka's do.
import type { Topic } from "../actors/broker.ts";
import { partitionForKey } from "../storage/format/murmur2.ts";
import { idempotencyKeyOf, type IncomingMessage } from "./incoming_message.ts";
import { refuseUnknownPartition } from "./topic_lookup.ts";

/** Chooses for the messages of one request. */
export class PartitionChooser {
  /** `chance` in [0, 1) picks the partition of all messages that have neither partition nor key. */
  constructor(
    readonly topic: Topic,
    readonly partition: number | undefined,
    readonly chance: number,
  ) {}

  choose(
    message: Pick<IncomingMessage, "partition" | "key" | "idempotencyKey" | "headers">,
    index: number,
  ): number {
    if (message.partition !== undefined) {
      refuseUnknownPartition(this.topic, message.partition, `messages[${index}].partition`);
      return message.partition;
    }
    if (this.partition !== undefined) return this.partition;
    const { partitionCount } = this.topic;
    if (partitionCount === 1) return 0;
    // Repeats then come to the partition that knows of the first.
    const key = message.key ?? idempotencyKeyOf(message);
    if (key === null) return Math.floor(this.chance * partitionCount);
    return partitionForKey(keyBytes(key), partitionCount);
  }
}

const encoder = new TextEncoder();
/** Keys up to this length are written here by a loop, which a call into the engine costs more than. */
const shortKey = new Uint8Array(64);

/** UTF-8 of `key`, good until the next call. */
function keyBytes(key: string): Uint8Array {
  if (key.length > shortKey.length) return encoder.encode(key);
  for (let at = 0; at < key.length; at++) {
    const unit = key.charCodeAt(at);
    if (unit > 0x7f) return encoder.encode(key);
    shortKey[at] = unit;
  }
  return shortKey.subarray(0, key.length);
}
