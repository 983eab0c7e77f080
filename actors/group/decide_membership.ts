// Owns what members do while they are members: heartbeats, releases, departures, lost sockets.
// Refuses to own joins (decide_join.ts), commits (decide_commit.ts) and what time does to members (decide_tick.ts).
// Invariant: a partition goes to its next owner in the same decision in which the last one lets go of it.
import { isHeldBack } from "./canary/state.ts";
import { rebalanceIfEmptied } from "./decide_rebalance.ts";
import { Draft, type GroupContext, type GroupDecision, onlyVolatile } from "./draft.ts";
import type { LeaveReason, PartitionsHandedOver } from "./events.ts";
import { findHandover } from "./evolve_partitions.ts";
import { memberOf, readableBy, seen } from "./members.ts";
import type { GroupState, Handover } from "./state.ts";
import { lookUp } from "./table.ts";
import { partitionSetOf } from "./topic_partitions.ts";
import type { GroupCommand } from "./types.ts";

type Command<T extends GroupCommand["type"]> = Extract<GroupCommand, { type: T }>;

/** Throws UNKNOWN_MEMBER. */
export function decideHeartbeat(
  state: GroupState,
  { memberId }: Command<"Heartbeat">,
  { at }: GroupContext,
): GroupDecision {
  const member = memberOf(state, memberId);
  const { generation, paused, canary } = state;
  return onlyVolatile([seen(member, at)], {
    generation,
    assignment: readableBy(state, memberId),
    paused: paused === null ? null : { reason: paused.reason },
    ...(isHeldBack(canary, member)
      ? { withdrawn: { version: canary!.version, reason: canary!.reason ?? "" } }
      : {}),
  });
}

/** Throws UNKNOWN_MEMBER. */
export function decideLeave(
  state: GroupState,
  { memberId, asker }: Command<"Leave">,
  context: GroupContext,
): GroupDecision {
  memberOf(state, memberId, asker);
  const draft = new Draft(state, context);
  removeMember(draft, memberId, "left");
  rebalanceIfEmptied(draft);
  return draft.finish(() => null);
}

/** What the member was giving up goes to its new owners at once; the rest is free for the rebalance that follows. */
export function removeMember(draft: Draft, memberId: string, reason: LeaveReason): void {
  const handovers = lookUp(draft.state.handovers, memberId) ?? [];
  draft.record({ type: "MemberLeft", v: 1, at: draft.context.at.wall, memberId, reason });
  tellTakers(draft, handovers);
}

/** An unknown member has been removed in the meantime: there is nothing left to do. */
export function decideDisconnected(
  state: GroupState,
  { memberId }: Command<"Disconnected">,
  { at, settings }: GroupContext,
): GroupDecision {
  const member = lookUp(state.members, memberId);
  if (member === undefined) return onlyVolatile([], null);
  const session = lookUp(state.volatile.sessions, memberId);
  // The socket of an earlier session, which closes after the member has come back on another.
  const lives = session !== undefined && (session.connections ?? 1) > 1;
  const deadlineAt = lives ? session.deadlineAt : at.monotonic +
    (isDynamicSocket(member) ? settings.reconnectGraceMs : member.sessionTimeoutMs);
  return onlyVolatile([{ type: "MemberDisconnected", memberId, deadlineAt }], null);
}

/** A member that nothing but its socket speaks for. */
export function isDynamicSocket(
  member: { readonly instanceId: string | null; readonly transport: "websocket" | "http" },
): boolean {
  return member.instanceId === null && member.transport === "websocket";
}

/**
 * Throws UNKNOWN_MEMBER. Partitions that the member was not told to give up stay its own: a release that was under way
 * when its grace ended is no news.
 */
export function decideReleased(
  state: GroupState,
  command: Command<"Released">,
  context: GroupContext,
): GroupDecision {
  const member = memberOf(state, command.memberId);
  const draft = new Draft(state, context);
  const list = lookUp(state.handovers, member.memberId) ?? [];
  const released = new Set<Handover>();
  for (const at of command.partitions) {
    const handover = findHandover(list, at);
    if (handover !== null) released.add(handover);
  }
  handOver(draft, { from: member.memberId, handovers: [...released], reason: "released" });
  draft.remember(seen(member, context.at));
  return draft.finish(() => null);
}

export function handOver(
  draft: Draft,
  { from, handovers, reason }: {
    from: string;
    handovers: readonly Handover[];
    reason: PartitionsHandedOver["reason"];
  },
): void {
  if (handovers.length === 0) return;
  const takers = Map.groupBy(handovers, ({ to }) => to);
  const handed = [...takers].map(([to, given]) => ({ to, partitions: partitionSetOf(given) }));
  const { wall } = draft.context.at;
  draft.record({ type: "PartitionsHandedOver", v: 1, at: wall, from, reason, handed });
  tellTakers(draft, handovers);
}

function tellTakers(draft: Draft, handovers: readonly Handover[]): void {
  for (const { to } of handovers) if (to !== null) draft.tellAssignment(to);
}
