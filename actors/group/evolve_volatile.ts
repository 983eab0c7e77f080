// Owns what sessions and deadlines do to the volatile part of a group's state.
// Refuses to touch anything that is journalled.
// Invariant: `sessionsCheckAt` is never later than the earliest deadline of a session.
import type { GroupVolatileEvent } from "./events.ts";
import { type GroupState, type GroupVolatile, NOTHING_VOLATILE, type Session } from "./state.ts";
import { holds, lookUp, put, tableOf } from "./table.ts";

type Volatile<T extends GroupVolatileEvent["type"]> = Extract<GroupVolatileEvent, { type: T }>;

export function memberConnected(state: GroupState, event: Volatile<"MemberConnected">): GroupState {
  const connections = (lookUp(state.volatile.sessions, event.memberId)?.connections ?? 0) + 1;
  return withSession(state, event.memberId, { deadlineAt: event.deadlineAt, connections });
}

/** After a restart, a member that is heard of has a socket that lived through it. */
export function memberSeen(state: GroupState, event: Volatile<"MemberSeen">): GroupState {
  const connections = lookUp(state.volatile.sessions, event.memberId)?.connections ?? 1;
  return withSession(state, event.memberId, { deadlineAt: event.deadlineAt, connections });
}

export function memberDisconnected(
  state: GroupState,
  event: Volatile<"MemberDisconnected">,
): GroupState {
  const before = lookUp(state.volatile.sessions, event.memberId)?.connections ?? 1;
  const connections = Math.max(0, before - 1);
  return withSession(state, event.memberId, { deadlineAt: event.deadlineAt, connections });
}

function withSession(state: GroupState, memberId: string, session: Session): GroupState {
  if (!holds(state.members, memberId)) return state;
  const { sessions, sessionsCheckAt } = state.volatile;
  const volatile: GroupVolatile = {
    ...state.volatile,
    sessions: put(sessions, memberId, session),
    sessionsCheckAt: Math.min(sessionsCheckAt ?? Infinity, session.deadlineAt),
  };
  return { ...state, volatile };
}

export function deadlinesChecked(
  state: GroupState,
  { now, sessionsCheckAt }: Volatile<"DeadlinesChecked">,
): GroupState {
  const revocations = state.volatile.revocations.filter(({ deadlineAt }) => deadlineAt > now);
  return { ...state, volatile: { ...state.volatile, revocations, sessionsCheckAt } };
}

export function sessionsRestarted(
  state: GroupState,
  event: Volatile<"SessionsRestarted">,
): GroupState {
  const sessions = event.sessions.filter(({ memberId }) => holds(state.members, memberId));
  const generations = new Set<number>();
  for (const bucket of state.handovers.buckets) {
    for (const [, list] of bucket) for (const { generation } of list) generations.add(generation);
  }
  const volatile: GroupVolatile = {
    ...NOTHING_VOLATILE,
    retries: state.volatile.retries,
    sessions: tableOf(
      sessions.map(({ memberId, deadlineAt }) => [memberId, { deadlineAt, connections: null }]),
    ),
    sessionsCheckAt: sessions.length === 0
      ? null
      : sessions.reduce((earliest, { deadlineAt }) => Math.min(earliest, deadlineAt), Infinity),
    revocations: [...generations].sort((a, b) => a - b).map((generation) => ({
      generation,
      deadlineAt: event.revocationDeadlineAt,
    })),
  };
  return { ...state, volatile };
}
