// Owns what joins, returns and departures do to a group's state.
// Refuses to own the new assignment that follows them (evolve_rebalanced.ts).
// Invariant: a member that leaves owns nothing any more, and nobody waits for it or is waited for on its behalf.
import { changesSides } from "./canary/state.ts";
import type { MemberJoined, MemberLeft, MemberUpdated, TopicCount } from "./events.ts";
import type { GroupState, Handover, RebalanceCauses } from "./state.ts";
import { emptyTable, entriesOf, lookUp, put, type Table, without } from "./table.ts";
import { NO_PARTITIONS, withPartitions } from "./topic_partitions.ts";
import type { Member } from "./types.ts";

/** Causes told in words; a fleet of thousands that joins must not make a cause of a hundred kilobytes. */
const MAX_LISTED_CAUSES = 3;

export function withCause(causes: RebalanceCauses | null, cause: string): RebalanceCauses {
  const { listed, more } = causes ?? { listed: [], more: 0 };
  return listed.length < MAX_LISTED_CAUSES
    ? { listed: [...listed, cause], more }
    : { listed, more: more + 1 };
}

export function withCounts(table: Table<number>, counts: readonly TopicCount[]): Table<number> {
  let changed = table;
  for (const { topic, partitions } of counts) {
    changed = partitions > 0 ? put(changed, topic, partitions) : without(changed, topic);
  }
  return changed;
}

export function memberJoined(state: GroupState, event: MemberJoined): GroupState {
  const { memberId } = event.member;
  return {
    ...state,
    exists: true,
    assignor: event.assignor,
    members: put(state.members, memberId, event.member),
    assignments: put(state.assignments, memberId, NO_PARTITIONS),
    partitionCounts: withCounts(state.partitionCounts, event.counts),
    causes: withCause(state.causes, `member joined: ${memberId}`),
  };
}

export function memberUpdated(state: GroupState, event: MemberUpdated): GroupState {
  const before = lookUp(state.members, event.memberId);
  if (before === undefined) return state;
  const { memberId } = event.member;
  const renamed = memberId === event.memberId
    ? state
    : renameMember(state, event.memberId, memberId);
  const sameTopics = before.topics.length === event.member.topics.length &&
    before.topics.every((topic, i) => topic === event.member.topics[i]);
  return {
    ...renamed,
    members: put(renamed.members, memberId, event.member),
    partitionCounts: withCounts(renamed.partitionCounts, event.counts),
    causes: causesOfUpdate(renamed, before, { ...event, sameTopics }),
  };
}

function causesOfUpdate(
  { causes, canary }: GroupState,
  before: Member,
  { member, sameTopics }: { member: Member; sameTopics: boolean },
): RebalanceCauses | null {
  const { memberId, version } = member;
  const known = sameTopics ? causes : withCause(causes, `subscription of ${memberId} changed`);
  if (!changesSides(canary, before, member)) return known;
  return withCause(known, `version of ${memberId} is now ${version ?? "unknown"}`);
}

/** Wherever `from` stands, `to` stands; the session is not passed on, the new one has its own. */
function renameMember(state: GroupState, from: string, to: string): GroupState {
  const own = lookUp(state.handovers, from);
  let handovers = retarget(state.handovers, from, to);
  if (own !== undefined) {
    const list = lookUp(handovers, from)!;
    handovers = put(without(handovers, from), to, list);
  }
  const assignment = lookUp(state.assignments, from) ?? NO_PARTITIONS;
  return {
    ...state,
    members: without(state.members, from),
    assignments: put(without(state.assignments, from), to, assignment),
    handovers,
    target: {
      ...state.target,
      memberIds: state.target.memberIds.map((memberId) => memberId === from ? to : memberId),
    },
    volatile: { ...state.volatile, sessions: without(state.volatile.sessions, from) },
  };
}

function retarget(
  handovers: Table<readonly Handover[]>,
  from: string,
  to: string | null,
): Table<readonly Handover[]> {
  let changed = handovers;
  for (const [memberId, list] of entriesOf(handovers)) {
    if (!list.some((handover) => handover.to === from)) continue;
    const renamed = list.map((handover) => handover.to === from ? { ...handover, to } : handover);
    changed = put(changed, memberId, renamed);
  }
  return changed;
}

export function memberLeft(state: GroupState, event: MemberLeft): GroupState {
  const { memberId } = event;
  if (lookUp(state.members, memberId) === undefined) return state;
  const given = lookUp(state.handovers, memberId) ?? [];
  const members = without(state.members, memberId);
  const assignments = giveAll(without(state.assignments, memberId), given);
  const handovers = retarget(without(state.handovers, memberId), memberId, null);
  const sessions = without(state.volatile.sessions, memberId);
  const rest = { ...state, members, assignments, handovers };
  if (members.size > 0) {
    const volatile = { ...state.volatile, sessions };
    return {
      ...rest,
      volatile: handovers.size === 0 ? { ...volatile, revocations: [] } : volatile,
      causes: withCause(state.causes, `member ${event.reason}: ${memberId}`),
    };
  }
  // The last one: nothing is to be assigned any more, unless an assignment is to be taken back for the record.
  return {
    ...rest,
    partitionCounts: emptyTable(),
    causes: state.target.memberIds.length === 0
      ? null
      : withCause(state.causes, `member ${event.reason}: ${memberId}`),
    volatile: {
      ...state.volatile,
      sessions,
      sessionsCheckAt: null,
      rebalance: null,
      revocations: [],
    },
  };
}

/** Assignments with what `given` has for members that are still there. */
export function giveAll(
  assignments: GroupState["assignments"],
  given: readonly Pick<Handover, "topic" | "partition" | "to">[],
): GroupState["assignments"] {
  const byTaker = new Map<string, { topic: string; partition: number }[]>();
  for (const { topic, partition, to } of given) {
    if (to === null) continue;
    const known = byTaker.get(to);
    if (known === undefined) byTaker.set(to, [{ topic, partition }]);
    else known.push({ topic, partition });
  }
  let changed = assignments;
  for (const [taker, partitions] of byTaker) {
    const has = lookUp(changed, taker);
    if (has !== undefined) changed = put(changed, taker, withPartitions(has, partitions));
  }
  return changed;
}
