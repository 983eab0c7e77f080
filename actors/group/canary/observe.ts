// Owns what is counted of a canary and of the rest, from the events of the group: answered, nacked, dead, lost.
// Refuses to own what happened (the deciders) and what the counts mean (judge.ts).
// Invariant: pure and from journalled events alone, so that a restart knows what was known. A message counts once, with its
// first delivery: retries of one message are no new evidence. What began to fail before the canary counts for nobody.
import type { TopicPartition } from "../../broker.ts";
import type {
  GroupEvent,
  GroupVolatileEvent,
  MemberLeft,
  OffsetsCommitted,
  OffsetsMoved,
} from "../events.ts";
import { owns } from "../members.ts";
import { committedAt } from "../offset_table.ts";
import { type DeadLettersDue, offsetsOf, type RetriesScheduled, valueIn } from "../retry/events.ts";
import { entryAt, FIRST_AT, placeName } from "../retry/state.ts";
import type { GroupState } from "../state.ts";
import { entriesOf, lookUp, put, without } from "../table.ts";
import { type CanaryState, NO_COUNTS, type Side, sideOf, sumOf, withCounts } from "./state.ts";
import type { SideCounts } from "./types.ts";

/** The attempt that a message waits for whose first delivery has failed. */
const SECOND_ATTEMPT = 2;

interface Observation {
  readonly side: Side;
  readonly counts: Partial<SideCounts>;
}

/** `next`, the group after `event`, with what that says of its canary; `before` is the group before it. */
export function observed(
  before: GroupState,
  next: GroupState,
  event: GroupEvent | GroupVolatileEvent,
): GroupState {
  const { canary } = next;
  if (canary?.status !== "running") return next;
  switch (event.type) {
    case "OffsetsCommitted":
      return committed(before, next, { canary, event });
    case "OffsetsMoved":
      return moved(next, canary, event);
    case "RetriesScheduled":
      return event.cause === "nack" ? nacked(before, next, { canary, event }) : next;
    case "DeadLettersDue":
      return died(before, next, { canary, event });
    case "MemberLeft":
      return left(before, next, { canary, event });
    default:
      return next;
  }
}

/** What its nacks have answered already counts no second time. */
function committed(
  before: GroupState,
  next: GroupState,
  { canary, event }: { canary: CanaryState; event: OffsetsCommitted },
): GroupState {
  const { memberId } = event;
  let { ahead } = canary;
  let answered = 0;
  for (const { previous, offset, ...at } of event.offsets) {
    const from = memberId === null ? null : answeredTo({ ahead, previous }, { ...at, memberId });
    if (from !== null) answered += Math.max(0, offset - from);
    // One that goes back has its messages delivered again, and they count again.
    if (offset >= (lookUp(ahead, placeName(at))?.to ?? offset) || offset < (previous ?? 0)) {
      ahead = without(ahead, placeName(at));
    }
  }
  const member = memberId === null ? undefined : lookUp(before.members, memberId);
  const known = ahead === canary.ahead ? canary : { ...canary, ahead };
  const observations = member === undefined || answered === 0
    ? []
    : [{ side: sideOf(canary, member), counts: { answered } }];
  return counted(next, known, { at: event.at, observations });
}

/**
 * Up to where the partition was answered, as far as it goes on from there: another member reads again from what is
 * committed. Null where nothing is committed: nobody knows where reading began.
 */
function answeredTo(
  { ahead, previous }: { ahead: CanaryState["ahead"]; previous: number | null },
  at: TopicPartition & { readonly memberId: string },
): number | null {
  const known = lookUp(ahead, placeName(at));
  return known?.memberId === at.memberId ? Math.max(known.to, previous ?? 0) : previous;
}

/** Offsets were moved: what is delivered again counts again. */
function moved(next: GroupState, canary: CanaryState, event: OffsetsMoved): GroupState {
  let { ahead } = canary;
  for (const at of event.offsets) ahead = without(ahead, placeName(at));
  return ahead === canary.ahead ? next : { ...next, canary: { ...canary, ahead } };
}

function nacked(
  before: GroupState,
  next: GroupState,
  { canary, event }: { canary: CanaryState; event: RetriesScheduled },
): GroupState {
  let { ahead } = canary;
  const observations: Observation[] = [];
  for (const { topic, partition, offsets, attempts } of event.retries) {
    const who = answerer(before, canary, { memberId: event.memberId, topic, partition });
    if (who === null) continue;
    offsetsOf(offsets).forEach((offset, i) => {
      if (valueIn(attempts, i) !== SECOND_ATTEMPT) return;
      const failure = firstFailure(before, ahead, { ...who, topic, partition, offset });
      ahead = failure.ahead;
      observations.push({ side: who.side, counts: failure.counts });
    });
  }
  return counted(next, { ...canary, ahead }, { at: event.at, observations });
}

function died(
  before: GroupState,
  next: GroupState,
  { canary, event }: { canary: CanaryState; event: DeadLettersDue },
): GroupState {
  let { ahead } = canary;
  const observations: Observation[] = [];
  for (const letter of event.letters) {
    const who = answerer(before, canary, { ...letter, memberId: event.memberId });
    if (who === null) continue;
    const entry = entryAt(before.retry, letter);
    if (entry !== null && entry[FIRST_AT]! < canary.changedAt) continue;
    observations.push({ side: who.side, counts: { deadLettered: 1 } });
    if (letter.attempts !== 1) continue;
    const failure = firstFailure(before, ahead, { ...letter, ...who });
    ahead = failure.ahead;
    observations.push({ side: who.side, counts: failure.counts });
  }
  return counted(next, { ...canary, ahead }, { at: event.at, observations });
}

/**
 * Messages are delivered in order: whoever nacks one has had those before it, and all of them count as answered now, not
 * only when they are committed past. Else a version would seem to fail always until its first commit.
 */
function firstFailure(
  { offsets }: GroupState,
  ahead: CanaryState["ahead"],
  at: TopicPartition & { readonly offset: number; readonly memberId: string },
): { ahead: CanaryState["ahead"]; counts: Partial<SideCounts> } {
  const previous = committedAt(offsets, at)?.offset ?? null;
  const from = answeredTo({ ahead, previous }, at) ?? at.offset;
  if (at.offset < from) return { ahead, counts: { nacked: 1 } };
  const to = at.offset + 1;
  return {
    ahead: put(ahead, placeName(at), { to, memberId: at.memberId }),
    counts: { nacked: 1, answered: to - from },
  };
}

/** Whoever answered, or reads the partition where somebody else spoke for it; null: nobody does. */
function answerer(
  state: GroupState,
  canary: CanaryState,
  at: TopicPartition & { readonly memberId: string | null },
): { side: Side; memberId: string } | null {
  if (at.memberId !== null) {
    const member = lookUp(state.members, at.memberId);
    return member === undefined ? null : { side: sideOf(canary, member), memberId: at.memberId };
  }
  for (const [memberId, member] of entriesOf(state.members)) {
    if (owns(state, memberId, at)) return { side: sideOf(canary, member), memberId };
  }
  return null;
}

function left(
  before: GroupState,
  next: GroupState,
  { canary, event }: { canary: CanaryState; event: MemberLeft },
): GroupState {
  const member = lookUp(before.members, event.memberId);
  if (member === undefined || event.reason === "left") return next;
  const observations = [{ side: sideOf(canary, member), counts: { lostSessions: 1 } }];
  return counted(next, canary, { at: event.at, observations });
}

function counted(
  next: GroupState,
  canary: CanaryState,
  { at, observations }: { at: number; observations: readonly Observation[] },
): GroupState {
  const sums = new Map<Side, SideCounts>();
  for (const { side, counts } of observations) {
    sums.set(side, sumOf(sums.get(side) ?? NO_COUNTS, counts));
  }
  let known = canary;
  for (const [side, counts] of sums) {
    known = { ...known, window: withCounts(known, { at, side, counts }) };
  }
  return known === next.canary ? next : { ...next, canary: known };
}
