// Owns the shape of a sample: what a broker measured of itself in about one second.
// Refuses to own measuring (ops/measurement) and judging it (actors/threshold).
// Invariant: plain data; counts are of the time since the last sample, everything else is as it was at its end.

import type { GroupTrouble } from "./group_trouble.ts";

/** Quantiles of a sample's durations; all null where nothing happened in it. */
export interface Quantiles {
  readonly p50: number | null;
  readonly p95: number | null;
  readonly p99: number | null;
}

export interface PartitionSample {
  readonly topic: string;
  readonly partition: number;
  /** Appended since the last sample, by the log's own growth in offsets and bytes published to it. */
  readonly bytes: number;
  /** Of all bytes appended meanwhile, 0 to 1. */
  readonly share: number;
  /** The key with the most bytes of late, as far as it was seen. */
  readonly hotKey?: string;
}

export interface LagSample {
  readonly group: string;
  /** Of the group; left out: of none. */
  readonly tenant?: string;
  readonly topic: string;
  readonly partition: number;
  readonly lag: number;
  /** How long ago the first message that is not committed was stored; null where nobody knows. */
  readonly lagSeconds: number | null;
  readonly status: "ok" | "lagging" | "stalled" | "idle" | "unassigned";
}

/** Lags of one group over all its partitions. */
export interface GroupSample {
  readonly group: string;
  /** Left out: of none. */
  readonly tenant?: string;
  readonly state: string;
  readonly members: number;
  readonly totalLag: number;
  /** Lag of the partitions that no more members would help: "stalled". */
  readonly stalledLag: number;
  /** Of the partition furthest behind; null where nobody knows. */
  readonly maxLagSeconds: number | null;
  /** Left out or null: it is in none, as far as is known. */
  readonly trouble?: GroupTrouble | null;
}

export interface GroupRebalances {
  readonly group: string;
  /** Left out: of none. */
  readonly tenant?: string;
  readonly rebalances: number;
}

/** A group's canary, as it stands. */
export interface CanaryActivity {
  readonly group: string;
  readonly version: string;
  readonly percent: number;
  readonly state: "running" | "withdrawn";
  /** Of its last change: of a withdrawal, what it was worse in. */
  readonly reason: string | null;
}

export interface Sample {
  /** Wall time, ms since the epoch. */
  readonly at: number;
  /** The monotonic clock, ms. */
  readonly monotonic: number;
  /** Since the last sample. */
  readonly seconds: number;

  readonly publishRequests: number;
  /** Those that count against the broker: what it answered 5xx; not 4xx, nor 429 of a quota. */
  readonly publishFailures: number;
  /** Every refusal by its code, 4xx too. */
  readonly publishFailuresByCode: Readonly<Record<string, number>>;
  readonly publishMessages: number;
  readonly publishBytes: number;
  readonly deliveredMessages: number;
  readonly deliveredBytes: number;
  readonly publishLatencyMs: Quantiles;
  /** From a message's timestamp until it was handed to a reader. */
  readonly endToEndMs: Quantiles;

  /** Of what this broker leads: how long the in-sync follower furthest behind has been so. 0 on one node. */
  readonly replicationDelayMs: number;
  /** Of what this broker leads: partitions with fewer in sync than they are to have. Left out: it is alone. */
  readonly underReplicatedPartitions?: number;
  readonly rebalances: number;
  readonly deadLetters: number;
  readonly retries: number;
  /** At most MAX_SAMPLED_REBALANCED groups, shared among tenants. Left out: there was none. */
  readonly rebalancesByGroup?: readonly GroupRebalances[];
  /** By `<group> on <topic>`: the most, at most MAX_SAMPLED_PLACES. Left out: there was none. */
  readonly deadLettersByPlace?: Readonly<Record<string, number>>;
  readonly retriesByPlace?: Readonly<Record<string, number>>;
  readonly duplicatesSuppressed: number;
  /** Partitions that this broker began to lead, and changes of who is in sync with it: on one node, losing and finding themselves. */
  readonly leaderChanges: number;
  readonly inSyncChanges: number;
  /** Of the whole cluster. */
  readonly offlinePartitions: number;
  /** Commands and appends that wait in mailboxes. */
  readonly waitingCommands: number;
  /** Replays and redrives by state, as of some seconds ago at most. */
  readonly jobs: Readonly<Record<string, number>>;

  /** Over all topics, archive apart. */
  readonly storageBytes: number;
  /** Of the file system that holds the data; null where it cannot be told. */
  readonly diskFreeBytes: number | null;
  /** Longest that the event loop was held up. */
  readonly eventLoopDelayMs: number;
  /** Of syncs of the logs. */
  readonly syncLatencyMs: { readonly p50: number | null; readonly p99: number | null };
  /** Resident. */
  readonly memoryBytes: number;

  /** Those with the most bytes, at most MAX_SAMPLED_PARTITIONS. */
  readonly partitions: readonly PartitionSample[];
  /** Largest lag first, at most MAX_SAMPLED_LAGS, shared among tenants: to be shown. */
  readonly lags: readonly LagSample[];
  /**
   * To be judged: of every partition with a lag, at most MAX_JUDGED_LAGS, shared among tenants; left out: `lags`. The
   * newest sample alone has it.
   */
  readonly judgedLags?: readonly LagSample[];
  /** Groups and partitions that may lag and are not among `judgedLags`: of them nothing is known now. Left out: none. */
  readonly unjudgedLags?: number;
  /** Largest total lag first, at most MAX_SAMPLED_GROUPS, shared among tenants. */
  readonly groups: readonly GroupSample[];
  /** Requests refused for a quota, by tenant; at most MAX_SAMPLED_TENANTS, the rest under "other". */
  readonly quotaBreaches: Readonly<Record<string, number>>;
  /** Withdrawn ones first, at most MAX_SAMPLED_CANARIES. */
  readonly canaries: readonly CanaryActivity[];
  /** How many groups have one. */
  readonly canariesByState: Readonly<Record<CanaryActivity["state"], number>>;
  /** Since the last sample. */
  readonly canariesWithdrawn: number;
  /** What stops the broker from serving all of it, as /readyz tells; at most MAX_SAMPLED_PROBLEMS. */
  readonly problems: readonly string[];
}

/** Bounds of a sample's lists: what is beyond them counts in the sums alone. */
export const MAX_SAMPLED_PARTITIONS = 20;
export const MAX_SAMPLED_LAGS = 200;
export const MAX_JUDGED_LAGS = 20_000;
export const MAX_SAMPLED_GROUPS = 100;
export const MAX_SAMPLED_REBALANCED = 200;
export const MAX_SAMPLED_PLACES = 10;
export const MAX_SAMPLED_TENANTS = 20;
export const MAX_SAMPLED_CANARIES = 100;
export const MAX_SAMPLED_PROBLEMS = 100;

/** What the actors of groups and partitions did since the broker has started, and how they stand now. */
export interface Activity {
  readonly rebalances: number;
  /** Messages that no retry is left for. */
  readonly deadLetters: number;
  /** Deliveries that were asked for again with a nack. */
  readonly retries: number;
  /** The same by group; of the latter two by `<group> on <topic>`. Of too many, those of the longest ago are left out. */
  readonly rebalancesByGroup: ReadonlyMap<string, number>;
  readonly retriesByPlace: ReadonlyMap<string, number>;
  readonly deadLettersByPlace: ReadonlyMap<string, number>;
  /** Commands that wait in the mailboxes of groups. */
  readonly waiting: number;
  /** Canaries that did worse than the rest, and were withdrawn. */
  readonly canariesWithdrawn: number;
  /** Of every group that has one that runs or was withdrawn. */
  readonly canaries: readonly CanaryActivity[];
  /** Of every topic, internal ones too; read as one goes along, since there may be many: others may have their turn meanwhile. */
  readonly partitions: Iterable<PartitionActivity>;
}

export interface PartitionActivity {
  readonly topic: string;
  readonly partition: number;
  readonly online: boolean;
  /** Since the broker has started, by clients and by the broker itself. */
  readonly appendedBytes: number;
  readonly sizeBytes: number;
  readonly waiting: number;
}

/** Where activity is read: from memory, without IO. */
export interface ActivitySource {
  activity(): Activity;
}

/** Hears every sample, one about each second. */
export type SampleListener = (sample: Sample) => void;

/** Where samples come from. */
export interface Samples {
  /** The newest; null before the first. */
  latest(): Sample | null;
  /** Oldest first, of the last 15 minutes at most. */
  history(): readonly Sample[];
  /** Calls back with each new sample until the returned function is called. */
  onSample(listener: SampleListener): () => void;
}
