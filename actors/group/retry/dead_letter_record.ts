// Owns what a dead letter looks like: where it goes, and the record that is written there.
// Refuses to own when it is written (dead_letter_writer.ts).
// Invariant: key, value and headers are those of the message that failed; what is added begins with `waybill-`.
import type { DecodedRecord } from "../../../storage/format/decode.ts";
import type { RecordInput } from "../../../storage/format/encode.ts";
import type { TopicConfig, TopicPartition } from "../../broker.ts";
import { DEADLINE_EXCEEDED, NON_RETRYABLE } from "./policy.ts";
import type { DeadLetter } from "./types.ts";

export const DEAD_LETTER_PREFIX = "dlq.";
const MAX_NAME_LENGTH = 249;
/** Code of a dead letter whose last nack named none. */
export const RETRIES_EXHAUSTED = "RETRIES_EXHAUSTED";

/** What is added to a dead letter's headers; a redrive takes them away again. */
export const DEAD_LETTER_HEADERS = Object.freeze({
  topic: "waybill-origin-topic",
  partition: "waybill-origin-partition",
  offset: "waybill-origin-offset",
  group: "waybill-origin-group",
  timestamp: "waybill-origin-timestamp",
  reason: "waybill-reason",
  code: "waybill-code",
  attempts: "waybill-attempts",
  /** `lost`: the message was no longer in the log when its dead letter was written. */
  payload: "waybill-payload",
});

const OWN_HEADERS: ReadonlySet<string> = new Set(Object.values(DEAD_LETTER_HEADERS));

/** Dead letters are looked through by people: they are kept for a week at least. */
const MIN_RETENTION_HOURS = 7 * 24;

/** `dlq.<topic>`; of a name that leaves no room for that, what fits and a hash of the whole. */
export function deadLetterTopic(topic: string): string {
  const name = DEAD_LETTER_PREFIX + topic;
  if (name.length <= MAX_NAME_LENGTH) return name;
  let hash = 0x811c9dc5;
  for (let i = 0; i < topic.length; i++) hash = Math.imul(hash ^ topic.charCodeAt(i), 0x01000193);
  const suffix = `-${(hash >>> 0).toString(16).padStart(8, "0")}`;
  return name.slice(0, MAX_NAME_LENGTH - suffix.length) + suffix;
}

/** What the topic of dead letters is made with: as its origin, but kept for longer and never compacted. */
export function deadLetterConfig(origin: TopicConfig): TopicConfig {
  const { retentionHours } = origin;
  return {
    ...origin,
    cleanupPolicy: "delete",
    retentionBytes: null,
    retentionHours: retentionHours === 0 ? 0 : Math.max(retentionHours, MIN_RETENTION_HOURS),
  };
}

/** The record that is written for a dead letter of `group`; `record` is null when the message is lost. */
export function deadLetterRecord(
  origin: TopicPartition & { readonly group: string },
  letter: DeadLetter,
  record: DecodedRecord | null,
): RecordInput {
  const names = DEAD_LETTER_HEADERS;
  const kept = (record?.headers ?? []).filter(([name]) => !OWN_HEADERS.has(name));
  const added: [string, string][] = [
    [names.topic, origin.topic],
    [names.partition, String(origin.partition)],
    [names.offset, String(letter.offset)],
    [names.group, origin.group],
    [names.reason, letter.reason ?? reasonOf(letter)],
    [names.code, letter.code ?? RETRIES_EXHAUSTED],
    [names.attempts, String(letter.attempts)],
  ];
  if (record === null) added.push([names.payload, "lost"]);
  else added.push([names.timestamp, String(record.timestamp)]);
  const { key = null, value = null } = record ?? {};
  return { key, value, headers: [...kept, ...added], timestamp: letter.at };
}

function reasonOf({ code, attempts }: DeadLetter): string {
  if (code === NON_RETRYABLE) return "not to be tried again";
  if (code === DEADLINE_EXCEEDED) return "the next retry would have come after the deadline";
  return `${attempts} of ${attempts} attempts failed`;
}
