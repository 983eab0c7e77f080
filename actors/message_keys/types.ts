// Owns the vocabulary of message keys: `idempotencyKey` of a message, unique in its topic for a time.
// Refuses to own any behaviour (topic_keys.ts) and where keys are looked up (key_table.ts).
// Invariant: a key is known by the record that carries it in the log; everything else here can be built again from there.
import { BrokerError } from "../../storage/broker_error.ts";

/** The record header that carries a message's key. Exactly this spelling: another case is another header. */
export const IDEMPOTENCY_KEY_HEADER = "idempotency-key";
/** The header of messages that a job appended again: in the topic of their original their key is that one's. */
export const REPLAYED_HEADER = "waybill-replay-job";
/** The header of such messages that names the topic of their original. */
export const ORIGIN_TOPIC_HEADER = "waybill-origin-topic";

/** Keys of an append by batch, then by record; null where there is none. */
export type BatchKeys = readonly (readonly (string | null)[] | null)[];

/** A record of an append whose key is known already, and where the first message with that key is. */
export interface KnownMessage {
  /** Index among the batches of the append. */
  readonly batch: number;
  /** Index among the records of that batch. */
  readonly record: number;
  readonly partition: number;
  readonly offset: number;
}

export interface MessageKeySettings {
  /** How long a key stays unique. */
  readonly windowMs: number;
  /** Keys kept for one topic, and for all topics together: the oldest are forgotten early beyond it. */
  readonly maxKeysPerTopic: number;
  readonly maxKeys: number;
  /** Time between two looks at what needs a snapshot. */
  readonly snapshotIntervalMs: number;
}

export const DEFAULT_MESSAGE_KEY_SETTINGS: MessageKeySettings = Object.freeze({
  windowMs: 24 * 3_600_000,
  maxKeysPerTopic: 1_000_000,
  maxKeys: 2_000_000,
  snapshotIntervalMs: 15_000,
});

/** What happened to message keys since the broker started, and how many there are. */
export interface MessageKeyCounts {
  readonly topics: number;
  readonly keys: number;
  /** Keys of appends under way, or of appends of which nobody knows yet what became of them. */
  readonly pending: number;
  /** Messages that were not appended because their key was known. */
  readonly duplicates: number;
  readonly expired: number;
  /** Forgotten before their time, because there were too many. */
  readonly evicted: number;
  /** Found in the log again after a start or a failed append. */
  readonly recovered: number;
}

/** Nothing of the append was kept, because these messages are there already: leave them out and append the rest. */
export function duplicateMessages(topic: string, known: readonly KnownMessage[]): BrokerError {
  return new BrokerError(
    "DUPLICATE_MESSAGES",
    `${known.length} messages have an idempotency key that ${topic} has already`,
    { known },
  );
}

/** The messages that `error` names, null for any other error. */
export function knownMessagesOf(error: unknown): readonly KnownMessage[] | null {
  if (!(error instanceof BrokerError) || error.code !== "DUPLICATE_MESSAGES") return null;
  return error.details.known as readonly KnownMessage[];
}
