// Owns what a new target does to a group's state: what is kept, what is given at once, what must be given up first.
// Refuses to own the target itself (assignors.ts) and telling members of it (decide_rebalance.ts).
// Invariant: nothing that a member holds is taken here, it is only asked for; nothing that stays is asked for.
import { type Assignment, movesBetween, ownerFinder } from "./assignment.ts";
import type { Rebalanced } from "./events.ts";
import { subscribedTopics } from "./members.ts";
import type { GroupState, Handover, MovedPartitions, RebalanceRecord } from "./state.ts";
import { entriesOf, type Table, tableOf } from "./table.ts";
import { comparePartitions, type PartitionSet, PartitionSetBuilder } from "./topic_partitions.ts";
import type { PartitionMove } from "./types.ts";

export function rebalanced(state: GroupState, event: Rebalanced): GroupState {
  const { target } = event;
  const holders = holdersOf(state);
  // Also of those that wait since only members subscribe to them who get nothing for now.
  const known = subscribedTopics(state);
  for (const { topic } of target.topics) known.add(topic);
  return {
    ...state,
    generation: event.generation,
    target,
    causes: null,
    partitionCounts: tableOf(
      [...entriesOf(state.partitionCounts)].filter(([topic]) => known.has(topic)),
    ),
    assignments: assignmentsAfter(state, target, holders),
    handovers: handoversAfter(state, event, holders),
    rebalances: [...keptRecords(state, event), recordOf(state, event)],
    volatile: { ...state.volatile, rebalance: null },
  };
}

/** Marks a partition that somebody is giving up. */
const IN_HANDOVER = Symbol("in handover");
type Holders = ReadonlyMap<string, (string | typeof IN_HANDOVER | undefined)[]>;

function holdersOf(state: GroupState): Holders {
  const holders = new Map<string, (string | typeof IN_HANDOVER | undefined)[]>();
  const mark = (topic: string, partition: number, holder: string | typeof IN_HANDOVER) => {
    let ofTopic = holders.get(topic);
    if (ofTopic === undefined) holders.set(topic, ofTopic = []);
    ofTopic[partition] = holder;
  };
  for (const [memberId, set] of entriesOf(state.assignments)) {
    for (const { topic, partitions } of set) {
      for (const partition of partitions) mark(topic, partition, memberId);
    }
  }
  for (const [, list] of entriesOf(state.handovers)) {
    for (const { topic, partition } of list) mark(topic, partition, IN_HANDOVER);
  }
  return holders;
}

/** What is free or already theirs, by the target. */
function assignmentsAfter(
  state: GroupState,
  target: Assignment,
  holders: Holders,
): Table<PartitionSet> {
  const builders = new Map<string, PartitionSetBuilder>();
  for (const [memberId] of entriesOf(state.members)) {
    builders.set(memberId, new PartitionSetBuilder());
  }
  for (const { topic, owners } of target.topics) {
    const ofTopic = holders.get(topic) ?? [];
    owners.forEach((index, partition) => {
      const owner = target.memberIds[index]!;
      const holder = ofTopic[partition];
      if (holder === undefined || holder === owner) builders.get(owner)?.add(topic, partition);
    });
  }
  return tableOf([...builders].map(([memberId, builder]) => [memberId, builder.build()]));
}

/** What was being given up still is, perhaps for another; what the target gives to another now is as well. */
function handoversAfter(
  state: GroupState,
  { target, generation }: Rebalanced,
  holders: Holders,
): Table<readonly Handover[]> {
  const ownerOf = ownerFinder(target);
  const lists = new Map<string, Handover[]>();
  for (const [memberId, list] of entriesOf(state.handovers)) {
    const retargeted = list.map((handover) => ({
      ...handover,
      to: ownerOf(handover.topic, handover.partition),
    }));
    lists.set(memberId, retargeted);
  }
  for (const [topic, ofTopic] of holders) {
    ofTopic.forEach((holder, partition) => {
      if (typeof holder !== "string") return;
      const to = ownerOf(topic, partition);
      if (to === holder) return;
      const handover = { topic, partition, to, generation };
      const list = lists.get(holder);
      if (list === undefined) lists.set(holder, [handover]);
      else list.push(handover);
    });
  }
  return tableOf([...lists].map(([memberId, list]) => [memberId, list.sort(comparePartitions)]));
}

function keptRecords(state: GroupState, event: Rebalanced): readonly RebalanceRecord[] {
  return state.rebalances.slice(Math.max(0, state.rebalances.length - event.rebalancesKept));
}

function recordOf(state: GroupState, event: Rebalanced): RebalanceRecord {
  return {
    generation: event.generation,
    at: event.at,
    cause: event.cause,
    members: event.target.memberIds.length,
    moved: grouped(movesBetween(state.target, event.target)),
  };
}

function grouped(moves: readonly PartitionMove[]): MovedPartitions[] {
  const groups = new Map<string, MovedPartitions & { partitions: number[] }>();
  for (const { topic, partition, from, to } of moves) {
    const key = JSON.stringify([topic, from, to]);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { topic, from, to, partitions: [partition] });
    else group.partitions.push(partition);
  }
  return [...groups.values()];
}
