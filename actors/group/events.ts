// Owns what can happen to a group: the journalled events with their versions, and the volatile ones.
// Refuses to own what they do to a group (evolve.ts) and when they happen (decide.ts).
// Invariant: a journalled event never changes its meaning; a new meaning is a new version with an upcast from the old.
import type { Assignment } from "./assignment.ts";
import { CANARY_EVENT_VERSIONS, type CanaryEvent } from "./canary/events.ts";
import { RETRY_EVENT_VERSIONS, type RetryEvent, type RetryVolatileEvent } from "./retry/events.ts";
import type { PartitionSet } from "./topic_partitions.ts";
import type { CompactOffsets } from "./compact_offsets.ts";
import type { AssignorName, Member } from "./types.ts";

/** `at` is wall time in ms, for the record. */
interface Journalled {
  readonly v: 1;
  readonly at: number;
  /** In the first event of a group: of who made it. Absent in old journals, for administrators and the broker itself. */
  readonly tenant?: string;
}

export interface TopicCount {
  readonly topic: string;
  /** 0: the topic is gone. */
  readonly partitions: number;
}

export interface MemberJoined extends Journalled {
  readonly type: "MemberJoined";
  readonly member: Member;
  /** The group's assignor from now on. */
  readonly assignor: AssignorName;
  /** Counts of the member's topics that the group did not know, or knew smaller. */
  readonly counts: readonly TopicCount[];
}

/** A member came back changed, or a static one came back under another memberId: the new one takes all it had. */
export interface MemberUpdated extends Journalled {
  readonly type: "MemberUpdated";
  /** Its id until now. */
  readonly memberId: string;
  readonly member: Member;
  readonly counts: readonly TopicCount[];
}

export type LeaveReason = "left" | "timed out" | "disconnected";

/** What it held is free; what it was giving up goes to whom it was meant for. */
export interface MemberLeft extends Journalled {
  readonly type: "MemberLeft";
  readonly memberId: string;
  readonly reason: LeaveReason;
}

/** Partitions beyond a topic's new count are taken from their members at once. */
export interface PartitionCountsChanged extends Journalled {
  readonly type: "PartitionCountsChanged";
  readonly counts: readonly TopicCount[];
}

/**
 * The group has a new target. What is free or stays is assigned by it; what is held by another is first given up. What
 * moved is the difference to the target before, so it is not written down again.
 */
export interface Rebalanced extends Journalled {
  readonly type: "Rebalanced";
  readonly generation: number;
  readonly cause: string;
  readonly target: Assignment;
  /** How many of the rebalances before this one stay in the history. */
  readonly rebalancesKept: number;
}

/** A member gave up, or was made to give up, what it had been told to; it went straight to its new owners. */
export interface PartitionsHandedOver extends Journalled {
  readonly type: "PartitionsHandedOver";
  readonly from: string;
  readonly reason: "released" | "timed out";
  readonly handed: readonly {
    /** Null: nobody, it is free. */
    readonly to: string | null;
    readonly partitions: PartitionSet;
  }[];
}

/** Offsets that changed. With all of these in order, every offset at every time is known. */
export interface OffsetsCommitted extends Journalled {
  readonly type: "OffsetsCommitted";
  readonly principal: string;
  /** Null: committed by somebody who is not a member. */
  readonly memberId: string | null;
  readonly generation: number;
  readonly reason: string | null;
  readonly offsets: readonly {
    readonly topic: string;
    readonly partition: number;
    readonly offset: number;
    readonly previous: number | null;
    readonly metadata: string | null;
  }[];
}

/** Offsets that a transaction will commit with all else in it, or drop. */
export interface OffsetsStaged extends Journalled {
  readonly type: "OffsetsStaged";
  readonly transactionId: string;
  readonly principal: string;
  readonly offsets: readonly {
    readonly topic: string;
    readonly partition: number;
    readonly offset: number;
    readonly metadata: string | null;
    readonly memberId: string | null;
  }[];
}

/** The transaction has ended; what it committed is told by an event of its own, before this one. */
export interface StagedOffsetsEnded extends Journalled {
  readonly type: "StagedOffsetsEnded";
  readonly transactionId: string;
  readonly commit: boolean;
}

/** The topic is gone, or has fewer partitions: offsets from `fromPartition` on mean nothing any more. */
export interface OffsetsDropped extends Journalled {
  readonly type: "OffsetsDropped";
  readonly dropped: readonly { readonly topic: string; readonly fromPartition: number }[];
  /** What they were; absent in old journals. */
  readonly offsets?: CompactOffsets;
}

/** An operator moved offsets while no member read. */
export interface OffsetsMoved extends Journalled {
  readonly type: "OffsetsMoved";
  readonly action: "rollback" | "reset";
  readonly cause: string;
  readonly principal: string;
  readonly reason: string;
  readonly generation: number;
  readonly offsets: readonly {
    readonly topic: string;
    readonly partition: number;
    readonly offset: number;
    readonly previous: number | null;
  }[];
}

/** A commit would have gone back from `committed` to `offset`, and was refused. */
export interface RewindRefused extends Journalled {
  readonly type: "RewindRefused";
  readonly principal: string;
  readonly memberId: string | null;
  readonly generation: number;
  readonly reason: string | null;
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly committed: number;
}

/** The group's offsets at this place of the journal. */
export interface OffsetsSnapshotTaken extends Journalled {
  readonly type: "OffsetsSnapshotTaken";
  readonly snapshotId: string;
  readonly automatic: boolean;
  readonly principal: string | null;
  readonly offsets: CompactOffsets;
}

/**
 * All that the events before this one amount to, so that they may be dropped. `state` is what `encodeGroupState` made; a
 * field that this release knows and it lacks is as in a new group.
 */
export interface StateRecorded extends Journalled {
  readonly type: "StateRecorded";
  readonly state: unknown;
}

/** Of no group: from `fromOffset` on, the journal holds all that is known. */
export interface JournalCompleted extends Journalled {
  readonly type: "JournalCompleted";
  readonly fromOffset: number;
}

export interface GroupPaused extends Journalled {
  readonly type: "GroupPaused";
  readonly reason: string;
  readonly principal: string;
}

export interface GroupResumed extends Journalled {
  readonly type: "GroupResumed";
  readonly principal: string;
}

export interface GroupDeleted extends Journalled {
  readonly type: "GroupDeleted";
  readonly principal?: string;
  /** What its offsets were; absent in old journals. */
  readonly offsets?: CompactOffsets;
}

export type GroupEvent =
  | RetryEvent
  | CanaryEvent
  | MemberJoined
  | MemberUpdated
  | MemberLeft
  | PartitionCountsChanged
  | Rebalanced
  | PartitionsHandedOver
  | OffsetsCommitted
  | OffsetsStaged
  | StagedOffsetsEnded
  | OffsetsDropped
  | OffsetsMoved
  | OffsetsSnapshotTaken
  | RewindRefused
  | StateRecorded
  | JournalCompleted
  | GroupPaused
  | GroupResumed
  | GroupDeleted;

/** Evolve the state but are never journalled. Times are monotonic ms. */
export type GroupVolatileEvent =
  | RetryVolatileEvent
  /** A session of the member began: a join, or a member that came back. */
  | { readonly type: "MemberConnected"; readonly memberId: string; readonly deadlineAt: number }
  | { readonly type: "MemberSeen"; readonly memberId: string; readonly deadlineAt: number }
  | { readonly type: "MemberDisconnected"; readonly memberId: string; readonly deadlineAt: number }
  | { readonly type: "RebalanceScheduled"; readonly dueAt: number; readonly latestAt: number }
  | { readonly type: "SnapshotScheduled"; readonly dueAt: number | null }
  | {
    readonly type: "RevocationsStarted";
    readonly generation: number;
    readonly deadlineAt: number;
  }
  /** All that was due at `now` was dealt with; no session ends before `sessionsCheckAt`. */
  | {
    readonly type: "DeadlinesChecked";
    readonly now: number;
    readonly sessionsCheckAt: number | null;
  }
  /** After a restart nothing volatile is left; every session and every revocation starts anew. */
  | {
    readonly type: "SessionsRestarted";
    readonly sessions: readonly { readonly memberId: string; readonly deadlineAt: number }[];
    readonly revocationDeadlineAt: number;
  };

/** The versions written today. */
const CURRENT_VERSIONS: Readonly<Record<GroupEvent["type"], number>> = Object.freeze({
  ...RETRY_EVENT_VERSIONS,
  ...CANARY_EVENT_VERSIONS,
  MemberJoined: 1,
  MemberUpdated: 1,
  MemberLeft: 1,
  PartitionCountsChanged: 1,
  Rebalanced: 1,
  PartitionsHandedOver: 1,
  OffsetsCommitted: 1,
  OffsetsStaged: 1,
  StagedOffsetsEnded: 1,
  OffsetsDropped: 1,
  OffsetsMoved: 1,
  OffsetsSnapshotTaken: 1,
  RewindRefused: 1,
  StateRecorded: 1,
  JournalCompleted: 1,
  GroupPaused: 1,
  GroupResumed: 1,
  GroupDeleted: 1,
});

type StoredEvent = Readonly<Record<string, unknown>>;

export interface EventVersions {
  /** By type, the version written today. */
  readonly current: Readonly<Record<string, number>>;
  /** `<type>@<version>` to what makes the next version of it. */
  readonly upcasters: ReadonlyMap<string, (stored: StoredEvent) => StoredEvent>;
}

const GROUP_EVENT_VERSIONS: EventVersions = { current: CURRENT_VERSIONS, upcasters: new Map() };

/**
 * The event that `stored` (parsed JSON of the journal) is, in the version of today. Throws a plain Error for an unknown
 * type, a version newer than this release or one without a way up: the journal is not ours to guess at.
 */
export function upcastGroupEvent(stored: unknown): GroupEvent {
  return upcast(stored, GROUP_EVENT_VERSIONS) as unknown as GroupEvent;
}

/** The same over any table of versions. */
export function upcast(stored: unknown, versions: EventVersions): StoredEvent {
  if (typeof stored !== "object" || stored === null || Array.isArray(stored)) {
    throw new Error("a journalled group event is not an object");
  }
  let event = stored as StoredEvent;
  const type = String(event.type);
  const current = Object.hasOwn(versions.current, type) ? versions.current[type]! : null;
  if (current === null) throw new Error(`the group event ${type} is unknown to this release`);
  while (event.v !== current) {
    const up = versions.upcasters.get(`${type}@${event.v}`);
    if (up === undefined) throw new Error(`the group event ${type} has no version ${event.v} here`);
    const next = up(event);
    if (Number(next.v) <= Number(event.v)) throw new Error(`the upcast of ${type} goes nowhere`);
    event = next;
  }
  return event;
}
