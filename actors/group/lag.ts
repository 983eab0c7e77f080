// Owns what the lag of a group on one partition is, and what it says about the consumer.
// Refuses to own where the figures come from, and what is done about them.
// Invariant: pure; lag is never negative, and a partition without new messages is never called stalled.

export interface LagSettings {
  /** `lagging` when the first message that is not committed past is older than this. */
  readonly laggingAfterSeconds: number;
  /** `stalled` when there was something to commit for this long, and nothing was. */
  readonly stalledAfterMs: number;
  /** `idle` when nothing is left to read and nothing was appended for this long. */
  readonly idleAfterMs: number;
}

export const DEFAULT_LAG_SETTINGS: LagSettings = Object.freeze({
  laggingAfterSeconds: 10,
  stalledAfterMs: 60_000,
  idleAfterMs: 60_000,
});

export type LagStatus = "ok" | "lagging" | "stalled" | "idle" | "unassigned";

/** Times are wall time in ms; null: never, or not known. */
export interface LagInput {
  /** Null: none; lag then counts from the log start. */
  readonly committedOffset: number | null;
  readonly logStartOffset: number;
  readonly highWatermark: number;
  /** Messages to read, where they were counted; null: every offset counts as one. */
  readonly messages: number | null;
  /** Who owns the partition; null: nobody. */
  readonly memberId: string | null;
  /** Timestamp of the first message that is not committed past; null when there is none. */
  readonly firstUncommittedTimestampMs: number | null;
  /** When the committed offset last rose, or the partition came to its member, whichever is later. */
  readonly lastProgressAtMs: number | null;
  readonly lastAppendAtMs: number | null;
  readonly nowMs: number;
  readonly settings: LagSettings;
}

export interface Lag {
  /** Messages to read. What retention has removed is not to be read any more. */
  readonly lag: number;
  /** Age of the first of them; 0 when there are none. */
  readonly lagSeconds: number;
  readonly status: LagStatus;
}

export function lagOf(input: LagInput): Lag {
  const { committedOffset, logStartOffset, highWatermark, nowMs } = input;
  const position = Math.max(committedOffset ?? logStartOffset, logStartOffset);
  const lag = Math.max(0, input.messages ?? highWatermark - position);
  const oldest = lag > 0 ? input.firstUncommittedTimestampMs : null;
  const lagSeconds = oldest === null ? 0 : Math.max(0, nowMs - oldest) / 1_000;
  return { lag, lagSeconds, status: statusOf(input, lag, lagSeconds) };
}

/** The first that holds, from the worst: unassigned, stalled, lagging, idle, ok. */
function statusOf(input: LagInput, lag: number, lagSeconds: number): LagStatus {
  const { settings, nowMs } = input;
  if (input.memberId === null) return "unassigned";
  if (lag === 0) {
    const { lastAppendAtMs } = input;
    return lastAppendAtMs === null || nowMs - lastAppendAtMs >= settings.idleAfterMs
      ? "idle"
      : "ok";
  }
  const waitingSinceMs = waitingSince(input);
  if (waitingSinceMs !== null && nowMs - waitingSinceMs >= settings.stalledAfterMs) {
    return "stalled";
  }
  return lagSeconds > settings.laggingAfterSeconds ? "lagging" : "ok";
}

/**
 * Since when there is something to commit and nothing is: a consumer that has long kept up with a quiet partition is not
 * stalled because a message has just come. Null when neither is known.
 */
function waitingSince(input: LagInput): number | null {
  const { lastProgressAtMs, firstUncommittedTimestampMs } = input;
  if (lastProgressAtMs === null) return firstUncommittedTimestampMs;
  return Math.max(lastProgressAtMs, firstUncommittedTimestampMs ?? lastProgressAtMs);
}
