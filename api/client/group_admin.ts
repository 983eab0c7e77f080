// Owns what operators do to groups through the SDK: pause, resume, and canaries, and the ledger of offsets with its ways back.
// Refuses to own requests and their retries (admin.ts), and consuming.
// Invariant: each call is one request; a dry run asks what the real call would do, and answers the same.
import { type Admin, queryOf } from "./admin.ts";
import type { PartitionOffset, TopicPartition } from "./frames.ts";

export interface OffsetHistoryEntry extends TopicPartition {
  /** ms since the epoch. */
  readonly at: number;
  /** `rewind`: a commit that went back. `refused` (told only when asked for): one that was not allowed to. */
  readonly action: "commit" | "rewind" | "rollback" | "reset" | "dropped" | "deleted" | "refused";
  /** Null: nothing was committed. */
  readonly previous: number | null;
  /** Null: nothing is committed any more. */
  readonly offset: number | null;
  /** Null: the broker itself. */
  readonly principal: string | null;
  readonly memberId: string | null;
  readonly generation: number | null;
  readonly reason: string | null;
  /** Of a rollback or reset: where to. */
  readonly cause: string | null;
}

export interface OffsetHistoryQuery {
  readonly topic?: string;
  readonly partition?: number;
  readonly action?: OffsetHistoryEntry["action"];
  readonly limit?: number;
  readonly cursor?: string;
}

export interface OffsetsSnapshot {
  readonly snapshotId: string;
  readonly at: number;
  readonly automatic: boolean;
  readonly principal: string | null;
  readonly offsets: readonly PartitionOffset[];
}

export interface OffsetRollback {
  /** A snapshot, or a time: ms since the epoch or RFC 3339. */
  readonly to: { readonly snapshotId: string } | { readonly time: number | string };
  readonly topic?: string;
  readonly partition?: number;
  readonly dryRun?: boolean;
  readonly reason: string;
}

export interface OffsetReset {
  readonly topic: string;
  readonly partition?: number;
  /** An offset, `@` and a time, or `+n` and `-n` from what is committed. */
  readonly to: number | "earliest" | "latest" | `@${string}` | `+${number}` | `-${number}`;
  readonly dryRun?: boolean;
  readonly reason: string;
}

export interface MovedOffsets {
  readonly dryRun: boolean;
  readonly changes: readonly (TopicPartition & {
    readonly from: number | null;
    readonly to: number;
    /** Messages that are delivered again. */
    readonly redeliver: number;
  })[];
  readonly totalRedeliver: number;
  /** Of a dry run: why the same would be refused now; null: it would not. */
  readonly blockedBy: { readonly code: string; readonly detail: string } | null;
}

/** A version of a group's consumers that gets a share of the partitions, on trial. */
export interface CanarySettings {
  readonly version: string;
  /** 0 to 100. */
  readonly percent: number;
  readonly windowSeconds?: number;
  readonly minObservations?: number;
  /** Worse is a rate of at least so many times that of the rest … */
  readonly factor?: number;
  /** … and at least so much above it, as a share of 1. */
  readonly margin?: number;
  readonly maxLostSessions?: number;
  readonly reason?: string;
  readonly dryRun?: boolean;
}

export interface CanaryRates {
  /** Messages whose first delivery was committed past or nacked. */
  readonly answered: number;
  readonly nacked: number;
  readonly deadLettered: number;
  readonly lostSessions: number;
  /** Shares of 1; null: nothing was answered. */
  readonly nackRate: number | null;
  readonly deadLetterRate: number | null;
}

export interface Canary extends Required<Omit<CanarySettings, "reason" | "dryRun">> {
  readonly groupId: string;
  /** `withdrawn`: it did worse than the rest, and members of this version get nothing. */
  readonly state: "running" | "withdrawn" | "promoted";
  /** ms since the epoch. */
  readonly since: number;
  readonly changedAt: number;
  readonly changedBy: string;
  readonly reason: string | null;
  readonly members: number;
  readonly partitions: readonly TopicPartition[];
  readonly ofPartitions: number;
  /** What is not as `percent` says, and why. */
  readonly note: string | null;
  readonly canary: CanaryRates;
  readonly rest: CanaryRates;
  readonly verdict: {
    readonly state: "undecided" | "ok" | "worse";
    readonly measure: "nacks" | "dead letters" | "lost sessions" | null;
    readonly text: string;
  };
}

export interface CanaryChange extends Canary {
  readonly dryRun: boolean;
  readonly moved: readonly (TopicPartition & {
    readonly from: string | null;
    readonly to: string | null;
  })[];
}

/** Groups as operators see them. All methods reject with WaybillErrors: UNKNOWN_GROUP and those that they name. */
export class GroupAdmin {
  constructor(private readonly admin: Admin) {}

  /** Nothing is delivered to the group until it is resumed; its members stay. */
  async pause(group: string, reason: string): Promise<void> {
    await this.admin.json("POST", `${pathOf(group)}:pause`, { reason });
  }

  async resume(group: string): Promise<void> {
    await this.admin.json("POST", `${pathOf(group)}:resume`);
  }

  /** A page of changes, newest first. */
  history(
    group: string,
    query: OffsetHistoryQuery = {},
  ): Promise<{ history: readonly OffsetHistoryEntry[]; nextCursor?: string }> {
    return this.admin.json("GET", `${pathOf(group)}/offsets/history${queryOf({ ...query })}`);
  }

  /** Writes the group's offsets down, to roll back to. */
  snapshot(group: string): Promise<OffsetsSnapshot> {
    return this.admin.json("POST", `${pathOf(group)}/offsets:snapshot`);
  }

  /** A page of snapshots, newest first. */
  snapshots(
    group: string,
    page: { limit?: number; cursor?: string } = {},
  ): Promise<{ snapshots: readonly OffsetsSnapshot[]; nextCursor?: string }> {
    return this.admin.json("GET", `${pathOf(group)}/offsets/snapshots${queryOf({ ...page })}`);
  }

  /** Needs the group empty or paused, but for a dry run. GROUP_NOT_EMPTY, UNKNOWN_SNAPSHOT, INVALID_REQUEST. */
  rollback(group: string, rollback: OffsetRollback): Promise<MovedOffsets> {
    return this.admin.json("POST", `${pathOf(group)}/offsets:rollback`, rollback);
  }

  /** Needs the group empty or paused, but for a dry run. GROUP_NOT_EMPTY, OFFSET_OUT_OF_RANGE, UNKNOWN_TOPIC. */
  reset(group: string, reset: OffsetReset): Promise<MovedOffsets> {
    return this.admin.json("POST", `${pathOf(group)}/offsets:reset`, reset);
  }

  /** UNKNOWN_CANARY. */
  canary(group: string): Promise<Canary> {
    return this.admin.json("GET", `${pathOf(group)}/canary`);
  }

  setCanary(group: string, canary: CanarySettings): Promise<CanaryChange> {
    return this.admin.json("PUT", `${pathOf(group)}/canary`, canary);
  }

  /** All versions share evenly again. UNKNOWN_CANARY, INVALID_CANARY_STATE. */
  promoteCanary(group: string, reason?: string): Promise<Canary> {
    return this.admin.json("POST", `${pathOf(group)}/canary:promote`, { reason });
  }

  /** UNKNOWN_CANARY. */
  async removeCanary(group: string, reason?: string): Promise<void> {
    await this.admin.delete(`${pathOf(group)}/canary${queryOf({ reason })}`);
  }
}

function pathOf(group: string): string {
  return `/api/groups/${encodeURIComponent(group)}`;
}
