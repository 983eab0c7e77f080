// Owns the order in which retries come due and who has them in hand: an index over the retries of one group.
// Refuses to own the retries themselves (state.ts), and timers: the group's deadline is the earliest of these.
// Invariant: volatile. Everything in it but `taken` and the clock follows from the retries and the policies; an entry is in
// one of `due`, `ready` and `taken`, or waits behind the first of its chain (same key, or same partition) and is in none.
import { NO_ROWS, type Rows, RowSet } from "./rows.ts";
import {
  DUE_AT,
  ENTRIES,
  KEY_HASH,
  NO_KEY,
  partitionAt,
  PLACES,
  policyOf,
  type RetryState,
} from "./state.ts";

/** `[dueAt, place, offset]` */
export const DUE = new RowSet(3, 3);
/** `[place, keyHash, offset]` */
const KEYS = new RowSet(3, 3);

export interface RetryQueue {
  readonly due: Rows;
  /** Their time has come: for whoever reads their partition. `[place, offset]` */
  readonly ready: Rows;
  /** Sent to the member that reads their partition, or about to be. `[place, offset]` */
  readonly taken: Rows;
  /** Of the topics that are blocked by key. */
  readonly keys: Rows;
  /**
   * Trusted wall time less monotonic time, null before the first use. Fixed for a life of the actor, and never behind what
   * is journalled: a wall clock that jumps moves no retry.
   */
  readonly wallOffset: number | null;
}

export const NO_QUEUE: RetryQueue = Object.freeze({
  due: NO_ROWS,
  ready: NO_ROWS,
  taken: NO_ROWS,
  keys: NO_ROWS,
  wallOffset: null,
});

/** Adds entries (rows in order, of one place, already in `retry`) to the queue; whatever held them before lets them go. */
export function enqueued(
  queue: RetryQueue,
  retry: RetryState,
  rows: readonly number[],
): RetryQueue {
  const keys = placeKeys(rows);
  let { due } = queue;
  const { ordering } = policyOf(retry, partitionAt(retry, rows[0]!).topic);
  const cleared = {
    ...queue,
    ready: PLACES.remove(queue.ready, keys),
    taken: PLACES.remove(queue.taken, keys),
  };
  if (ordering === "skip") {
    const added: number[] = [];
    for (let at = 0; at < rows.length; at += ENTRIES.width) {
      added.push(rows[at + DUE_AT]!, rows[at]!, rows[at + 1]!);
    }
    due = DUE.put(due, DUE.sorted(added));
    return { ...cleared, due };
  }
  return chainedIn(cleared, retry, { rows, isByKey: ordering === "blockKey" });
}

/** Takes entries (whole rows in order, of one place) out of the queue; `retry` no longer holds them. */
export function dequeued(
  queue: RetryQueue,
  retry: RetryState,
  rows: readonly number[],
): RetryQueue {
  const keys = placeKeys(rows);
  const due: number[] = [];
  const chains: number[] = [];
  for (let at = 0; at < rows.length; at += ENTRIES.width) {
    due.push(rows[at + DUE_AT]!, rows[at]!, rows[at + 1]!);
    chains.push(rows[at]!, rows[at + KEY_HASH]!, rows[at + 1]!);
  }
  const left: RetryQueue = {
    ...queue,
    due: DUE.remove(queue.due, DUE.sorted(due)),
    ready: PLACES.remove(queue.ready, keys),
    taken: PLACES.remove(queue.taken, keys),
    keys: KEYS.remove(queue.keys, KEYS.sorted(chains)),
  };
  const { ordering } = policyOf(retry, partitionAt(retry, rows[0]!).topic);
  if (ordering === "skip") return left;
  let moved = left;
  const seen = new Set<number>();
  for (let at = 0; at < rows.length; at += ENTRIES.width) {
    const chain = ordering === "blockKey" ? rows[at + KEY_HASH]! : NO_KEY;
    if (seen.has(chain)) continue;
    seen.add(chain);
    if (ordering === "blockKey" && chain === NO_KEY) continue;
    moved = withHead(moved, retry, [rows[at]!, chain]);
  }
  return moved;
}

/** The queue of `retry` from scratch, nothing in hand but `taken`. */
export function rebuiltQueue(retry: RetryState, before: RetryQueue): RetryQueue {
  let queue: RetryQueue = { ...NO_QUEUE, wallOffset: before.wallOffset };
  const block: number[] = [];
  const flush = () => {
    if (block.length > 0) queue = enqueued(queue, retry, block);
    block.length = 0;
  };
  for (const row of ENTRIES.from(retry.entries, [])) {
    if (block.length > 0 && block[0] !== row[0]) flush();
    for (const value of row) block.push(value);
  }
  flush();
  const taken: number[] = [];
  for (const row of PLACES.from(before.taken, [])) {
    if (ENTRIES.has(retry.entries, row)) taken.push(...row);
  }
  return takenIn(queue, retry, taken);
}

/** Those that are due at `now` (wall ms) are ready, at most `max` of them. */
export function readied(queue: RetryQueue, now: number, max: number): RetryQueue {
  const { taken, rest } = DUE.takeFirst(queue.due, max, (chunk, at) => chunk[at]! <= now);
  const added: number[] = [];
  for (let at = 0; at < taken.length; at += DUE.width) added.push(taken[at + 1]!, taken[at + 2]!);
  return { ...queue, due: rest, ready: PLACES.put(queue.ready, PLACES.sorted(added)) };
}

/** `keys`, places and offsets in order, are in hand. */
export function takenIn(
  queue: RetryQueue,
  retry: RetryState,
  keys: readonly number[],
): RetryQueue {
  if (keys.length === 0) return queue;
  const due: number[] = [];
  for (let at = 0; at < keys.length; at += 2) {
    const entry = ENTRIES.find(retry.entries, [keys[at]!, keys[at + 1]!]);
    if (entry !== null) due.push(entry[DUE_AT]!, entry[0]!, entry[1]!);
  }
  return {
    ...queue,
    due: DUE.remove(queue.due, DUE.sorted(due)),
    ready: PLACES.remove(queue.ready, keys),
    taken: PLACES.put(queue.taken, keys),
  };
}

/** `keys`, places and offsets in order, are ready again, as far as they were in hand. */
export function handedBack(queue: RetryQueue, keys: readonly number[]): RetryQueue {
  const back: number[] = [];
  for (let at = 0; at < keys.length; at += 2) {
    const key = [keys[at]!, keys[at + 1]!];
    if (PLACES.has(queue.taken, key)) back.push(...key);
  }
  if (back.length === 0) return queue;
  return {
    ...queue,
    taken: PLACES.remove(queue.taken, back),
    ready: PLACES.put(queue.ready, back),
  };
}

/** Whether another message with this key waits in the place, so that `offset` has to wait behind it. */
export function waitsBehind(queue: RetryQueue, chain: { place: number; keyHash: number }): boolean {
  return KEYS.firstUnder(queue.keys, [chain.place, chain.keyHash]) !== null;
}

function placeKeys(rows: readonly number[]): number[] {
  const keys: number[] = [];
  for (let at = 0; at < rows.length; at += ENTRIES.width) keys.push(rows[at]!, rows[at + 1]!);
  return keys;
}

/** Entries in a topic that blocks: the first of a chain is due, and then the one that was the first is not. */
function chainedIn(
  queue: RetryQueue,
  retry: RetryState,
  { rows, isByKey }: { rows: readonly number[]; isByKey: boolean },
): RetryQueue {
  const place = rows[0]!;
  const added = new Set<number>();
  const chains = new Set<number>();
  let { due, keys } = queue;
  for (let at = 0; at < rows.length; at += ENTRIES.width) {
    const offset = rows[at + 1]!;
    const keyHash = rows[at + KEY_HASH]!;
    added.add(offset);
    if (!isByKey) chains.add(NO_KEY);
    else if (keyHash === NO_KEY) due = DUE.put(due, [rows[at + DUE_AT]!, place, offset]);
    else {
      chains.add(keyHash);
      keys = KEYS.put(keys, [place, keyHash, offset]);
    }
  }
  let next: RetryQueue = { ...queue, due, keys };
  for (const keyHash of chains) {
    const chain = [place, keyHash] as const;
    for (const offset of offsetsIn(next, retry, chain)) {
      if (added.has(offset)) continue;
      if (offset !== firstOf(next, retry, chain)) next = stopped(next, retry, [place, offset]);
      break;
    }
    next = withHead(next, retry, chain);
  }
  return next;
}

/** The first of the chain is due, unless it is in the queue already. */
function withHead(
  queue: RetryQueue,
  retry: RetryState,
  chain: readonly [number, number],
): RetryQueue {
  const first = firstOf(queue, retry, chain);
  if (first === null) return queue;
  const key = [chain[0], first];
  if (PLACES.has(queue.ready, key) || PLACES.has(queue.taken, key)) return queue;
  const entry = ENTRIES.find(retry.entries, key)!;
  return { ...queue, due: DUE.put(queue.due, [entry[DUE_AT]!, chain[0], first]) };
}

/** An entry that is no longer the first of its chain waits; one that is in hand stays there. */
function stopped(queue: RetryQueue, retry: RetryState, key: readonly number[]): RetryQueue {
  const entry = ENTRIES.find(retry.entries, key);
  if (entry === null) return queue;
  return {
    ...queue,
    due: DUE.remove(queue.due, [entry[DUE_AT]!, key[0]!, key[1]!]),
    ready: PLACES.remove(queue.ready, key),
  };
}

function firstOf(
  queue: RetryQueue,
  retry: RetryState,
  chain: readonly [number, number],
): number | null {
  for (const offset of offsetsIn(queue, retry, chain)) return offset;
  return null;
}

/** Offsets of a chain, a partition's (NO_KEY) or a key's within one, in order. */
function* offsetsIn(
  queue: RetryQueue,
  retry: RetryState,
  [place, keyHash]: readonly [number, number],
): Generator<number> {
  if (keyHash === NO_KEY) {
    for (const row of ENTRIES.under(retry.entries, [place])) yield row[1]!;
  } else {
    for (const row of KEYS.under(queue.keys, [place, keyHash])) yield row[2]!;
  }
}
