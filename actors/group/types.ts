// Owns the vocabulary of consumer groups: state, commands, events, replies, notifications.
// Refuses to own any decision (decider.ts, assignors.ts) or IO.
// Invariant: all of it is plain JSON data; deadlines are on the monotonic clock and are never journalled.
import type { TopicPartition } from "../broker.ts";
import type { Asker, Owner } from "../ownership.ts";
import type { CanaryCommand, CanaryDescription, CanaryReply } from "./canary/types.ts";
import type { RetryCommand, RetryReply } from "./retry/types.ts";

export type AssignorName = "range" | "roundrobin" | "sticky";
export type GroupPhase = "empty" | "preparing" | "stable";

/** A member as its group knows it. */
export interface Member {
  readonly memberId: string;
  readonly clientId: string | null;
  /** A static member: it may come back under this name without a rebalance. */
  readonly instanceId: string | null;
  readonly topics: readonly string[];
  readonly sessionTimeoutMs: number;
  readonly transport: "websocket" | "http";
  readonly joinedAt: number;
  /** Who made it; absent: of an old journal, or nobody had to say who they are. */
  readonly owner?: Owner;
  /** Of the program that it runs; absent: it has not said. */
  readonly version?: string;
}

export interface CommittedOffset {
  readonly offset: number;
  readonly metadata: string | null;
  readonly committedAt: number;
}

export interface PartitionMove {
  readonly topic: string;
  readonly partition: number;
  readonly from: string | null;
  readonly to: string | null;
}

/** One line of `GET /api/groups/{group}/rebalances`. */
export interface Rebalance {
  readonly generation: number;
  readonly at: number;
  /** For example `member joined: c1`, `member left: c2`, `member timed out: c3`, `partitions of orders changed`. */
  readonly cause: string;
  readonly members: number;
  readonly moved: readonly PartitionMove[];
}

/** Commands carry their time: wall (for the record) and monotonic (for deadlines), both ms. */
export interface At {
  readonly wall: number;
  readonly monotonic: number;
}

/** Number of partitions by topic, as the catalog has it when the command is made. Unknown topics are left out. */
export type PartitionCounts = Readonly<Record<string, number>>;

/**
 * Where a command has an `asker`, members of others are as unknown. Errors by command. Join: FORBIDDEN (the instanceId is that
 * of another's member), INCONSISTENT_ASSIGNOR, OVERLOADED (too many members), INVALID_REQUEST (too many partitions).
 * Heartbeat, Leave, Released: UNKNOWN_MEMBER. CommitOffsets: UNKNOWN_MEMBER, STALE_GENERATION, OFFSET_ROLLBACK,
 * GROUP_PAUSED (a member commits what an operator has moved meanwhile),
 * OFFSET_OUT_OF_RANGE (400 at the edge), INVALID_REQUEST (numbers, sizes, a partition named twice).
 * DeleteGroup: UNKNOWN_GROUP, GROUP_NOT_EMPTY, CONCURRENT_TRANSACTIONS. Describe, Pause, Resume, SnapshotOffsets: UNKNOWN_GROUP.
 * MoveOffsets: UNKNOWN_GROUP, GROUP_NOT_EMPTY (neither empty nor paused), CONCURRENT_TRANSACTIONS (a dry run tells both in its reply), INVALID_REQUEST.
 */
export type GroupCommand =
  | RetryCommand
  | CanaryCommand
  | {
    readonly type: "Join";
    readonly group: string;
    /** Made by the edge: the id if this is a new member. */
    readonly newMemberId: string;
    /** A former member that comes back (reconnect); becomes a new member when the group no longer knows it. */
    readonly memberId?: string;
    readonly clientId?: string;
    readonly instanceId?: string;
    readonly version?: string;
    readonly topics: readonly string[];
    readonly assignor?: AssignorName;
    readonly sessionTimeoutMs: number;
    readonly transport: "websocket" | "http";
    readonly partitionCounts: PartitionCounts;
    /** A new member is its own. */
    readonly asker?: Asker;
  }
  | {
    readonly type: "Leave";
    readonly group: string;
    readonly memberId: string;
    readonly asker?: Asker;
  }
  /** The socket is gone without a leave: a dynamic member has `reconnectGraceMs`, a static one its session timeout. */
  | { readonly type: "Disconnected"; readonly group: string; readonly memberId: string }
  | { readonly type: "Heartbeat"; readonly group: string; readonly memberId: string }
  /** The member has stopped these partitions, which it was told to give up; they may go to their new owners. */
  | {
    readonly type: "Released";
    readonly group: string;
    readonly memberId: string;
    readonly partitions: readonly TopicPartition[];
  }
  | {
    readonly type: "CommitOffsets";
    readonly group: string;
    readonly memberId?: string;
    readonly generation?: number;
    /** `endOffset` is the partition's high watermark when the edge looked: a commit beyond it is refused. */
    readonly offsets: readonly {
      topic: string;
      partition: number;
      offset: number;
      metadata?: string;
      endOffset: number;
      /** Retries in the member's hands that are done with this; left out: all of them below `offset`. */
      settles?: readonly number[];
    }[];
    readonly allowRewind: boolean;
    readonly reason?: string;
    readonly principal: string;
    readonly asker?: Asker;
  }
  | {
    readonly type: "PartitionsChanged";
    readonly group: string;
    readonly partitionCounts: PartitionCounts;
    /**
     * Topics that the counts speak of: one of them without a count is gone, and with it the group's offsets there. Others
     * are left alone. Left out: the topics that members subscribe to, and those that have a count.
     */
    readonly topics?: readonly string[];
  }
  | {
    readonly type: "Pause";
    readonly group: string;
    readonly reason: string;
    readonly principal: string;
  }
  | { readonly type: "Resume"; readonly group: string; readonly principal: string }
  /** Writes the group's offsets down, to go back to. */
  | { readonly type: "SnapshotOffsets"; readonly group: string; readonly principal: string }
  /**
   * Moves committed offsets on an operator's word, while no member reads. `targets` name each partition once; where an
   * offset does not change, nothing happens. With `dryRun` nothing happens at all, and the answer is the same.
   */
  | {
    readonly type: "MoveOffsets";
    readonly group: string;
    readonly action: "rollback" | "reset";
    /** Where to, in words, for the history: `snapshot s1-1767225600000`. */
    readonly cause: string;
    readonly targets: readonly OffsetTarget[];
    readonly dryRun: boolean;
    readonly reason: string;
    readonly principal: string;
  }
  /** Writes the whole state down, so that no event before it is needed any more. Made by the journal's retention. */
  | { readonly type: "RecordState"; readonly group: string }
  /** Says that the journal holds all there is from `fromOffset` on. Sent to no group, by the journal's retention. */
  | { readonly type: "CompleteJournal"; readonly group: string; readonly fromOffset: number }
  /**
   * Keeps offsets, hidden, until the transaction has ended; what it staged before is replaced. Refused as the same commit
   * would be.
   */
  | {
    readonly type: "StageOffsets";
    readonly group: string;
    readonly transactionId: string;
    readonly offsets: readonly {
      topic: string;
      partition: number;
      offset: number;
      metadata?: string;
      memberId?: string;
      generation?: number;
      endOffset: number;
    }[];
    readonly principal: string;
    readonly asker?: Asker;
  }
  /** Commits or drops what the transaction has staged; nothing when that has happened. */
  | {
    readonly type: "EndStagedOffsets";
    readonly group: string;
    readonly transactionId: string;
    readonly commit: boolean;
  }
  | { readonly type: "DeleteGroup"; readonly group: string; readonly principal?: string }
  | { readonly type: "Describe"; readonly group: string }
  /** Made by the runtime when `deadline(state)` has come. */
  | { readonly type: "Tick"; readonly group: string }
  /** Made by the runtime once after the journal was replayed: sessions start anew. */
  | { readonly type: "Recovered"; readonly group: string };

/** Where a partition's offset is to go; it is brought between `logStartOffset` and `endOffset`. */
export interface OffsetTarget extends TopicPartition {
  readonly to:
    | { readonly kind: "offset"; readonly offset: number }
    /** From what is committed; from the log start where nothing is. */
    | { readonly kind: "relative"; readonly by: number };
  readonly logStartOffset: number;
  readonly endOffset: number;
}

export interface OffsetsSnapshot {
  readonly snapshotId: string;
  readonly at: number;
  /** Taken by the broker, not by somebody. */
  readonly automatic: boolean;
  readonly principal: string | null;
  /** By topic and partition. */
  readonly offsets: readonly (TopicPartition & { readonly offset: number })[];
}

export interface OffsetChange extends TopicPartition {
  /** Null: nothing was committed. */
  readonly from: number | null;
  readonly to: number;
  /** Offsets from `to` to `from`: messages that are delivered again. */
  readonly redeliver: number;
}

export interface MoveReply {
  readonly dryRun: boolean;
  readonly changes: readonly OffsetChange[];
  /** Of a dry run: why the same would be refused now (GROUP_NOT_EMPTY, CONCURRENT_TRANSACTIONS); null: it would not. */
  readonly blockedBy: { readonly code: string; readonly detail: string } | null;
}

export interface JoinReply {
  readonly memberId: string;
  readonly generation: number;
  /** What the member may read now; empty while the group is preparing. */
  readonly assignment: readonly TopicPartition[];
  /** True when the group knew this member: it keeps what it had. */
  readonly resumed: boolean;
}

export interface CommitReply {
  readonly generation: number;
  readonly results: readonly {
    topic: string;
    partition: number;
    offset: number;
    previous: number | null;
  }[];
}

export interface GroupDescription {
  readonly retries: {
    /** Messages that wait to be delivered again. */
    readonly waiting: number;
    /** Delivered again, and neither committed past nor nacked. */
    readonly inHand: number;
    readonly deadLettersToWrite: number;
  };
  readonly groupId: string;
  readonly state: GroupPhase;
  readonly generation: number;
  readonly assignor: AssignorName;
  readonly paused: { readonly reason: string; readonly since: number } | null;
  readonly canary: CanaryDescription | null;
  readonly members: readonly (Member & {
    /** What it may read now. */
    readonly assignment: readonly TopicPartition[];
    /** What it was told to give up and still holds. */
    readonly revoking: readonly TopicPartition[];
    /** When it is taken for gone if nothing is heard of it until then, wall ms. */
    readonly sessionEndsAt: number | null;
  })[];
  readonly offsets: readonly (TopicPartition & CommittedOffset)[];
  /** Partitions whose offset a transaction is about to commit: reading does not start there before that has ended. */
  readonly staged: readonly TopicPartition[];
  readonly rebalances: readonly Rebalance[];
}

export interface GroupSummary {
  readonly groupId: string;
  /** Whose share of groups it is of; left out: of no tenant's. Not for users to see. */
  readonly tenant?: string;
  readonly state: GroupPhase;
  readonly generation: number;
  readonly members: number;
}

export type GroupReply<C extends GroupCommand> = C extends RetryCommand ? RetryReply<C>
  : C extends CanaryCommand ? CanaryReply<C>
  : C["type"] extends "Join" ? JoinReply
  : C["type"] extends "CommitOffsets" ? CommitReply
  : C["type"] extends "Describe" ? GroupDescription
  : C["type"] extends "SnapshotOffsets" ? OffsetsSnapshot
  : C["type"] extends "MoveOffsets" ? MoveReply
  : C["type"] extends "Heartbeat" ? {
      readonly generation: number;
      readonly assignment: readonly TopicPartition[];
      /** Null while the group is not paused. */
      readonly paused: { readonly reason: string } | null;
      /** There while the member gets nothing, since its version was taken out. */
      readonly withdrawn?: { readonly version: string; readonly reason: string };
    }
  : null;

/** What a group tells one member. `assigned` is always the member's whole assignment. */
export type GroupNotification =
  | {
    readonly type: "assigned";
    readonly generation: number;
    readonly partitions: readonly TopicPartition[];
  }
  /** Stop these, let what is in flight be committed, then send Released; at the latest when the grace is over they are taken. */
  | {
    readonly type: "revoked";
    readonly generation: number;
    readonly partitions: readonly TopicPartition[];
  }
  | { readonly type: "paused"; readonly reason: string }
  | { readonly type: "resumed" }
  /** The canary that the member is of was taken out: it gets nothing, until it is assigned something again. */
  | { readonly type: "withdrawn"; readonly version: string; readonly reason: string }
  /** Retries of these are due, or how their reading is held up has changed: ask with TakeRetries. */
  | {
    readonly type: "retries";
    readonly partitions: readonly TopicPartition[];
    /** Somebody else said that these failed: they are no longer in flight. `attempt` is the delivery that failed. */
    readonly nacked?: readonly (TopicPartition & {
      readonly offset: number;
      readonly attempt: number;
    })[];
  }
  /** No longer a member: timed out, replaced by the same instanceId, or the group is gone. */
  | { readonly type: "removed"; readonly reason: string };
