// Owns what time does to a group: sessions that end, graces that are over, rebalances that are due, and restarts.
// Refuses to own timers: the runtime sends Tick when `groupDeadline` has come, or later, or for nothing.
// Invariant: after a Tick nothing is due at its time any more, and nobody was given what it then is asked for again.
import { tellHeldBack } from "./canary/withdraw.ts";
import { handOver, isDynamicSocket, removeMember } from "./decide_membership.ts";
import { rebalance, rebalanceIfEmptied } from "./decide_rebalance.ts";
import { snapshotSchedule, takeDueSnapshot } from "./decide_ledger.ts";
import { Draft, type GroupContext, type GroupDecision } from "./draft.ts";
import { revokingFrom } from "./members.ts";
import { trustedNow } from "./retry/clock.ts";
import { readyRetries } from "./retry/decide_take.ts";
import type { GroupState, Handover } from "./state.ts";
import { entriesOf, lookUp, sortedKeys } from "./table.ts";

export function decideTick(state: GroupState, context: GroupContext): GroupDecision {
  const now = context.at.monotonic;
  const draft = new Draft(state, context);
  const { sessionsCheckAt, revocations, rebalance: scheduled } = state.volatile;
  const sessionsDue = sessionsCheckAt !== null && sessionsCheckAt <= now;
  const revocationsDue = revocations.some(({ deadlineAt }) => deadlineAt <= now);
  const assignsAnew = scheduled !== null && scheduled.dueAt <= now && state.causes !== null;
  if (sessionsDue) endSessions(draft, { now, assignsAnew });
  if (revocationsDue) endGraces(draft, { now, assignsAnew });
  if (draft.state.members.size === 0) rebalanceIfEmptied(draft);
  else if (assignsAnew) rebalance(draft);
  takeDueSnapshot(draft, now);
  readyRetries(draft);
  if (sessionsDue || revocationsDue) {
    const nextCheckAt = earliestDeadline(draft.state);
    draft.remember({ type: "DeadlinesChecked", now, sessionsCheckAt: nextCheckAt });
  }
  return draft.finish(() => null);
}

interface DueWork {
  readonly now: number;
  /** A rebalance follows in the same decision. */
  readonly assignsAnew: boolean;
}

function endSessions(draft: Draft, { now, assignsAnew }: DueWork): void {
  const { sessions } = draft.state.volatile;
  for (const memberId of sortedKeys(sessions)) {
    const { deadlineAt, connections } = lookUp(sessions, memberId)!;
    if (deadlineAt > now) continue;
    const member = lookUp(draft.state.members, memberId)!;
    const reason = connections === 0 && isDynamicSocket(member) ? "disconnected" : "timed out";
    const handovers = lookUp(draft.state.handovers, memberId) ?? [];
    if (assignsAnew) {
      handOver(draft, { from: memberId, handovers: toNobody(handovers), reason: "timed out" });
    }
    removeMember(draft, memberId, reason);
    draft.tell(memberId, { type: "removed", reason });
  }
}

/** Takes what members should have released by now. They may still commit nothing there, so nobody is harmed. */
function endGraces(draft: Draft, { now, assignsAnew }: DueWork): void {
  const due = new Set<number>();
  for (const { generation, deadlineAt } of draft.state.volatile.revocations) {
    if (deadlineAt <= now) due.add(generation);
  }
  for (const memberId of sortedKeys(draft.state.handovers)) {
    const over = lookUp(draft.state.handovers, memberId)!
      .filter(({ generation }) => due.has(generation));
    const handovers = assignsAnew ? toNobody(over) : over;
    handOver(draft, { from: memberId, handovers, reason: "timed out" });
  }
}

/**
 * For a rebalance in the same decision: whoever the old target meant would be given them and at once be asked for them
 * again, without having heard that it had them, and their next owner would wait for another grace.
 */
function toNobody(handovers: readonly Handover[]): Handover[] {
  return handovers.map((handover) => ({ ...handover, to: null }));
}

function earliestDeadline(state: GroupState): number | null {
  let earliest = Infinity;
  for (const [, { deadlineAt }] of entriesOf(state.volatile.sessions)) {
    earliest = Math.min(earliest, deadlineAt);
  }
  return earliest === Infinity ? null : earliest;
}

/**
 * The journal was replayed: every session and every grace starts anew, and what is still to be done is scheduled.
 * Members whose sessions lived through it are told again where they stand, since word to them may have been lost.
 */
export function decideRecovered(state: GroupState, context: GroupContext): GroupDecision {
  const { at: { monotonic: now }, settings } = context;
  const draft = new Draft(state, context);
  rebalanceIfEmptied(draft);
  const memberIds = sortedKeys(draft.state.members);
  draft.remember({
    type: "SessionsRestarted",
    sessions: memberIds.map((memberId) => {
      const member = lookUp(draft.state.members, memberId)!;
      const graceMs = isDynamicSocket(member) ? settings.recoveryGraceMs : member.sessionTimeoutMs;
      return { memberId, deadlineAt: now + graceMs };
    }),
    revocationDeadlineAt: now + settings.revocationGraceMs,
  });
  if (draft.state.retry.entries.size > 0) {
    for (const event of trustedNow(draft.state, context.at).started) draft.remember(event);
  }
  const assigned = new Set(draft.state.target.memberIds);
  if (draft.state.ledger.changed) {
    const unscheduled = {
      ...draft.state,
      volatile: { ...draft.state.volatile, snapshotDueAt: null },
    };
    for (const event of snapshotSchedule(unscheduled, context)) draft.remember(event);
  }
  for (const memberId of memberIds) tellStanding(draft, memberId, assigned.has(memberId));
  return draft.finish(() => null);
}

function tellStanding(draft: Draft, memberId: string, assigned: boolean): void {
  const { paused, generation } = draft.state;
  draft.tell(
    memberId,
    paused === null ? { type: "resumed" } : { type: "paused", reason: paused.reason },
  );
  const partitions = revokingFrom(draft.state, memberId);
  if (partitions.length > 0) draft.tell(memberId, { type: "revoked", generation, partitions });
  if (assigned) draft.tellAssignment(memberId);
  tellHeldBack(draft, memberId);
}
