// Owns what operators and the broker do to a group's offsets beside commits: snapshots, rollbacks, resets, and writing the
// whole state down.
// Refuses to own commits (decide_commit.ts), and finding out where offsets were (ledger/).
// Invariant: offsets are moved only while nobody reads, and a dry run answers what the real run would.
import { BrokerError } from "../../storage/broker_error.ts";
import { compactOffsets, listCompact } from "./compact_offsets.ts";
import { Draft, type GroupContext, type GroupDecision, onlyVolatile } from "./draft.ts";
import type { GroupVolatileEvent, OffsetsMoved, OffsetsSnapshotTaken } from "./events.ts";
import { refuseUnknownGroup } from "./members.ts";
import { committedAt } from "./offset_table.ts";
import { stagedPartitions } from "./staged_offsets.ts";
import { encodeGroupState, type GroupState } from "./state.ts";
import { containsPartition, partitionSetOf } from "./topic_partitions.ts";
import type {
  GroupCommand,
  MoveReply,
  OffsetChange,
  OffsetsSnapshot,
  OffsetTarget,
} from "./types.ts";

type Command<T extends GroupCommand["type"]> = Extract<GroupCommand, { type: T }>;

/** Throws UNKNOWN_GROUP. */
export function decideSnapshotOffsets(
  state: GroupState,
  { principal }: Command<"SnapshotOffsets">,
  { at }: GroupContext,
): GroupDecision {
  refuseUnknownGroup(state);
  const event = snapshotOf(state, { at: at.wall, principal });
  const { snapshotId, automatic } = event;
  const offsets = listCompact(event.offsets);
  const reply: OffsetsSnapshot = { snapshotId, at: event.at, automatic, principal, offsets };
  return { events: [event], volatile: unscheduled(state), notify: [], reply };
}

/** `principal` null: by the broker itself. */
function snapshotOf(
  state: GroupState,
  { at, principal }: { at: number; principal: string | null },
): OffsetsSnapshotTaken {
  return {
    type: "OffsetsSnapshotTaken",
    v: 1,
    at,
    snapshotId: `s${state.ledger.snapshotsTaken + 1}-${at}`,
    automatic: principal === null,
    principal,
    offsets: compactOffsets(state.offsets),
  };
}

function unscheduled(state: GroupState): GroupVolatileEvent[] {
  return state.volatile.snapshotDueAt === null ? [] : [{ type: "SnapshotScheduled", dueAt: null }];
}

/** What to remember when offsets change: a snapshot is due a while after the first change. */
export function snapshotSchedule(
  state: GroupState,
  { at, settings }: GroupContext,
): GroupVolatileEvent[] {
  const { offsetsSnapshotIntervalMs } = settings;
  if (offsetsSnapshotIntervalMs === 0 || state.volatile.snapshotDueAt !== null) return [];
  return [{ type: "SnapshotScheduled", dueAt: at.monotonic + offsetsSnapshotIntervalMs }];
}

/** Part of a Tick. */
export function takeDueSnapshot(draft: Draft, nowMs: number): void {
  const { state, context: { at } } = draft;
  const { snapshotDueAt } = state.volatile;
  if (snapshotDueAt === null || snapshotDueAt > nowMs) return;
  if (state.ledger.changed) draft.record(snapshotOf(state, { at: at.wall, principal: null }));
  draft.remember({ type: "SnapshotScheduled", dueAt: null });
}

/** Throws UNKNOWN_GROUP, GROUP_NOT_EMPTY, CONCURRENT_TRANSACTIONS, INVALID_REQUEST. */
export function decideMoveOffsets(
  state: GroupState,
  command: Command<"MoveOffsets">,
  context: GroupContext,
): GroupDecision {
  refuseUnknownGroup(state);
  const { dryRun, action, cause, principal, reason } = command;
  const whileRead = refusalWhileRead(state);
  if (whileRead !== null && !dryRun) throw whileRead;
  const changes = changesOf(state, command.targets);
  const refusal = whileRead ?? refusalWhileStaged(state, changes);
  if (refusal !== null && !dryRun) throw refusal;
  const blockedBy = refusal === null ? null : { code: refusal.code, detail: refusal.message };
  const reply: MoveReply = { dryRun, changes, blockedBy };
  if (dryRun || changes.length === 0) return onlyVolatile([], reply);
  refuseTooMany(state, changes, context.settings.maxPartitionsPerGroup);
  const event: OffsetsMoved = {
    type: "OffsetsMoved",
    v: 1,
    at: context.at.wall,
    action,
    cause,
    principal,
    reason,
    generation: state.generation,
    offsets: changes.map(({ topic, partition, from, to }) => ({
      topic,
      partition,
      offset: to,
      previous: from,
    })),
  };
  const draft = new Draft(state, context);
  draft.record(event);
  for (const scheduled of snapshotSchedule(state, context)) draft.remember(scheduled);
  return draft.finish(() => reply);
}

function refusalWhileRead(state: GroupState): BrokerError | null {
  const members = state.members.size;
  if (members === 0 || state.paused !== null) return null;
  return new BrokerError(
    "GROUP_NOT_EMPTY",
    `offsets of group ${state.groupId} cannot be moved while its ${members} members read: pause it first`,
    { groupId: state.groupId, members },
  );
}

function changesOf(state: GroupState, targets: readonly OffsetTarget[]): OffsetChange[] {
  const named = new Set<string>();
  const changes: OffsetChange[] = [];
  for (const target of targets) {
    const { topic, partition, logStartOffset, endOffset } = target;
    const key = `${partition}/${topic}`;
    if (named.has(key)) {
      throw new BrokerError("INVALID_REQUEST", `${topic}/${partition} is named more than once`);
    }
    named.add(key);
    const from = committedAt(state.offsets, target)?.offset ?? null;
    const asked = target.to.kind === "offset"
      ? target.to.offset
      : (from ?? logStartOffset) + target.to.by;
    const to = Math.min(Math.max(asked, logStartOffset), endOffset);
    if (!Number.isSafeInteger(to) || to < 0) {
      throw new BrokerError(
        "INVALID_REQUEST",
        `${asked} is not an offset of ${topic}/${partition}`,
      );
    }
    if (to === from) continue;
    const redeliver = Math.max(0, Math.min(from ?? to, endOffset) - to);
    changes.push({ topic, partition, from, to, redeliver });
  }
  return changes;
}

/** The transaction would undo the move when it commits, or its messages would stand without its offsets. */
function refusalWhileStaged(
  state: GroupState,
  changes: readonly OffsetChange[],
): BrokerError | null {
  if (state.staged.size === 0) return null;
  const staged = partitionSetOf(stagedPartitions(state));
  const change = changes.find((at) => containsPartition(staged, at));
  if (change === undefined) return null;
  const { topic, partition } = change;
  return new BrokerError(
    "CONCURRENT_TRANSACTIONS",
    `an open transaction is to commit the offset of partition ${partition} of ${topic}: try again when it has ended`,
    { groupId: state.groupId, topic, partition },
  );
}

function refuseTooMany(state: GroupState, changes: readonly OffsetChange[], max: number): void {
  const offsets = state.offsets.size + changes.filter(({ from }) => from === null).length;
  if (offsets <= max) return;
  throw new BrokerError(
    "INVALID_REQUEST",
    `group ${state.groupId} would have offsets for ${offsets} partitions, more than ${max}`,
    { groupId: state.groupId, offsets, maxPartitionsPerGroup: max },
  );
}

/** A group that does not exist has nothing to write down. */
export function decideRecordState(state: GroupState, { at }: GroupContext): GroupDecision {
  if (!state.exists) return onlyVolatile([], null);
  const event = {
    type: "StateRecorded" as const,
    v: 1 as const,
    at: at.wall,
    state: encodeGroupState(state),
  };
  return { events: [event], volatile: [], notify: [], reply: null };
}

export function decideCompleteJournal(
  { fromOffset }: Command<"CompleteJournal">,
  { at }: GroupContext,
): GroupDecision {
  const event = { type: "JournalCompleted" as const, v: 1 as const, at: at.wall, fromOffset };
  return { events: [event], volatile: [], notify: [], reply: null };
}
