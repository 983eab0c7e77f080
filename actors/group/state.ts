// Owns the state of one group: its shape, its start, its form in a snapshot, and when it next needs a Tick.
// Refuses to own how it changes (evolve.ts) and how it is shown (describe.ts).
// Invariant: plain JSON, never changed in place; a partition is in one member's `assignments` or `handovers`, or in none.
import { type Assignment, NO_ASSIGNMENT } from "./assignment.ts";
import type { CanaryState } from "./canary/state.ts";
import { NO_OFFSETS, type OffsetTable } from "./offset_table.ts";
import { retryDeadline } from "./retry/clock.ts";
import { NO_QUEUE, rebuiltQueue, type RetryQueue } from "./retry/queue.ts";
import { NO_RETRIES, type RetryState } from "./retry/state.ts";
import { decodeRetries, encodeRetries } from "./retry/stored.ts";
import type { StagedOffsets } from "./staged_offsets.ts";
import { emptyTable, type Table } from "./table.ts";
import { NO_PARTITIONS, type PartitionSet } from "./topic_partitions.ts";
import type { AssignorName, Member, PartitionMove } from "./types.ts";

export { DEFAULT_GROUP_SETTINGS, type GroupSettings } from "./settings.ts";

/** A partition that its member was told to give up and still holds. */
export interface Handover {
  readonly topic: string;
  readonly partition: number;
  /** Who gets it then; may be the same member again, since a revocation once told is never taken back. Null: nobody. */
  readonly to: string | null;
  /** The generation in which the member was told; its grace runs from there. */
  readonly generation: number;
}

/** Moves that share topic, giver and taker: a history of single moves would be a hundred times as large. */
export interface MovedPartitions {
  readonly topic: string;
  readonly from: string | null;
  readonly to: string | null;
  readonly partitions: readonly PartitionMove["partition"][];
}

export interface RebalanceRecord {
  readonly generation: number;
  readonly at: number;
  readonly cause: string;
  readonly members: number;
  readonly moved: readonly MovedPartitions[];
}

/** Why the group must be assigned anew: the first few causes in words, and how many more. */
export interface RebalanceCauses {
  readonly listed: readonly string[];
  readonly more: number;
}

export interface Session {
  /** Monotonic ms. */
  readonly deadlineAt: number;
  /** Open sockets of the member; null when it is not known, after a restart. */
  readonly connections: number | null;
}

/** Never journalled. Times are monotonic ms. */
export interface GroupVolatile {
  readonly sessions: Table<Session>;
  /** No session ends before this. A lower bound: keeping the exact minimum would cost every heartbeat. */
  readonly sessionsCheckAt: number | null;
  readonly rebalance: { readonly dueAt: number; readonly latestAt: number } | null;
  /** When what was told in a generation is taken at the latest. */
  readonly revocations: readonly { readonly generation: number; readonly deadlineAt: number }[];
  /** When the next automatic snapshot of the offsets is due; null while nothing has changed. */
  readonly snapshotDueAt: number | null;
  /** When retries are due, and which are in hand. */
  readonly retries: RetryQueue;
}

/** What the offset ledger needs to know of the group. */
export interface LedgerState {
  readonly snapshotsTaken: number;
  /** Offsets changed since the last snapshot. */
  readonly changed: boolean;
  /** What an operator moved since the group was paused: members do not know of it yet. */
  readonly moved: PartitionSet;
  /** Commits that would have gone back, of the last minute that had one: minutes since the epoch. */
  readonly refusals: { readonly minute: number; readonly count: number };
}

export const NO_LEDGER: LedgerState = Object.freeze({
  snapshotsTaken: 0,
  changed: false,
  moved: NO_PARTITIONS,
  refusals: Object.freeze({ minute: 0, count: 0 }),
});

export interface GroupState {
  readonly groupId: string;
  /** True from the first member or commit until it is deleted. */
  readonly exists: boolean;
  /** Whose share of groups it is of: the tenant's that made it. */
  readonly tenant?: string;
  readonly generation: number;
  readonly assignor: AssignorName;
  readonly paused: { readonly reason: string; readonly since: number } | null;
  readonly members: Table<Member>;
  /** Partitions of the topics that members subscribe to, as far as they exist. */
  readonly partitionCounts: Table<number>;
  /** By member: what it may read now. */
  readonly assignments: Table<PartitionSet>;
  /** By member: what it gives up, in order. Together with its assignment, what it owns. */
  readonly handovers: Table<readonly Handover[]>;
  /** What the last rebalance aimed at; may name members that have left since. */
  readonly target: Assignment;
  /** Not null when members or partitions changed since the last rebalance. */
  readonly causes: RebalanceCauses | null;
  readonly offsets: OffsetTable;
  /** By transaction id. */
  readonly staged: Table<StagedOffsets>;
  readonly ledger: LedgerState;
  readonly retry: RetryState;
  /** The version that is on trial, or was; absent: none. */
  readonly canary?: CanaryState;
  /** Oldest first. */
  readonly rebalances: readonly RebalanceRecord[];
  readonly volatile: GroupVolatile;
}

export const NOTHING_VOLATILE: GroupVolatile = Object.freeze({
  sessions: emptyTable<Session>(),
  sessionsCheckAt: null,
  rebalance: null,
  revocations: [],
  snapshotDueAt: null,
  retries: NO_QUEUE,
});

/** A group of which nothing is known. */
export function initialGroup(groupId: string): GroupState {
  return {
    groupId,
    exists: false,
    generation: 0,
    assignor: "sticky",
    paused: null,
    members: emptyTable(),
    partitionCounts: emptyTable(),
    assignments: emptyTable(),
    handovers: emptyTable(),
    target: NO_ASSIGNMENT,
    causes: null,
    offsets: NO_OFFSETS,
    staged: emptyTable(),
    ledger: NO_LEDGER,
    retry: NO_RETRIES,
    rebalances: [],
    volatile: NOTHING_VOLATILE,
  };
}

/** Monotonic ms of the next Tick that the runtime must send; null when none is needed. It may come for nothing. */
export function groupDeadline(state: GroupState): number | null {
  const { rebalance, sessionsCheckAt, revocations, snapshotDueAt } = state.volatile;
  let deadline = retryDeadline(state) ?? Infinity;
  if (rebalance !== null) deadline = Math.min(deadline, rebalance.dueAt);
  if (sessionsCheckAt !== null) deadline = Math.min(deadline, sessionsCheckAt);
  if (snapshotDueAt !== null) deadline = Math.min(deadline, snapshotDueAt);
  for (const { deadlineAt } of revocations) deadline = Math.min(deadline, deadlineAt);
  return deadline === Infinity ? null : deadline;
}

/** True when the state says no more than `initialGroup`: it may be forgotten. */
export function isGroupGone(state: GroupState): boolean {
  return !state.exists;
}

/** Raised when the meaning of an encoded state changes; other snapshots are then as good as none. */
export const GROUP_STATE_VERSION = 2;

/** The journalled part of a state as it is written. */
export type StoredGroupState = Omit<GroupState, "volatile" | "retry"> & {
  readonly retry: ReturnType<typeof encodeRetries>;
};

/** The journalled part, for snapshots. */
export function encodeGroupState(state: GroupState): StoredGroupState {
  const { volatile: _, retry, ...journalled } = state;
  return { ...journalled, retry: encodeRetries(retry) };
}

/** Reads what `encodeGroupState` made, in this version. Throws a plain Error for anything that is not a state at all. */
export function decodeGroupState(stored: unknown): GroupState {
  const journalled = stored as StoredGroupState | null;
  const names = Object.keys(encodeGroupState(initialGroup("")));
  if (typeof journalled !== "object" || journalled === null) {
    throw new Error("a stored group state is not an object");
  }
  for (const name of names) {
    if (!Object.hasOwn(journalled, name)) throw new Error(`a stored group state lacks ${name}`);
  }
  const retry = decodeRetries(journalled.retry);
  const retries = rebuiltQueue(retry, NO_QUEUE);
  return { ...journalled, retry, volatile: { ...NOTHING_VOLATILE, retries } };
}
