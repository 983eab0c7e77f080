// Owns what a group knows of retries that is journalled: those that wait, policies, dead letters that are to be written.
// Refuses to own when they are due (queue.ts), who has them in hand (volatile), and every decision.
// Invariant: never changed in place. An offset of a partition is in `entries`, or in `done`, or a dead letter, or in none.
import type { TopicPartition } from "../../broker.ts";
import { emptyTable, entriesOf, lookUp, type Table } from "../table.ts";
import { DEFAULT_RETRY_POLICY } from "./policy.ts";
import { NO_ROWS, type Rows, RowSet } from "./rows.ts";
import type { DeadLetter, RetryPolicy } from "./types.ts";

/**
 * `[place, offset, attempt, dueAt, firstAt, keyHash]`: attempt is that of the delivery to come, or of the one in hand;
 * a message that is parked behind another of its key has not been delivered and has 1. keyHash is -1 for none.
 */
export const ENTRIES = new RowSet(6, 2);
export const ATTEMPT = 2;
export const DUE_AT = 3;
export const FIRST_AT = 4;
export const KEY_HASH = 5;
export const NO_KEY = -1;
/** `[place, offset]` */
export const PLACES = new RowSet(2, 2);

/** `[place, offset, attempts, at]`: when it became a dead letter, and after how many deliveries. */
export const DEAD = new RowSet(4, 2);
export const DEAD_ATTEMPTS = 2;
export const DEAD_AT = 3;

/** Offsets that are done and not committed past: more are forgotten, and may then be delivered again after a restart. */
export const MAX_DONE = 100_000;
/** Dead letters of a group that are remembered, so that a repeated nack is known as one; beyond it the oldest go. */
export const MAX_DEAD = 20_000;
/** How many of the oldest go at once. */
export const DEAD_STEP = 2_000;
/** Jobs whose last chunk is remembered. */
export const MAX_JOBS = 1_000;

export interface RetryState {
  /** By number. A topic of which nothing is kept may lose its number to another. */
  readonly topics: readonly string[];
  readonly entries: Rows;
  /** Settled or dead letters, but not committed past: whoever reads from the committed offset on must pass them over. */
  readonly done: Rows;
  /** The latest dead letters, committed past or not, written or not. */
  readonly dead: Rows;
  /** By topic; "" is that of all others. */
  readonly policies: Table<RetryPolicy>;
  /** Dead letters that are to be written, by `topic/partition`, in order of their sequences. */
  readonly outbox: Table<readonly DeadLetter[]>;
  readonly outboxSize: number;
  readonly producer: { readonly producerId: number; readonly producerEpoch: number } | null;
  /** Next sequence by `topic/partition`. */
  readonly sequences: Table<number>;
  /** Dead letters by second since the epoch, the last minute's, oldest first. */
  readonly rate: readonly (readonly [second: number, count: number])[];
  /** The last chunk that each job had redelivered, the job that was heard of last at the end. */
  readonly jobs: readonly (readonly [jobId: string, chunk: number])[];
  /** The latest time that any of this was journalled at. */
  readonly latestAt: number;
}

export const NO_RETRIES: RetryState = Object.freeze({
  topics: [],
  entries: NO_ROWS,
  done: NO_ROWS,
  dead: NO_ROWS,
  policies: emptyTable<RetryPolicy>(),
  outbox: emptyTable<readonly DeadLetter[]>(),
  outboxSize: 0,
  producer: null,
  sequences: emptyTable<number>(),
  rate: [],
  jobs: [],
  latestAt: 0,
});

/** More than any group has partitions of one topic. */
const PLACES_A_TOPIC = 65_536;

/** `topic/partition`: topic names hold no slash. */
export function placeName({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`;
}

export function partitionOfName(name: string): TopicPartition {
  const slash = name.lastIndexOf("/");
  return { topic: name.slice(0, slash), partition: Number(name.slice(slash + 1)) };
}

/** The number of a partition, null when its topic has none: then nothing is kept of it. */
export function placeOf({ topics }: RetryState, at: TopicPartition): number | null {
  const topic = topics.indexOf(at.topic);
  return topic === -1 ? null : topic * PLACES_A_TOPIC + at.partition;
}

export function partitionAt({ topics }: RetryState, place: number): TopicPartition {
  const topic = topics[Math.floor(place / PLACES_A_TOPIC)]!;
  return { topic, partition: place % PLACES_A_TOPIC };
}

/** Places of `topic` from partition `fromPartition` on, as a range; null when it has none. */
export function placesOf(
  { topics }: RetryState,
  topic: string,
  fromPartition: number,
): { from: number; to: number } | null {
  const number = topics.indexOf(topic);
  if (number === -1) return null;
  return { from: number * PLACES_A_TOPIC + fromPartition, to: (number + 1) * PLACES_A_TOPIC };
}

/** With a number for `topic`. */
export function withTopic(retry: RetryState, topic: string): RetryState {
  if (retry.topics.includes(topic)) return retry;
  const free = retry.topics.findIndex((_, number) => !isUsed(retry, number));
  const topics = free === -1 ? [...retry.topics, topic] : retry.topics.with(free, topic);
  return { ...retry, topics };
}

function isUsed({ entries, done, dead }: RetryState, topic: number): boolean {
  const from = topic * PLACES_A_TOPIC;
  const has = (set: RowSet, rows: Rows) => {
    for (const row of set.from(rows, [from])) return row[0]! < from + PLACES_A_TOPIC;
    return false;
  };
  return has(ENTRIES, entries) || has(PLACES, done) || has(DEAD, dead);
}

/** The highest partition of each topic of which anything is kept; 0 where that is a policy alone. */
export function lastRetries(retry: RetryState): TopicPartition[] {
  const last = new Map<string, number>();
  const see = ({ topic, partition }: TopicPartition) =>
    last.set(topic, Math.max(last.get(topic) ?? 0, partition));
  retry.topics.forEach((_, topic) => {
    const [from, end] = [topic * PLACES_A_TOPIC, (topic + 1) * PLACES_A_TOPIC];
    const lasts = [
      ENTRIES.before(retry.entries, [end]),
      PLACES.before(retry.done, [end]),
      DEAD.before(retry.dead, [end]),
    ];
    for (const row of lasts) if (row !== null && row[0]! >= from) see(partitionAt(retry, row[0]!));
  });
  for (const [topic] of entriesOf(retry.policies)) if (topic !== "") see({ topic, partition: 0 });
  for (const [name, letters] of entriesOf(retry.outbox)) {
    if (letters.some(({ gone }) => gone !== true)) see(partitionOfName(name));
  }
  return [...last].map(([topic, partition]) => ({ topic, partition }));
}

/** Topics of which anything is kept, in order. */
export function topicsWithRetries(retry: RetryState): string[] {
  const topics = retry.topics.filter((_, number) => isUsed(retry, number));
  for (const [topic] of entriesOf(retry.policies)) if (topic !== "") topics.push(topic);
  for (const [name] of entriesOf(retry.outbox)) topics.push(partitionOfName(name).topic);
  return [...new Set(topics)].sort();
}

/** What is kept of one message, null when it does not wait. */
export function entryAt(
  retry: RetryState,
  at: TopicPartition & { readonly offset: number },
): readonly number[] | null {
  const place = placeOf(retry, at);
  return place === null ? null : ENTRIES.find(retry.entries, [place, at.offset]);
}

export function isDone(
  retry: RetryState,
  at: TopicPartition & { readonly offset: number },
): boolean {
  const place = placeOf(retry, at);
  return place !== null && PLACES.has(retry.done, [place, at.offset]);
}

/** After how many deliveries a message became a dead letter, as long as that is remembered; null else. */
export function attemptsOfDead(
  retry: RetryState,
  at: TopicPartition & { readonly offset: number },
): number | null {
  const place = retry.dead.size === 0 ? null : placeOf(retry, at);
  if (place === null) return null;
  return DEAD.find(retry.dead, [place, at.offset])?.[DEAD_ATTEMPTS] ?? null;
}

export function policyOf({ policies }: RetryState, topic: string): RetryPolicy {
  return lookUp(policies, topic) ?? lookUp(policies, "") ?? DEFAULT_RETRY_POLICY;
}

/** Dead letters of the minute up to `now`. */
export function deadLettersOfMinute({ rate }: RetryState, now: number): number {
  const since = Math.floor(now / 1_000) - 60;
  return rate.reduce((sum, [second, count]) => second > since ? sum + count : sum, 0);
}
