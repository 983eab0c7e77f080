// Owns the vocabulary of traces: what is asked for, what is told of a trace, the port that edges use.
// Refuses to own how any of it is found (traces.ts) and who may see what of it (the edge).
// Invariant: plain data. What is told was found in the logs or heard from the edges, never guessed.
import type { TopicPartition } from "../broker.ts";

/**
 * What can happen to a message. From its own record: published, replayed and redriven (a copy that a job appended),
 * dead-lettered (its letter was written). From the journal of groups: committed (the group's offset passed it, or its retry
 * is done), rewound and skipped (the group's offset was moved back over it or on past it), nacked, parked (waits behind
 * another of its key), replayed (a job has the group read it again), lost (its retry found it gone). From the edges,
 * since the start of the broker: delivered, and retried, which is delivered again.
 */
export type TraceEventKind =
  | "published"
  | "delivered"
  | "retried"
  | "nacked"
  | "parked"
  | "committed"
  | "dead-lettered"
  | "redriven"
  | "replayed"
  | "rewound"
  | "skipped"
  | "lost";

export type TraceDetail = Readonly<Record<string, string | number | boolean>>;

/** Messages of one trace that lie next to each other, and what happened to them. */
export interface TraceEvent extends TopicPartition {
  /** Wall time, ms; of published the timestamp of the first message, which its producer may have chosen. */
  readonly at: number;
  readonly kind: TraceEventKind;
  readonly offset: number;
  /** Of the last message; left out when it is one. */
  readonly lastOffset?: number;
  readonly group?: string;
  readonly member?: string;
  /** Which delivery: of a nack, the one that failed. */
  readonly attempt?: number;
  readonly detail?: TraceDetail;
  /** Of a dead letter where it lies; of a copy what it was made from, as its headers say. */
  readonly related?: TopicPartition & { readonly offset: number };
}

export interface TraceRequest {
  /** 32 hex digits. */
  readonly traceId: string;
  /** Topics that are looked at, all others are as if there were none. */
  readonly topics: readonly string[];
  /** Whose requests count together: nobody is to keep the others from asking. */
  readonly asker: string;
  /**
   * Messages of it that were found at other brokers: what happened to them is told, too, and the answer names the messages
   * found here. Left out: there are none but here.
   */
  readonly known?: readonly FoundMessages[];
}

/** Messages of a trace that lie next to each other in their log. */
export interface FoundMessages extends TopicPartition {
  readonly firstOffset: number;
  readonly lastOffset: number;
  /** Timestamp of the first, ms. */
  readonly at: number;
  /** Of the topic. */
  readonly createdAt: number;
}

export interface FoundTrace {
  /** Oldest first. */
  readonly events: readonly TraceEvent[];
  /** More may have happened since `indexedFrom` than is told here: a bound was reached, or something cannot be read now. */
  readonly isTruncated: boolean;
  /** Messages that were published before are not known; wall ms, by their timestamps. Null: all that is stored is. */
  readonly indexedFrom: number | null;
  /** Deliveries of before are not known; wall ms. */
  readonly deliveriesFrom: number;
  /** The messages that lie here, where `known` asked for them. */
  readonly messages?: readonly FoundMessages[];
}

/** Offsets, end exclusive. */
export interface OffsetSpan {
  readonly from: number;
  readonly to: number;
}

/** Messages of one partition that were handed to a reader. */
export interface TraceDelivery extends TopicPartition {
  readonly group: string | null;
  readonly member: string | null;
  readonly spans: readonly OffsetSpan[];
  /** From 1 on. */
  readonly attempt: number;
}

/** What became of the messages that carried a trace. */
export interface Traces {
  /** Rejects with OVERLOADED when too many ask at a time, or one asks too much. */
  find(request: TraceRequest): Promise<FoundTrace>;
  /** Heard on the way of every delivery: costs well under 1 us. */
  delivered(delivery: TraceDelivery): void;
}

export interface TraceSettings {
  /** Between two looks at what was published; 0: only when somebody asks. */
  readonly followEveryMs: number;
  /** What looking at published messages may read a second; what has to be decoded counts four times. */
  readonly followBytesPerSecond: number;
  /** How far back a partition is looked at, after a start or when it is written to faster than it can be looked at. */
  readonly lookBackBytes: number;
  readonly lookBackMessages: number;
  /** The same over all partitions: with many, each is looked at less far. */
  readonly totalLookBackBytes: number;
  /** Runs of messages next to each other that carry one trace; the oldest are forgotten first. */
  readonly maxRuns: number;
  /** Deliveries that are remembered. */
  readonly maxDeliveries: number;
}

export const DEFAULT_TRACE_SETTINGS: TraceSettings = Object.freeze({
  followEveryMs: 500,
  followBytesPerSecond: 128 * 1_048_576,
  lookBackBytes: 16 * 1_048_576,
  lookBackMessages: 200_000,
  totalLookBackBytes: 1_024 * 1_048_576,
  maxRuns: 262_144,
  maxDeliveries: 65_536,
});
