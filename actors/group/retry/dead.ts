// Owns what a group remembers of its dead letters, so that a repeated nack is known as one.
// Refuses to own what is still to be written of them (the outbox), and which messages die (decide_nack.ts).
// Invariant: no more than MAX_DEAD, the latest; none of what is to be tried again or read again.
import type { TopicPartition } from "../../broker.ts";
import { committedAt } from "../offset_table.ts";
import type { GroupState } from "../state.ts";
import type { DeadLettersDue } from "./events.ts";
import type { Rows } from "./rows.ts";
import {
  DEAD,
  DEAD_AT,
  DEAD_STEP,
  MAX_DEAD,
  placeOf,
  PLACES,
  type RetryState,
  withTopic,
} from "./state.ts";

/** These are remembered beyond their writing, since whoever has not heard of it asks again. */
export function withDead(retry: RetryState, { letters, at }: DeadLettersDue): RetryState {
  let known = retry;
  const rows: number[] = [];
  for (const { topic, partition, offset, attempts } of letters) {
    known = withTopic(known, topic);
    rows.push(placeOf(known, { topic, partition })!, offset, attempts, at);
  }
  return { ...known, dead: withoutOldest(DEAD.put(known.dead, DEAD.sorted(rows))) };
}

function withoutOldest(dead: Rows): Rows {
  if (dead.size <= MAX_DEAD) return dead;
  const byAge = [...DEAD.from(dead, [])].sort((a, b) => a[DEAD_AT]! - b[DEAD_AT]!);
  const oldest = byAge.slice(0, dead.size - MAX_DEAD + DEAD_STEP);
  const keys = PLACES.sorted(oldest.flatMap(([place, offset]) => [place!, offset!]));
  return DEAD.remove(dead, keys);
}

/**
 * The retries of `state` when these offsets are committed: what is read again since they go back to before it may become a
 * dead letter again.
 */
export function forgetDeadBehind(
  { retry, offsets: committed }: GroupState,
  offsets: readonly (TopicPartition & { readonly offset: number })[],
): RetryState {
  if (retry.dead.size === 0) return retry;
  let { dead } = retry;
  for (const at of offsets) {
    const end = committedAt(committed, at)?.offset ?? 0;
    const place = at.offset < end ? placeOf(retry, at) : null;
    if (place === null) continue;
    const keys: number[] = [];
    for (const row of DEAD.from(dead, [place, at.offset])) {
      if (row[0] !== place || row[1]! >= end) break;
      keys.push(place, row[1]!);
    }
    dead = DEAD.remove(dead, keys);
  }
  return dead === retry.dead ? retry : { ...retry, dead };
}
