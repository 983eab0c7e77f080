// Owns what can happen to the retries of a group: the journalled events, written small, and the volatile ones.
// Refuses to own what they do (evolve.ts) and when they happen (decide_*.ts).
// Invariant: a journalled event never changes its meaning; see ../events.ts.
import type { TopicPartition } from "../../broker.ts";
import type { RetryPolicy } from "./types.ts";

/** `at` is trusted wall time in ms: it goes on with the monotonic clock, however the wall clock jumps. */
interface Journalled {
  readonly v: 1;
  readonly at: number;
  /** In the first event of a group: of who made it. Absent in old journals, for administrators and the broker itself. */
  readonly tenant?: string;
}

/** Ascending offsets: the first as it is, the others as differences to the one before. */
export type OffsetSteps = readonly number[];
/** One value for each offset, or one for all of them. */
export type Column = number | readonly number[];

export interface ScheduledRetries extends TopicPartition {
  readonly offsets: OffsetSteps;
  /** Of the deliveries to come. */
  readonly attempts: Column;
  /** From `at` on. */
  readonly waitsMs: Column;
  /** Hashes of the messages' keys, -1 for none; left out when they do not matter. */
  readonly keys?: Column;
}

/** These are to be delivered, again or (parked behind another message of their key) for the first time. */
export interface RetriesScheduled extends Journalled {
  readonly type: "RetriesScheduled";
  readonly cause: "nack" | "parked" | "job";
  readonly principal: string | null;
  readonly memberId: string | null;
  readonly job?: { readonly jobId: string; readonly chunk: number };
  readonly retries: readonly ScheduledRetries[];
}

export interface OffsetsOfPartition extends TopicPartition {
  readonly offsets: OffsetSteps;
}

/** Done with: committed past while in hand, or `lost`, no longer in the log. */
export interface RetriesSettled extends Journalled {
  readonly type: "RetriesSettled";
  readonly reason: "committed" | "lost";
  readonly settled: readonly OffsetsOfPartition[];
}

/** No retry any more: to be written to the topic of dead letters. */
export interface DeadLettersDue extends Journalled {
  readonly type: "DeadLettersDue";
  readonly principal: string;
  readonly memberId: string | null;
  readonly letters: readonly (TopicPartition & {
    readonly offset: number;
    readonly attempts: number;
    readonly code: string | null;
    readonly reason: string | null;
  })[];
}

/** They are durable there. */
export interface DeadLettersWritten extends Journalled {
  readonly type: "DeadLettersWritten";
  readonly topic: string;
  readonly partition: number;
  /** Of the dead-letter producer. */
  readonly sequences: readonly number[];
}

/** What is still to be written is numbered anew, from 0 in each partition. */
export interface DeadLetterProducerSet extends Journalled {
  readonly type: "DeadLetterProducerSet";
  readonly producerId: number;
  readonly producerEpoch: number;
}

export interface RetryPolicySet extends Journalled {
  readonly type: "RetryPolicySet";
  /** Null: of all topics that have none of their own. */
  readonly topic: string | null;
  readonly policy: RetryPolicy;
  readonly principal: string;
}

export type RetryEvent =
  | RetriesScheduled
  | RetriesSettled
  | DeadLettersDue
  | DeadLettersWritten
  | DeadLetterProducerSet
  | RetryPolicySet;

/** Never journalled. Keys are places and offsets, one after the other, in order. */
export type RetryVolatileEvent =
  | { readonly type: "RetryClockStarted"; readonly wallOffset: number }
  | { readonly type: "RetriesReadied"; readonly now: number; readonly max: number }
  | { readonly type: "RetriesTaken"; readonly keys: readonly number[] }
  | { readonly type: "RetriesHandedBack"; readonly keys: readonly number[] };

/** The versions written today. */
export const RETRY_EVENT_VERSIONS: Readonly<Record<RetryEvent["type"], number>> = Object.freeze({
  RetriesScheduled: 1,
  RetriesSettled: 1,
  DeadLettersDue: 1,
  DeadLettersWritten: 1,
  DeadLetterProducerSet: 1,
  RetryPolicySet: 1,
});

/** `offsets`, ascending, as steps. */
export function stepsOf(offsets: readonly number[]): OffsetSteps {
  return offsets.map((offset, i) => i === 0 ? offset : offset - offsets[i - 1]!);
}

export function offsetsOf(steps: OffsetSteps): number[] {
  let offset = 0;
  return steps.map((step) => offset += step);
}

export function columnOf(values: readonly number[]): Column {
  const first = values[0];
  return first !== undefined && values.every((value) => value === first) ? first : values;
}

export function valueIn(column: Column, index: number): number {
  return typeof column === "number" ? column : column[index]!;
}
