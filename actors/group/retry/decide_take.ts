// Owns handing retries that are due to the member that reads their partition, and what holds up reading.
// Refuses to own when they are due (queue.ts) and what becomes of them then: a commit or a nack.
// Invariant: what is in hand is volatile: after a restart, or when another member starts the partition, it comes again.
import type { TopicPartition } from "../../broker.ts";
import { Draft, type GroupContext, type GroupDecision } from "../draft.ts";
import { memberOf, readableBy, seen } from "../members.ts";
import type { GroupState } from "../state.ts";
import { lookUp } from "../table.ts";
import { containsPartition, NO_PARTITIONS } from "../topic_partitions.ts";
import { trustedNow } from "./clock.ts";
import {
  type OffsetsOfPartition,
  type RetriesSettled,
  type RetryVolatileEvent,
  stepsOf,
} from "./events.ts";
import { evolveRetries, queueOf } from "./evolve.ts";
import { heldPlaces, isHeld, partitionsAt, tellOwners } from "./owners.ts";
import { DUE } from "./queue.ts";
import { ATTEMPT, ENTRIES, partitionAt, placeName, placeOf, PLACES, policyOf } from "./state.ts";
import type { HeldUp, RetryCommand, TakenRetry, TakeRetriesReply } from "./types.ts";

type Command<T extends RetryCommand["type"]> = Extract<RetryCommand, { type: T }>;

/** Retries that one Tick makes ready; the next goes on soon after. */
const MAX_READIED_AT_ONCE = 5_000;
/** Offsets of one partition that a member is told to pass over; those beyond may be delivered twice. */
const MAX_SKIPS = 10_000;

/** What time makes ready: part of a Tick. */
export function readyRetries(draft: Draft): void {
  const { state } = draft;
  if (queueOf(state).due.size === 0 || state.paused !== null) return;
  const { now, started } = trustedNow(state, draft.context.at);
  for (const event of started) draft.remember(event);
  const readied = dueAt(state, now);
  if (readied.length === 0) return;
  draft.remember({ type: "RetriesReadied", now, max: MAX_READIED_AT_ONCE });
  tellOwners(draft, readied);
}

/** Partitions of the retries that the next RetriesReadied makes ready. */
function dueAt(state: GroupState, now: number): TopicPartition[] {
  const { due } = queueOf(state);
  const first = DUE.first(due);
  if (first === null || first[0]! > now) return [];
  const { taken } = DUE.takeFirst(due, MAX_READIED_AT_ONCE, (chunk, at) => chunk[at]! <= now);
  const places = new Set<number>();
  for (let at = 0; at < taken.length; at += DUE.width) places.add(taken[at + 1]!);
  return partitionsAt(state, places);
}

/** Throws UNKNOWN_MEMBER. */
export function decideTakeRetries(
  state: GroupState,
  command: Command<"TakeRetries">,
  context: GroupContext,
): GroupDecision {
  const member = memberOf(state, command.memberId);
  const { now, started } = trustedNow(state, context.at);
  const volatile: RetryVolatileEvent[] = [...started];
  let next = state;
  const remember = (event: RetryVolatileEvent) => {
    volatile.push(event);
    next = evolveRetries(next, event);
  };
  const starting = (command.starting ?? []).filter((at) => mayRead(state, command.memberId, at));
  const back = inHandOf(next, starting);
  if (back.length > 0) remember({ type: "RetriesHandedBack", keys: back });
  const word = new Draft(next, context);
  const readied = dueAt(next, now);
  if (readied.length > 0) {
    // Time makes nothing ready twice: the members that read the others hear of them now or never.
    tellOwners(word, readied.filter((at) => !mayRead(state, command.memberId, at)));
    remember({ type: "RetriesReadied", now, max: MAX_READIED_AT_ONCE });
  }
  const found = state.paused === null ? readyFor(next, command) : { keys: [], more: false };
  if (found.keys.length > 0) remember({ type: "RetriesTaken", keys: found.keys });
  const reply: TakeRetriesReply = {
    retries: takenRetries(next, found.keys),
    more: found.more,
    held: heldUp(next, command.memberId),
    blocks: state.retry.policies.size === 0
      ? []
      : member.topics.filter((topic) => policyOf(state.retry, topic).ordering !== "skip"),
    skips: [...starting, ...command.looking ?? []].map((at) => ({
      ...plain(at),
      offsets: skipsFrom(next, at),
    }))
      .filter(({ offsets }) => offsets.length > 0),
    inHand: (command.holding ?? []).filter((at) => {
      const place = placeOf(next.retry, at);
      return place !== null && PLACES.has(queueOf(next).taken, [place, at.offset]);
    }),
  };
  const { notify } = word.finish(() => null);
  return { events: [], volatile: [...volatile, seen(member, context.at)], notify, reply };
}

function plain({ topic, partition }: TopicPartition): TopicPartition {
  return { topic, partition };
}

function mayRead(state: GroupState, memberId: string, at: TopicPartition): boolean {
  return containsPartition(lookUp(state.assignments, memberId) ?? NO_PARTITIONS, at);
}

function inHandOf(state: GroupState, partitions: readonly TopicPartition[]): readonly number[] {
  const keys: number[] = [];
  const { taken } = queueOf(state);
  if (taken.size === 0) return keys;
  for (const at of partitions) {
    const place = placeOf(state.retry, at);
    if (place === null) continue;
    for (const row of PLACES.under(taken, [place])) keys.push(...row);
  }
  return PLACES.sorted(keys);
}

/** Of what is ready in the member's partitions, an equal share of each. */
function readyFor(
  state: GroupState,
  { memberId, max, except = [], upTo = [] }: Command<"TakeRetries">,
): { keys: readonly number[]; more: boolean } {
  const { ready } = queueOf(state);
  const assignment = lookUp(state.assignments, memberId);
  if (ready.size === 0 || assignment === undefined) return { keys: [], more: false };
  const excepted = new Set(except.map(placeName));
  const ends = new Map(upTo.map((at) => [placeName(at), at.offset]));
  const places = placesIn(ready).filter((place) => {
    const at = partitionAt(state.retry, place);
    return containsPartition(assignment, at) && !excepted.has(placeName(at));
  });
  const share = Math.max(1, Math.floor(max / Math.max(1, places.length)));
  const keys: number[] = [];
  let more = false;
  for (const place of places) {
    let left = Math.min(share, max - keys.length / PLACES.width);
    const end = ends.get(placeName(partitionAt(state.retry, place))) ?? Infinity;
    for (const row of PLACES.under(ready, [place])) {
      if (row[1]! >= end) break;
      if (left-- <= 0) {
        more = true;
        break;
      }
      keys.push(...row);
    }
  }
  return { keys, more };
}

function placesIn(rows: Parameters<typeof PLACES.from>[0]): number[] {
  const places: number[] = [];
  let row = PLACES.first(rows);
  while (row !== null) {
    places.push(row[0]!);
    row = firstFrom(rows, row[0]! + 1);
  }
  return places;
}

function firstFrom(rows: Parameters<typeof PLACES.from>[0], place: number) {
  for (const row of PLACES.from(rows, [place])) return row;
  return null;
}

function takenRetries(state: GroupState, keys: readonly number[]): TakenRetry[] {
  const retries: TakenRetry[] = [];
  for (let at = 0; at < keys.length; at += PLACES.width) {
    const offset = keys[at + 1]!;
    const entry = ENTRIES.find(state.retry.entries, [keys[at]!, offset])!;
    const { topic, partition } = partitionAt(state.retry, keys[at]!);
    retries.push({ topic, partition, offset, attempt: entry[ATTEMPT]! });
  }
  return retries;
}

function heldUp(state: GroupState, memberId: string): HeldUp[] {
  if (state.retry.entries.size === 0 || state.retry.policies.size === 0) return [];
  return readableBy(state, memberId).filter((at) => isHeld(state, at)).map((at) => {
    const isAll = policyOf(state.retry, at.topic).ordering === "blockPartition";
    const [, from] = ENTRIES.firstUnder(state.retry.entries, [placeOf(state.retry, at)!])!;
    return { ...at, hold: isAll ? "all" as const : "keys" as const, from: from! };
  });
}

/** Offsets from where reading starts on that come as retries, or not at all. */
function skipsFrom(
  { retry }: GroupState,
  at: TopicPartition & { readonly offset: number },
): number[] {
  const place = placeOf(retry, at);
  if (place === null) return [];
  const offsets: number[] = [];
  for (const [set, rows] of [[ENTRIES, retry.entries], [PLACES, retry.done]] as const) {
    let count = 0;
    for (const row of set.from(rows, [place, at.offset])) {
      if (row[0] !== place || ++count > MAX_SKIPS) break;
      offsets.push(row[1]!);
    }
  }
  return offsets.sort((a, b) => a - b);
}

/** What a commit of these offsets settles: the retries in hand below them. Null when there are none. */
export function settledBy(
  state: GroupState,
  offsets: readonly (TopicPartition & {
    readonly offset: number;
    readonly settles?: readonly number[];
  })[],
  context: GroupContext,
): RetriesSettled | null {
  const { taken } = queueOf(state);
  if (taken.size === 0) return null;
  const settled: OffsetsOfPartition[] = [];
  for (const { topic, partition, offset, settles } of offsets) {
    const below = inHandBelow(state, { topic, partition, offset })
      .filter((one) => settles === undefined || settles.includes(one));
    if (below.length > 0) settled.push({ topic, partition, offsets: stepsOf(below) });
  }
  if (settled.length === 0) return null;
  const { now } = trustedNow(state, context.at);
  return { type: "RetriesSettled", v: 1, at: now, reason: "committed", settled };
}

/** Word to those who read where something held up reading until it was settled. */
export function wordOfSettled(
  state: GroupState,
  settled: RetriesSettled,
  context: GroupContext,
): GroupDecision["notify"] {
  const draft = new Draft(state, context);
  draft.record(settled);
  tellOwners(draft, heldPlaces(state, draft.state, settled.settled));
  return draft.finish(() => null).notify;
}

/** Offsets of retries in hand below `at.offset`, ascending. */
export function inHandBelow(
  state: GroupState,
  at: TopicPartition & { readonly offset: number },
): number[] {
  const { taken } = queueOf(state);
  const place = taken.size === 0 ? null : placeOf(state.retry, at);
  const below: number[] = [];
  if (place === null) return below;
  for (const row of PLACES.under(taken, [place])) {
    if (row[1]! >= at.offset) break;
    below.push(row[1]!);
  }
  return below;
}
