// Owns what operators and the topic catalog do to a group: pause, resume, delete, describe, changes of topics.
// Refuses to own what users of a topic do to it.
// Invariant: none of these moves a partition; what must move is left to the rebalance that it schedules.
import { BrokerError } from "../../storage/broker_error.ts";
import type { TopicPartition } from "../broker.ts";
import { compactOffsets, offsetsFrom } from "./compact_offsets.ts";
import { describeGroup } from "./describe.ts";
import { Draft, type GroupContext, type GroupDecision, onlyVolatile } from "./draft.ts";
import type { OffsetsDropped, TopicCount } from "./events.ts";
import { readableBy, refuseUnknownGroup, revokingFrom, subscribedTopics } from "./members.ts";
import { lastPartitions } from "./offset_table.ts";
import { lastRetries } from "./retry/state.ts";
import { stagedPartitions } from "./staged_offsets.ts";
import type { GroupState } from "./state.ts";
import { entriesOf, lookUp, sortedKeys } from "./table.ts";
import type { GroupCommand, GroupNotification, PartitionCounts } from "./types.ts";

type Command<T extends GroupCommand["type"]> = Extract<GroupCommand, { type: T }>;

/** Throws UNKNOWN_GROUP. Paused again with another reason, it keeps the time since when it is paused. */
export function decidePause(
  state: GroupState,
  { reason, principal }: Command<"Pause">,
  context: GroupContext,
): GroupDecision {
  refuseUnknownGroup(state);
  if (state.paused?.reason === reason) return onlyVolatile([], null);
  const draft = new Draft(state, context);
  draft.record({ type: "GroupPaused", v: 1, at: context.at.wall, reason, principal });
  tellAll(draft, { type: "paused", reason });
  return draft.finish(() => null);
}

/** Throws UNKNOWN_GROUP. */
export function decideResume(
  state: GroupState,
  { principal }: Command<"Resume">,
  context: GroupContext,
): GroupDecision {
  refuseUnknownGroup(state);
  if (state.paused === null) return onlyVolatile([], null);
  const draft = new Draft(state, context);
  draft.record({ type: "GroupResumed", v: 1, at: context.at.wall, principal });
  tellAll(draft, { type: "resumed" });
  return draft.finish(() => null);
}

function tellAll(draft: Draft, notification: GroupNotification): void {
  for (const memberId of sortedKeys(draft.state.members)) draft.tell(memberId, notification);
}

/** Throws UNKNOWN_GROUP, GROUP_NOT_EMPTY, CONCURRENT_TRANSACTIONS. */
export function decideDelete(
  state: GroupState,
  { principal }: Command<"DeleteGroup">,
  context: GroupContext,
): GroupDecision {
  refuseUnknownGroup(state);
  const members = state.members.size;
  if (members > 0) {
    throw new BrokerError(
      "GROUP_NOT_EMPTY",
      `group ${state.groupId} cannot be deleted while it has ${members} members`,
      { groupId: state.groupId, members },
    );
  }
  refuseUnwritten(state);
  refuseStaged(state);
  const draft = new Draft(state, context);
  const offsets = compactOffsets(state.offsets);
  const who = principal === undefined ? {} : { principal };
  draft.record({ type: "GroupDeleted", v: 1, at: context.at.wall, ...who, offsets });
  return draft.finish(() => null);
}

/** A transaction that commits would leave its messages without its offsets. */
function refuseStaged({ groupId, staged }: GroupState): void {
  if (staged.size === 0) return;
  throw new BrokerError(
    "CONCURRENT_TRANSACTIONS",
    `group ${groupId} has offsets that an open transaction is to commit: try again when it has ended`,
    { groupId, transactions: staged.size },
  );
}

/** With the group its dead letters would be gone. They are written within moments, unless the disk is full. */
function refuseUnwritten({ groupId, retry: { outboxSize } }: GroupState): void {
  if (outboxSize === 0) return;
  throw new BrokerError(
    "GROUP_NOT_EMPTY",
    `group ${groupId} cannot be deleted before its ${outboxSize} dead letters are written`,
    { groupId, deadLetters: outboxSize },
  );
}

/** Throws UNKNOWN_GROUP. */
export function decideDescribe(state: GroupState, { at }: GroupContext): GroupDecision {
  refuseUnknownGroup(state);
  return onlyVolatile([], describeGroup(state, at));
}

/** A group that is not concerned, or does not exist, is left as it is. */
export function decidePartitionsChanged(
  state: GroupState,
  command: Command<"PartitionsChanged">,
  context: GroupContext,
): GroupDecision {
  // A topic that nobody subscribes to any more is still held until the rebalance that is on its way.
  const used = subscribedTopics(state);
  for (const [topic] of entriesOf(state.partitionCounts)) used.add(topic);
  const told = new Set(command.topics ?? [...used, ...Object.keys(command.partitionCounts)]);
  const changed = changedCounts(state, [...used].filter((topic) => told.has(topic)), command);
  const dropped = droppedOffsets(state, told, command);
  const draft = new Draft(state, context);
  const at = context.at.wall;
  if (changed.length > 0) {
    tellGone(draft, changed);
    draft.record({ type: "PartitionCountsChanged", v: 1, at, counts: changed });
  }
  if (dropped.length > 0) {
    const offsets = offsetsFrom(compactOffsets(state.offsets), dropped);
    draft.record({ type: "OffsetsDropped", v: 1, at, dropped, offsets });
  }
  return draft.finish(() => null);
}

function countOf(counts: PartitionCounts, topic: string): number {
  return Object.hasOwn(counts, topic) ? counts[topic]! : 0;
}

function changedCounts(
  state: GroupState,
  topics: readonly string[],
  { partitionCounts }: Command<"PartitionsChanged">,
): TopicCount[] {
  return topics.toSorted()
    .map((topic) => ({ topic, partitions: countOf(partitionCounts, topic) }))
    .filter(({ topic, partitions }) => partitions !== (lookUp(state.partitionCounts, topic) ?? 0));
}

function droppedOffsets(
  state: GroupState,
  told: ReadonlySet<string>,
  { partitionCounts }: Command<"PartitionsChanged">,
): OffsetsDropped["dropped"][number][] {
  const dropped = new Map<string, number>();
  const known = [
    ...lastPartitions(state.offsets),
    ...stagedPartitions(state),
    ...lastRetries(state.retry),
  ];
  for (const { topic, partition } of known) {
    const fromPartition = countOf(partitionCounts, topic);
    if (told.has(topic) && partition >= fromPartition) dropped.set(topic, fromPartition);
  }
  return [...dropped].map(([topic, fromPartition]) => ({ topic, fromPartition }));
}

/** Partitions that are no more are not waited for, but their members should stop asking for them. */
function tellGone(draft: Draft, changed: readonly TopicCount[]): void {
  const { state } = draft;
  const counts = new Map(changed.map(({ topic, partitions }) => [topic, partitions]));
  const isGone = ({ topic, partition }: TopicPartition) =>
    partition >= (counts.get(topic) ?? Infinity);
  for (const memberId of sortedKeys(state.members)) {
    const owned = [...readableBy(state, memberId), ...revokingFrom(state, memberId)];
    const partitions = owned.filter(isGone);
    if (partitions.length === 0) continue;
    draft.tell(memberId, { type: "revoked", generation: state.generation, partitions });
  }
}
