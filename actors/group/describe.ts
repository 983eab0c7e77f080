// Owns how a group is shown.
// Refuses to own any change, and what users may see.
// Invariant: what is shown is what is journalled, but for when a member's session would end.
import { describeCanary } from "./canary/describe.ts";
import { topicsWithRetries } from "./retry/state.ts";
import { readableBy, revokingFrom, subscribedTopics } from "./members.ts";
import { listOffsets, topicsWithOffsets } from "./offset_table.ts";
import type { GroupState, RebalanceRecord } from "./state.ts";
import { stagedPartitions } from "./staged_offsets.ts";
import { lookUp, sortedKeys } from "./table.ts";
import type { At, GroupDescription, GroupPhase, GroupSummary, Rebalance } from "./types.ts";

/** `preparing`: a rebalance is on its way, or partitions are still being given up for the last one. */
export function phaseOf(state: GroupState): GroupPhase {
  if (state.members.size === 0) return "empty";
  return state.causes !== null || state.handovers.size > 0 ? "preparing" : "stable";
}

export function summarizeGroup(state: GroupState): GroupSummary {
  const { groupId, generation, members, tenant } = state;
  const summary = { groupId, state: phaseOf(state), generation, members: members.size };
  return tenant === undefined ? summary : { ...summary, tenant };
}

/** Members by id, offsets by topic and partition, rebalances oldest first. */
export function describeGroup(state: GroupState, at: At): GroupDescription {
  const { groupId, generation, assignor, paused } = state;
  return {
    groupId,
    state: phaseOf(state),
    generation,
    assignor,
    paused,
    canary: describeCanary(state, at.wall),
    members: sortedKeys(state.members).map((memberId) => ({
      ...lookUp(state.members, memberId)!,
      assignment: readableBy(state, memberId),
      revoking: revokingFrom(state, memberId),
      sessionEndsAt: sessionEnd(state, memberId, at),
    })),
    offsets: listOffsets(state.offsets),
    retries: describeRetries(state),
    staged: stagedPartitions(state),
    rebalances: state.rebalances.map(inFull),
  };
}

/** Wall ms; null where no session is known. */
function sessionEnd(state: GroupState, memberId: string, at: At): number | null {
  const session = lookUp(state.volatile.sessions, memberId);
  return session === undefined ? null : Math.round(at.wall + session.deadlineAt - at.monotonic);
}

function describeRetries({ retry, volatile: { retries } }: GroupState) {
  return {
    waiting: retry.entries.size - retries.taken.size,
    inHand: retries.taken.size,
    deadLettersToWrite: retry.outboxSize,
  };
}

function inFull(record: RebalanceRecord): Rebalance {
  const moved = record.moved.flatMap(({ topic, from, to, partitions }) =>
    partitions.map((partition) => ({ topic, partition, from, to }))
  );
  return { ...record, moved };
}

/** Topics whose partition counts matter to the group: those subscribed to, those with offsets, staged or not, those with retries. In order. */
export function topicsOfGroup(state: GroupState): string[] {
  const staged = stagedPartitions(state).map(({ topic }) => topic);
  const topics = [
    ...subscribedTopics(state),
    ...topicsWithOffsets(state.offsets),
    ...staged,
    ...topicsWithRetries(state.retry),
  ];
  return [...new Set(topics)].sort();
}
