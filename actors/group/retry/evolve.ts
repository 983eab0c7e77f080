// Owns what each event does to the retries of a group, and to their queue.
// Refuses to own whether it may happen: total, as all of evolve.
// Invariant: what is journalled of the state depends on journalled events alone; the queue follows it.
import type { TopicPartition } from "../../broker.ts";
import { committedAt } from "../offset_table.ts";
import type { GroupState } from "../state.ts";
import { entriesOf, lookUp, put, type Table, tableOf, without } from "../table.ts";
import { withDead } from "./dead.ts";
import {
  type DeadLetterProducerSet,
  type DeadLettersDue,
  type DeadLettersWritten,
  offsetsOf,
  type RetriesScheduled,
  type RetriesSettled,
  type RetryEvent,
  type RetryPolicySet,
  type RetryVolatileEvent,
  type ScheduledRetries,
  valueIn,
} from "./events.ts";
import {
  dequeued,
  enqueued,
  handedBack,
  readied,
  rebuiltQueue,
  type RetryQueue,
  takenIn,
} from "./queue.ts";
import type { Rows, RowSet } from "./rows.ts";
import {
  DEAD,
  ENTRIES,
  FIRST_AT,
  MAX_DONE,
  MAX_JOBS,
  NO_KEY,
  partitionOfName,
  placeName,
  placeOf,
  PLACES,
  placesOf,
  type RetryState,
  withTopic,
} from "./state.ts";
import type { DeadLetter } from "./types.ts";

/** The group after an event about its retries. */
export function evolveRetries(
  state: GroupState,
  event: RetryEvent | RetryVolatileEvent,
): GroupState {
  switch (event.type) {
    case "RetriesScheduled":
      return scheduled(later(state, event.at), event);
    case "RetriesSettled":
      return settled(later(state, event.at), event);
    case "DeadLettersDue":
      return deadLettersDue(later(state, event.at), event);
    case "DeadLettersWritten":
      return deadLettersWritten(later(state, event.at), event);
    case "DeadLetterProducerSet":
      return producerSet(later(state, event.at), event);
    case "RetryPolicySet":
      return policySet(later(state, event.at), event);
    case "RetryClockStarted":
      return withQueue(state, { ...queueOf(state), wallOffset: event.wallOffset });
    case "RetriesReadied":
      return withQueue(state, readied(queueOf(state), event.now, event.max));
    case "RetriesTaken":
      return withQueue(state, takenIn(queueOf(state), state.retry, event.keys));
    case "RetriesHandedBack":
      return withQueue(state, handedBack(queueOf(state), event.keys));
  }
}

export function queueOf(state: GroupState): RetryQueue {
  return state.volatile.retries;
}

function withQueue(state: GroupState, retries: RetryQueue): GroupState {
  return { ...state, volatile: { ...state.volatile, retries } };
}

function withRetry(state: GroupState, retry: RetryState, queue = queueOf(state)): GroupState {
  return { ...state, retry, volatile: { ...state.volatile, retries: queue } };
}

function later(state: GroupState, at: number): GroupState {
  if (at <= state.retry.latestAt) return state;
  return { ...state, retry: { ...state.retry, latestAt: at } };
}

function scheduled(state: GroupState, event: RetriesScheduled): GroupState {
  let next: GroupState = { ...state, exists: true };
  for (const block of event.retries) next = withEntries(next, block, event.at);
  const { job } = event;
  if (job === undefined) return next;
  const others = next.retry.jobs.filter(([jobId]) => jobId !== job.jobId);
  const jobs = [...others, [job.jobId, job.chunk] as const].slice(-MAX_JOBS);
  return { ...next, retry: { ...next.retry, jobs } };
}

function withEntries(state: GroupState, block: ScheduledRetries, at: number): GroupState {
  const retry = withTopic(state.retry, block.topic);
  const place = placeOf(retry, block)!;
  const old: number[] = [];
  const rows: number[] = [];
  const keys: number[] = [];
  offsetsOf(block.offsets).forEach((offset, i) => {
    const before = ENTRIES.find(retry.entries, [place, offset]);
    if (before !== null) { for (const value of before) old.push(value); }
    const firstAt = before === null ? at : before[FIRST_AT]!;
    const keyHash = block.keys === undefined ? NO_KEY : valueIn(block.keys, i);
    const dueAt = at + valueIn(block.waitsMs, i);
    rows.push(place, offset, valueIn(block.attempts, i), dueAt, firstAt, keyHash);
    keys.push(place, offset);
  });
  const removed = withoutEntries({ ...state, retry }, old);
  const { entries, done, dead } = removed.retry;
  const added = {
    ...removed.retry,
    entries: ENTRIES.put(entries, rows),
    done: PLACES.remove(done, keys),
    dead: DEAD.remove(dead, keys),
  };
  return withRetry(removed, added, enqueued(queueOf(removed), added, rows));
}

/** `rows`: whole entries of one place, in order. */
function withoutEntries(state: GroupState, rows: readonly number[]): GroupState {
  if (rows.length === 0) return state;
  const keys: number[] = [];
  for (let at = 0; at < rows.length; at += ENTRIES.width) keys.push(rows[at]!, rows[at + 1]!);
  const retry = { ...state.retry, entries: ENTRIES.remove(state.retry.entries, keys) };
  return withRetry(state, retry, dequeued(queueOf(state), retry, rows));
}

function settled(state: GroupState, event: RetriesSettled): GroupState {
  let next = state;
  for (const block of event.settled) next = finished(next, block, offsetsOf(block.offsets));
  return next;
}

/** These wait no more; those that are not committed past are remembered as done. */
function finished(
  state: GroupState,
  at: TopicPartition,
  offsets: readonly number[],
): GroupState {
  const retry = withTopic(state.retry, at.topic);
  const place = placeOf(retry, at)!;
  const committed = committedAt(state.offsets, at)?.offset ?? 0;
  const rows: number[] = [];
  const done: number[] = [];
  for (const offset of offsets) {
    const entry = ENTRIES.find(retry.entries, [place, offset]);
    if (entry !== null) { for (const value of entry) rows.push(value); }
    if (offset >= committed) done.push(place, offset);
  }
  const next = withoutEntries({ ...state, retry }, rows);
  if (done.length === 0) return next;
  const kept = bounded(PLACES.put(next.retry.done, done));
  return { ...next, retry: { ...next.retry, done: kept } };
}

function bounded(done: Rows): Rows {
  const over = done.size - MAX_DONE;
  return over > 0 ? PLACES.takeFirst(done, over, () => true).rest : done;
}

function deadLettersDue(state: GroupState, event: DeadLettersDue): GroupState {
  let next: GroupState = { ...state, exists: true };
  let { outbox, outboxSize, sequences } = state.retry;
  for (const { topic, partition, offset, attempts, code, reason } of event.letters) {
    const name = placeName({ topic, partition });
    const sequence = lookUp(sequences, name) ?? 0;
    const letter: DeadLetter = { offset, attempts, code, reason, at: event.at, sequence };
    outbox = put(outbox, name, [...lookUp(outbox, name) ?? [], letter]);
    sequences = put(sequences, name, nextSequence(sequence));
    outboxSize += 1;
    next = finished(next, { topic, partition }, [offset]);
  }
  const rate = withCount(state.retry.rate, event.at, event.letters.length);
  const retry = withDead(next.retry, event);
  return { ...next, retry: { ...retry, outbox, outboxSize, sequences, rate } };
}

/** Kafka's sequences wrap from 2^31 - 1 to 0. */
function nextSequence(sequence: number): number {
  return sequence === 0x7fffffff ? 0 : sequence + 1;
}

function withCount(rate: RetryState["rate"], at: number, count: number): RetryState["rate"] {
  const second = Math.floor(at / 1_000);
  const kept = rate.filter(([earlier]) => earlier > second - 60 && earlier < second);
  const same = rate.find(([earlier]) => earlier === second)?.[1] ?? 0;
  return [...kept, [second, same + count]];
}

function deadLettersWritten(state: GroupState, event: DeadLettersWritten): GroupState {
  const name = placeName(event);
  const letters = lookUp(state.retry.outbox, name) ?? [];
  const written = new Set(event.sequences);
  const left = letters.filter(({ sequence }) => !written.has(sequence));
  const outbox = withLetters(state.retry.outbox, name, left);
  const outboxSize = state.retry.outboxSize - (letters.length - left.length);
  return { ...state, retry: { ...state.retry, outbox, outboxSize } };
}

function withLetters(
  outbox: RetryState["outbox"],
  name: string,
  letters: readonly DeadLetter[],
): RetryState["outbox"] {
  return letters.length === 0 ? without(outbox, name) : put(outbox, name, letters);
}

function producerSet(state: GroupState, event: DeadLetterProducerSet): GroupState {
  const { producerId, producerEpoch } = event;
  const numbered = [...entriesOf(state.retry.outbox)].map(([name, letters]) =>
    [name, letters.map((letter, sequence) => ({ ...letter, sequence }))] as const
  );
  const sequences: Table<number> = tableOf(
    numbered.map(([name, letters]) => [name, letters.length] as const),
  );
  const outbox = tableOf(numbered);
  const producer = { producerId, producerEpoch };
  return { ...state, retry: { ...state.retry, producer, outbox, sequences } };
}

function policySet(state: GroupState, event: RetryPolicySet): GroupState {
  const policies = put(state.retry.policies, event.topic ?? "", event.policy);
  const retry = { ...state.retry, policies };
  return {
    ...withRetry(state, retry, rebuiltQueue(retry, queueOf(state))),
    exists: true,
  };
}

/** What was done and is committed past need not be remembered. */
export function forgetDoneBelow(
  state: GroupState,
  offsets: readonly (TopicPartition & { readonly offset: number })[],
): GroupState {
  if (state.retry.done.size === 0) return state;
  let { done } = state.retry;
  for (const at of offsets) {
    const place = placeOf(state.retry, at);
    if (place !== null) done = PLACES.removeBelow(done, [place], at.offset);
  }
  return done === state.retry.done ? state : { ...state, retry: { ...state.retry, done } };
}

/**
 * The messages of `topic` from partition `fromPartition` on are no more. Dead letters among them are still written, without
 * what they held: a sequence that is never written would be a gap for those behind it.
 */
export function withoutRetriesOf(
  state: GroupState,
  topic: string,
  fromPartition: number,
): GroupState {
  const range = placesOf(state.retry, topic, fromPartition);
  let { outbox } = state.retry;
  const policies = fromPartition === 0
    ? without(state.retry.policies, topic)
    : state.retry.policies;
  for (const [name, letters] of entriesOf(outbox)) {
    const at = partitionOfName(name);
    if (at.topic !== topic || at.partition < fromPartition) continue;
    outbox = put(outbox, name, letters.map((letter) => ({ ...letter, gone: true as const })));
  }
  if (range === null) return { ...state, retry: { ...state.retry, outbox, policies } };
  const gone = (set: RowSet, rows: Rows) => {
    const keys: number[] = [];
    for (const row of set.from(rows, [range.from])) {
      if (row[0]! >= range.to) break;
      keys.push(row[0]!, row[1]!);
    }
    return keys;
  };
  const retry = {
    ...state.retry,
    outbox,
    policies,
    entries: ENTRIES.remove(state.retry.entries, gone(ENTRIES, state.retry.entries)),
    done: PLACES.remove(state.retry.done, gone(PLACES, state.retry.done)),
    dead: DEAD.remove(state.retry.dead, gone(DEAD, state.retry.dead)),
  };
  return withRetry(state, retry, rebuiltQueue(retry, queueOf(state)));
}
