// Owns consuming sessions for tests: held partitions, deliveries and nacks, without a group or a log.
// Refuses to own any assertion on sessions. Invariant: what it does to a session is what a broker's edge does.
import assert from "node:assert/strict";
import { HeldPartition } from "../../api/stream/held_partition.ts";
import { Session } from "../../api/stream/session.ts";
import type { ReadTurn } from "../../api/stream/turns.ts";

export const TOPIC = "orders";

export function newSession(maxInFlight: number, asksForRetries = false): Session {
  return new Session({ maxInFlight, asksForRetries });
}

/** A nack that the group has taken down, and gives back for its next attempt at `dueAt`. */
export function nack(session: Session, item: ReturnType<typeof at>, dueAt: number): void {
  const attempt = session.nacking(item) + 1;
  session.nacked(item, { refused: false });
  const key = `${item.topic}/${item.partition}`;
  session.redeliveries.schedule({ key, offset: item.offset, attempt, dueAt });
}

/** A session that holds partitions 0 to `count` - 1 from offset 0. */
export function holding(count: number, maxInFlight: number): Session {
  const session = newSession(maxInFlight);
  const partitions = Array.from({ length: count }, (_, partition) => ({ topic: TOPIC, partition }));
  for (const held of session.assign(1, partitions).added) start(session, held, 0);
  return session;
}

export function start(session: Session, held: HeldPartition, offset: number): void {
  session.start(held, { offset, committed: null, highWatermark: 1_000, leaderEpoch: 0 });
}

/** Delivers `count` messages of what is next. */
export function deliver(session: Session, count: number): HeldPartition {
  const turn = session.nextTurn(0);
  assert.equal(turn?.kind, "read");
  const { held, position } = turn as ReadTurn;
  const nextOffset = position + count;
  session.delivered(turn as ReadTurn, {
    runs: [{ from: position, to: nextOffset }],
    nextOffset,
    highWatermark: 1_000,
  });
  return held;
}

export const at = (partition: number, offset: number) => ({ topic: TOPIC, partition, offset });
