// Owns what changes of topics and finished handovers do to a group's state.
// Refuses to own new targets (evolve_rebalanced.ts).
// Invariant: what one member loses here and another gains changes hands in one event.
import type { PartitionCountsChanged, PartitionsHandedOver } from "./events.ts";
import { giveAll, withCause, withCounts } from "./evolve_members.ts";
import type { GroupState, Handover } from "./state.ts";
import { entriesOf, lookUp, put, type Table, without } from "./table.ts";
import { lowerBound } from "../../storage/lower_bound.ts";
import { comparePartitions, withoutPartitions } from "./topic_partitions.ts";

export function partitionCountsChanged(
  state: GroupState,
  event: PartitionCountsChanged,
): GroupState {
  const counts = new Map(event.counts.map(({ topic, partitions }) => [topic, partitions]));
  const isGone = (topic: string, partition: number) => partition >= (counts.get(topic) ?? Infinity);
  let { assignments, handovers, causes } = state;
  for (const [memberId, set] of entriesOf(state.assignments)) {
    const kept = withoutPartitions(set, isGone);
    if (kept !== set) assignments = put(assignments, memberId, kept);
  }
  for (const [memberId, list] of entriesOf(state.handovers)) {
    const kept = list.filter(({ topic, partition }) => !isGone(topic, partition));
    handovers = withHandovers(handovers, memberId, kept);
  }
  for (const { topic } of event.counts) {
    causes = withCause(causes, `partitions of ${topic} changed`);
  }
  return withRevocationsIn({
    ...state,
    assignments,
    handovers,
    causes,
    partitionCounts: withCounts(state.partitionCounts, event.counts),
  });
}

export function partitionsHandedOver(state: GroupState, event: PartitionsHandedOver): GroupState {
  const list = lookUp(state.handovers, event.from) ?? [];
  const gone = new Set<Handover>();
  const given: { topic: string; partition: number; to: string | null }[] = [];
  for (const { to, partitions: set } of event.handed) {
    for (const { topic, partitions } of set) {
      for (const partition of partitions) {
        const handover = findHandover(list, { topic, partition });
        if (handover === null) continue;
        gone.add(handover);
        given.push({ topic, partition, to });
      }
    }
  }
  const rest = list.filter((handover) => !gone.has(handover));
  return withRevocationsIn({
    ...state,
    handovers: withHandovers(state.handovers, event.from, rest),
    assignments: giveAll(state.assignments, given),
  });
}

/** `list` is in order. */
export function findHandover(
  list: readonly Handover[],
  at: { readonly topic: string; readonly partition: number },
): Handover | null {
  const found = list[lowerBound(list.length, (i) => comparePartitions(list[i]!, at) < 0)];
  return found?.topic === at.topic && found.partition === at.partition ? found : null;
}

function withHandovers(
  handovers: Table<readonly Handover[]>,
  memberId: string,
  list: readonly Handover[],
): Table<readonly Handover[]> {
  return list.length === 0 ? without(handovers, memberId) : put(handovers, memberId, list);
}

/** With nothing left to be given up, no deadline for it is left either. */
function withRevocationsIn(state: GroupState): GroupState {
  if (state.handovers.size > 0 || state.volatile.revocations.length === 0) return state;
  return { ...state, volatile: { ...state.volatile, revocations: [] } };
}
