// Owns questions about the members of a group that several decisions ask.
// Refuses to own any change.
// Invariant: none of them is slower than what it reads.
import { BrokerError } from "../../storage/broker_error.ts";
import type { TopicPartition } from "../broker.ts";
import { type Asker, mayActOn } from "../ownership.ts";
import type { GroupVolatileEvent } from "./events.ts";
import { findHandover } from "./evolve_partitions.ts";
import type { GroupState } from "./state.ts";
import { entriesOf, lookUp } from "./table.ts";
import { containsPartition, listPartitions, NO_PARTITIONS } from "./topic_partitions.ts";
import type { At, Member } from "./types.ts";
import { unknownGroup } from "./unknown_group.ts";

/** Throws UNKNOWN_MEMBER, also for a member on which `asker` may not act. */
export function memberOf(state: GroupState, memberId: string, asker?: Asker): Member {
  const member = lookUp(state.members, memberId);
  if (member !== undefined && mayActOn(member.owner, asker)) return member;
  throw new BrokerError(
    "UNKNOWN_MEMBER",
    `group ${state.groupId} has no member ${memberId}; it may have been removed: join again`,
    { groupId: state.groupId, memberId },
  );
}

/** Throws UNKNOWN_GROUP. */
export function refuseUnknownGroup(state: GroupState): void {
  if (state.exists) return;
  throw unknownGroup(state.groupId);
}

/** Throws STALE_GENERATION. */
export function refuseOtherGeneration(
  state: GroupState,
  { generation }: { readonly generation?: number },
): void {
  if (generation === undefined || generation === state.generation) return;
  throw new BrokerError(
    "STALE_GENERATION",
    `generation ${generation} was named, group ${state.groupId} is in ${state.generation}`,
    { groupId: state.groupId, generation: state.generation, requested: generation },
  );
}

/** Throws STALE_GENERATION. */
export function refuseNotOwned(
  state: GroupState,
  member: Member,
  entry: TopicPartition,
): void {
  if (owns(state, member.memberId, entry)) return;
  const { topic, partition } = entry;
  throw new BrokerError(
    "STALE_GENERATION",
    `member ${member.memberId} does not own partition ${partition} of ${topic} in generation ${state.generation}`,
    { groupId: state.groupId, generation: state.generation, topic, partition },
  );
}

/** True also while the member is giving the partition up. */
export function owns(state: GroupState, memberId: string, at: TopicPartition): boolean {
  const assignment = lookUp(state.assignments, memberId);
  if (assignment !== undefined && containsPartition(assignment, at)) return true;
  const handovers = lookUp(state.handovers, memberId);
  return handovers !== undefined && findHandover(handovers, at) !== null;
}

/** What the member may read now. */
export function readableBy(state: GroupState, memberId: string): TopicPartition[] {
  return listPartitions(lookUp(state.assignments, memberId) ?? NO_PARTITIONS);
}

/** What the member was told to give up and still holds. */
export function revokingFrom(state: GroupState, memberId: string): TopicPartition[] {
  return (lookUp(state.handovers, memberId) ?? [])
    .map(({ topic, partition }) => ({ topic, partition }));
}

/** Its session starts again from now. */
export function seen(member: Member, at: At): GroupVolatileEvent {
  const deadlineAt = at.monotonic + member.sessionTimeoutMs;
  return { type: "MemberSeen", memberId: member.memberId, deadlineAt };
}

/** Topics that members subscribe to, whether they exist or not. */
export function subscribedTopics(state: GroupState): Set<string> {
  const topics = new Set<string>();
  for (const [, member] of entriesOf(state.members)) {
    for (const topic of member.topics) topics.add(topic);
  }
  return topics;
}
