// Owns the offsets that transactions will commit, as part of a group's state: hidden until a transaction has ended.
// Refuses to own deciding (decide_staged.ts).
// Invariant: a transaction that is in the table has not ended.
import type { TopicPartition } from "../broker.ts";
import type { OffsetsDropped, OffsetsStaged } from "./events.ts";
import type { GroupState } from "./state.ts";
import { entriesOf, put, type Table, without } from "./table.ts";

export interface StagedOffsets {
  readonly principal: string;
  readonly offsets: OffsetsStaged["offsets"];
}

export function offsetsStaged(state: GroupState, event: OffsetsStaged): GroupState {
  const { transactionId, principal, offsets } = event;
  return {
    ...state,
    exists: true,
    staged: put(state.staged, transactionId, { principal, offsets }),
  };
}

export function stagedOffsetsEnded(state: GroupState, transactionId: string): GroupState {
  return { ...state, staged: without(state.staged, transactionId) };
}

/** `staged` without the partitions that are no more. */
export function withoutDropped(
  staged: Table<StagedOffsets>,
  { dropped }: Pick<OffsetsDropped, "dropped">,
): Table<StagedOffsets> {
  const from = new Map(dropped.map(({ topic, fromPartition }) => [topic, fromPartition]));
  let kept = staged;
  for (const [transactionId, entry] of entriesOf(staged)) {
    const offsets = entry.offsets.filter(({ topic, partition }) =>
      partition < (from.get(topic) ?? Infinity)
    );
    if (offsets.length < entry.offsets.length) {
      kept = put(kept, transactionId, { ...entry, offsets });
    }
  }
  return kept;
}

/** Partitions whose offset will change when a transaction commits, in no order. */
export function stagedPartitions(state: GroupState): TopicPartition[] {
  const found = new Map<string, TopicPartition>();
  for (const [, { offsets }] of entriesOf(state.staged)) {
    for (const { topic, partition } of offsets) {
      found.set(`${partition}/${topic}`, { topic, partition });
    }
  }
  return [...found.values()];
}
