// Owns what operators do to groups through the SDK: pause, resume, and the ledger of offsets with its ways back.
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

  /** Needs the group empty or paused. GROUP_NOT_EMPTY, UNKNOWN_SNAPSHOT, INVALID_REQUEST. */
  rollback(group: string, rollback: OffsetRollback): Promise<MovedOffsets> {
    return this.admin.json("POST", `${pathOf(group)}/offsets:rollback`, rollback);
  }

  /** Needs the group empty or paused. GROUP_NOT_EMPTY, OFFSET_OUT_OF_RANGE, UNKNOWN_TOPIC. */
  reset(group: string, reset: OffsetReset): Promise<MovedOffsets> {
    return this.admin.json("POST", `${pathOf(group)}/offsets:reset`, reset);
  }
}

function pathOf(group: string): string {
  return `/api/groups/${encodeURIComponent(group)}`;
}
