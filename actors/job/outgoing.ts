// Owns what a message looks like when a job appends it again.
// Refuses to own where it goes (plan.ts) and batches' bytes (storage/format).
// Invariant: key, value and headers stay, `idempotency-key` too; what Waybill adds stands there once.
import type { DecodedRecord } from "../../storage/format/decode.ts";
import type { RecordInput } from "../../storage/format/encode.ts";
import { DEAD_LETTER_HEADERS as NAMES } from "../group/retry/dead_letter_record.ts";
import type { JobSource } from "./types.ts";

export const REPLAY_JOB = "waybill-replay-job";

/** A replayed message tells of the message it was made from. */
const REPLACED: ReadonlySet<string> = new Set([
  REPLAY_JOB,
  NAMES.topic,
  NAMES.partition,
  NAMES.offset,
  NAMES.timestamp,
]);
/** A redriven message is no dead letter any more. Where it came from, its letter says already. */
const OF_LETTERS: ReadonlySet<string> = new Set([
  REPLAY_JOB,
  NAMES.group,
  NAMES.reason,
  NAMES.code,
  NAMES.attempts,
  NAMES.payload,
]);

export interface OutgoingOptions {
  readonly jobId: string;
  readonly kind: "replay" | "redrive";
  readonly source: Pick<JobSource, "topic" | "partition">;
  /**
   * Wall time in ms. Messages get the time at which they are appended: with their old ones retention would drop them at
   * once, and looking up offsets by time would go wrong in their partition.
   */
  readonly now: number;
}

/** `record` as it is appended. */
export function outgoing(record: DecodedRecord, options: OutgoingOptions): RecordInput {
  const { jobId, kind, source, now } = options;
  const dropped = kind === "replay" ? REPLACED : OF_LETTERS;
  const headers: (readonly [string, string | Uint8Array | null])[] = record.headers
    .filter(([name]) => !dropped.has(name));
  headers.push([REPLAY_JOB, jobId]);
  if (kind === "replay") {
    headers.push(
      [NAMES.topic, source.topic],
      [NAMES.partition, String(source.partition)],
      [NAMES.offset, String(record.offset)],
    );
    if (record.timestamp >= 0) headers.push([NAMES.timestamp, String(record.timestamp)]);
  }
  return { key: record.key, value: record.value, headers, timestamp: now };
}
