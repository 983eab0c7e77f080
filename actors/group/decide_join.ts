// Owns joins: new members, members that come back, static members that come back under another id.
// Refuses to own the assignment that follows.
// Invariant: a member that comes back with the same topics causes no rebalance and loses nothing.
import { BrokerError } from "../../storage/broker_error.ts";
import { mayActOn, ownerFor } from "../ownership.ts";
import { tellHeldBack } from "./canary/withdraw.ts";
import { Draft, type GroupContext, type GroupDecision } from "./draft.ts";
import type { TopicCount } from "./events.ts";
import { readableBy, revokingFrom } from "./members.ts";
import type { GroupSettings } from "./settings.ts";
import type { GroupState } from "./state.ts";
import { entriesOf, lookUp } from "./table.ts";
import type { GroupCommand, JoinReply, Member } from "./types.ts";

type Join = Extract<GroupCommand, { type: "Join" }>;

interface Arrival {
  readonly topics: readonly string[];
  /** Of these, the counts that the group does not know, or knows smaller. */
  readonly counts: readonly TopicCount[];
}

/** Throws FORBIDDEN, INCONSISTENT_ASSIGNOR, OVERLOADED (as many members as may be), INVALID_REQUEST (too many partitions). */
export function decideJoin(state: GroupState, command: Join, context: GroupContext): GroupDecision {
  refuseOtherAssignor(state, command);
  const topics = [...new Set(command.topics)].sort();
  const arrival = { topics, counts: raisedCounts(state, topics, command) };
  refuseTooManyPartitions(state, arrival, context.settings);
  const draft = new Draft(state, context);
  const returning = returningMember(state, command);
  const memberId = returning === null
    ? joinAnew(draft, command, arrival)
    : comeBack(draft, { command, arrival, returning });
  const { at } = context;
  const deadlineAt = at.monotonic + command.sessionTimeoutMs;
  draft.remember({ type: "MemberConnected", memberId, deadlineAt });
  if (state.paused !== null) draft.tell(memberId, { type: "paused", reason: state.paused.reason });
  tellHeldBack(draft, memberId);
  return draft.finish((after): JoinReply => ({
    memberId,
    generation: after.generation,
    assignment: readableBy(after, memberId),
    resumed: returning !== null,
  }));
}

function refuseOtherAssignor(state: GroupState, { assignor }: Join): void {
  if (state.members.size === 0 || assignor === undefined || assignor === state.assignor) return;
  throw new BrokerError(
    "INCONSISTENT_ASSIGNOR",
    `group ${state.groupId} is assigned by ${state.assignor}, a member wants ${assignor}`,
    { groupId: state.groupId, assignor: state.assignor, requested: assignor },
  );
}

/**
 * The member that this join continues. By memberId, unless it names another instanceId than that member has, or the member
 * is another's; by newMemberId, when the same join is sent again; by instanceId. Throws FORBIDDEN for an instanceId of
 * another's member, which would lose its place.
 */
function returningMember(state: GroupState, command: Join): Member | null {
  const { instanceId, asker } = command;
  const named = lookUp(state.members, command.memberId ?? command.newMemberId) ??
    lookUp(state.members, command.newMemberId);
  const isMeant = named !== undefined && mayActOn(named.owner, asker) &&
    (instanceId === undefined || named.instanceId === instanceId);
  if (isMeant) return named;
  if (instanceId === undefined) return null;
  for (const [, member] of entriesOf(state.members)) {
    if (member.instanceId !== instanceId) continue;
    if (mayActOn(member.owner, asker)) return member;
    throw new BrokerError(
      "FORBIDDEN",
      `instanceId ${instanceId} is that of a member of another principal`,
      { groupId: state.groupId, instanceId },
    );
  }
  return null;
}

/**
 * A join only ever adds or raises counts: it may have been made before a change of topics that the group has heard of
 * since. What shrinks or goes is told by PartitionsChanged.
 */
function raisedCounts(state: GroupState, topics: readonly string[], command: Join): TopicCount[] {
  const raised: TopicCount[] = [];
  for (const topic of topics) {
    if (!Object.hasOwn(command.partitionCounts, topic)) continue;
    const partitions = command.partitionCounts[topic]!;
    if (partitions > (lookUp(state.partitionCounts, topic) ?? 0)) {
      raised.push({ topic, partitions });
    }
  }
  return raised;
}

function refuseTooManyPartitions(
  state: GroupState,
  { counts }: Arrival,
  { maxPartitionsPerGroup }: GroupSettings,
): void {
  if (counts.length === 0) return;
  let partitions = 0;
  for (const [, count] of entriesOf(state.partitionCounts)) partitions += count;
  for (const { topic, partitions: count } of counts) {
    partitions += count - (lookUp(state.partitionCounts, topic) ?? 0);
  }
  if (partitions <= maxPartitionsPerGroup) return;
  throw new BrokerError(
    "INVALID_REQUEST",
    `the join would give group ${state.groupId} ${partitions} partitions, more than ${maxPartitionsPerGroup}`,
    { groupId: state.groupId, partitions, maxPartitionsPerGroup },
  );
}

function joinAnew(draft: Draft, command: Join, { topics, counts }: Arrival): string {
  const { state, context: { at, settings } } = draft;
  if (state.members.size >= settings.maxMembers) {
    throw new BrokerError(
      "OVERLOADED",
      `group ${state.groupId} has ${state.members.size} members, no more are let in`,
      { groupId: state.groupId, maxMembers: settings.maxMembers },
    );
  }
  const memberId = command.newMemberId;
  const owner = ownerFor(command.asker);
  const member: Member = {
    memberId,
    clientId: command.clientId ?? null,
    instanceId: command.instanceId ?? null,
    topics,
    sessionTimeoutMs: command.sessionTimeoutMs,
    transport: command.transport,
    joinedAt: at.wall,
    ...(owner === null ? {} : { owner }),
    ...(command.version === undefined ? {} : { version: command.version }),
  };
  const assignor = state.members.size > 0 ? state.assignor : command.assignor ?? "sticky";
  draft.record({ type: "MemberJoined", v: 1, at: at.wall, member, assignor, counts });
  waitForTheFleet(draft);
  return memberId;
}

/** Until a group has its first assignment, each join puts it off, within a bound: a fleet is assigned once. */
function waitForTheFleet(draft: Draft): void {
  const { state: { target, volatile: { rebalance } }, context: { at, settings } } = draft;
  if (rebalance === null || target.memberIds.length > 0) return;
  const { latestAt } = rebalance;
  const dueAt = Math.min(latestAt, at.monotonic + settings.initialRebalanceDelayMs);
  draft.remember({ type: "RebalanceScheduled", dueAt, latestAt });
}

function comeBack(
  draft: Draft,
  { command, arrival, returning }: { command: Join; arrival: Arrival; returning: Member },
): string {
  const { at } = draft.context;
  const named = returning.memberId === command.memberId ||
    returning.memberId === command.newMemberId;
  const owner = returning.owner ?? ownerFor(command.asker);
  // It may have been deployed anew meanwhile.
  const { version: _, ...lasting } = returning;
  const member: Member = {
    ...lasting,
    ...(owner === null ? {} : { owner }),
    memberId: named ? returning.memberId : command.newMemberId,
    clientId: command.clientId ?? returning.clientId,
    topics: arrival.topics,
    sessionTimeoutMs: command.sessionTimeoutMs,
    transport: command.transport,
    ...(command.version === undefined ? {} : { version: command.version }),
  };
  const resubscribed = JSON.stringify(member.topics) !== JSON.stringify(returning.topics);
  if (JSON.stringify(member) !== JSON.stringify(returning)) {
    const counts = resubscribed ? arrival.counts : [];
    const { memberId } = returning;
    draft.record({ type: "MemberUpdated", v: 1, at: at.wall, memberId, member, counts });
  }
  if (!resubscribed && arrival.counts.length > 0) {
    const { counts } = arrival;
    draft.record({ type: "PartitionCountsChanged", v: 1, at: at.wall, counts });
  }
  if (member.memberId !== returning.memberId) {
    const reason = `replaced by a member with the same instanceId ${member.instanceId}`;
    draft.tell(returning.memberId, { type: "removed", reason });
  }
  tellRevokedAgain(draft, member.memberId);
  return member.memberId;
}

/** A new session does not know what the one before it was told to give up. */
function tellRevokedAgain(draft: Draft, memberId: string): void {
  const partitions = revokingFrom(draft.state, memberId);
  if (partitions.length === 0) return;
  draft.tell(memberId, { type: "revoked", generation: draft.state.generation, partitions });
}
