// Owns what is counted of a canary and of the rest, from the events of the group: answered, nacked, dead, lost.
// Refuses to own what happened (the deciders) and what the counts mean (judge.ts).
// Invariant: pure and from journalled events alone, so that a restart knows what was known. A message counts once, with its
// first delivery: retries of one message are no new evidence. What began to fail before the canary counts for nobody.
import type { TopicPartition } from "../../broker.ts";
import type { GroupEvent, GroupVolatileEvent, MemberLeft, OffsetsCommitted } from "../events.ts";
import { owns } from "../members.ts";
import { committedAt } from "../offset_table.ts";
import { type DeadLettersDue, offsetsOf, type RetriesScheduled, valueIn } from "../retry/events.ts";
import { DEAD, ENTRIES, entryAt, FIRST_AT, placeName, placeOf } from "../retry/state.ts";
import type { GroupState } from "../state.ts";
import { entriesOf, lookUp, put, without } from "../table.ts";
import { type CanaryState, type Side, sideOf, withCounts } from "./state.ts";
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

/** A message that was nacked counted as answered then; it is not counted again when it is committed past. */
function committed(
  before: GroupState,
  next: GroupState,
  { canary, event }: { canary: CanaryState; event: OffsetsCommitted },
): GroupState {
  const member = event.memberId === null ? undefined : lookUp(before.members, event.memberId);
  if (member === undefined) return next;
  let { ahead } = canary;
  let answered = 0;
  for (const entry of event.offsets) {
    const name = placeName(entry);
    const passed = Math.max(0, entry.offset - (entry.previous ?? firstKnown(before, entry)));
    const known = Math.min(passed, lookUp(ahead, name) ?? 0);
    const left = (lookUp(ahead, name) ?? 0) - known;
    if (known > 0) ahead = left === 0 ? without(ahead, name) : put(ahead, name, left);
    answered += passed - known;
  }
  const known = ahead === canary.ahead ? canary : { ...canary, ahead };
  const observations = [{ side: sideOf(canary, member), counts: { answered } }];
  return counted(next, known, { at: event.at, observations: answered === 0 ? [] : observations });
}

/**
 * Where a partition's first commit counts from: nobody knows where reading began. From the first message that failed at
 * the latest; where none did, the commit itself says nothing.
 */
function firstKnown(
  { retry }: GroupState,
  at: TopicPartition & { readonly offset: number },
): number {
  const place = placeOf(retry, at);
  if (place === null) return at.offset;
  const first = (row: readonly number[] | null) => row?.[1] ?? at.offset;
  return Math.min(
    at.offset,
    first(ENTRIES.firstUnder(retry.entries, [place])),
    first(DEAD.firstUnder(retry.dead, [place])),
  );
}

function nacked(
  before: GroupState,
  next: GroupState,
  { canary, event }: { canary: CanaryState; event: RetriesScheduled },
): GroupState {
  let { ahead } = canary;
  const observations: Observation[] = [];
  for (const { topic, partition, offsets, attempts } of event.retries) {
    const side = answerer(before, canary, { memberId: event.memberId, topic, partition });
    if (side === null) continue;
    offsetsOf(offsets).forEach((offset, i) => {
      if (valueIn(attempts, i) !== SECOND_ATTEMPT) return;
      const failure = firstFailure(before, ahead, { topic, partition, offset });
      ahead = failure.ahead;
      observations.push({ side, counts: failure.counts });
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
    const side = answerer(before, canary, { ...letter, memberId: event.memberId });
    if (side === null) continue;
    const entry = entryAt(before.retry, letter);
    if (entry !== null && entry[FIRST_AT]! < canary.changedAt) continue;
    observations.push({ side, counts: { deadLettered: 1 } });
    if (letter.attempts !== 1) continue;
    const first = firstFailure(before, ahead, letter);
    ahead = first.ahead;
    observations.push({ side, counts: first.counts });
  }
  return counted(next, { ...canary, ahead }, { at: event.at, observations });
}

/** Below what is committed it has been counted as answered: it was not answered well after all. */
function firstFailure(
  { offsets }: GroupState,
  ahead: CanaryState["ahead"],
  at: TopicPartition & { readonly offset: number },
): { ahead: CanaryState["ahead"]; counts: Partial<SideCounts> } {
  if (at.offset < (committedAt(offsets, at)?.offset ?? 0)) return { ahead, counts: { nacked: 1 } };
  const name = placeName(at);
  return {
    ahead: put(ahead, name, (lookUp(ahead, name) ?? 0) + 1),
    counts: { nacked: 1, answered: 1 },
  };
}

/** Whoever answered, or reads the partition where somebody else spoke for it; null: nobody does. */
function answerer(
  state: GroupState,
  canary: CanaryState,
  at: TopicPartition & { readonly memberId: string | null },
): Side | null {
  if (at.memberId !== null) {
    const member = lookUp(state.members, at.memberId);
    return member === undefined ? null : sideOf(canary, member);
  }
  for (const [memberId, member] of entriesOf(state.members)) {
    if (owns(state, memberId, at)) return sideOf(canary, member);
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
  let known = canary;
  for (const { side, counts } of observations) {
    known = { ...known, window: withCounts(known, { at, side, counts }) };
  }
  return known === next.canary ? next : { ...next, canary: known };
}
