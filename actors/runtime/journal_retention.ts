// Owns letting go of what a shard's journal holds of times before a window.
// Refuses to own what a key writes down (its decider) and dropping segments (the partition's log).
// Invariant: nothing is dropped before every live key has written its state down after it, durably, and the journal says
// so: replayed from its new start without any snapshot, it gives the same states.
import type { RetentionPolicy } from "../../storage/log.ts";

/** No key is called so. */
export const NO_KEY = "";
/** Old entries worth writing all states down for: a pass costs an event a key. */
const MIN_DROPPABLE_OFFSETS = 50_000;
/** Keys that write their states down in one go. */
const MAX_RECORDED_AT_ONCE = 64;

/** What retention needs of a shard. */
export interface RecordingShard<State, Command> {
  ask(key: string, command: Command): Promise<unknown>;
  query<R>(project: (states: ReadonlyMap<string, State>) => R): Promise<R>;
}

/** What retention says to a shard. */
export interface JournalWords<Command> {
  /** Sent to `NO_KEY`; changes nothing. */
  readonly nothing: () => Command;
  /** Writes the key's whole state down. */
  readonly record: (key: string) => Command;
  /** Sent to `NO_KEY`: from the offset on the journal holds all there is. */
  readonly complete: (fromOffset: number) => Command;
}

/** The partition that is the journal. */
export interface RetainedPartition {
  readable(): { startOffset: number; endOffset: number };
  offsetForTime(timestampMs: number): Promise<number>;
  applyRetention(policy: RetentionPolicy): Promise<void>;
}

export interface RetainOptions {
  readonly partition: RetainedPartition;
  /** From where on the journal is known to hold all there is; 0: not known. */
  readonly completeFrom: number;
  /** Trusted wall time, ms. */
  readonly now: number;
  readonly windowMs: number;
  readonly minDroppableOffsets?: number;
}

/** Drops what may be dropped; resolves to from where on the journal is known to hold all there is. */
export async function retainJournal<State, Command>(
  shard: RecordingShard<State, Command>,
  words: JournalWords<Command>,
  options: RetainOptions,
): Promise<number> {
  const { partition, now, windowMs, minDroppableOffsets = MIN_DROPPABLE_OFFSETS } = options;
  const windowStart = await partition.offsetForTime(now - windowMs);
  const { startOffset } = partition.readable();
  let { completeFrom } = options;
  if (windowStart - Math.max(startOffset, completeFrom) >= minDroppableOffsets) {
    completeFrom = await recordAll(shard, words, partition);
  }
  if (completeFrom <= startOffset) return completeFrom;
  await partition.applyRetention({
    now,
    retentionMs: windowMs,
    retentionBytes: null,
    keepFrom: Math.min(completeFrom, windowStart),
  });
  return completeFrom;
}

/** Lets every key write its state down; resolves to the offset after which all of that was appended. */
async function recordAll<State, Command>(
  shard: RecordingShard<State, Command>,
  words: JournalWords<Command>,
  partition: RetainedPartition,
): Promise<number> {
  const fromOffset = partition.readable().endOffset;
  // What was appended before is known to the states when this is answered.
  await shard.ask(NO_KEY, words.nothing());
  const keys = await shard.query((states) => [...states.keys()]);
  for (let at = 0; at < keys.length; at += MAX_RECORDED_AT_ONCE) {
    const recorded = keys.slice(at, at + MAX_RECORDED_AT_ONCE);
    await Promise.all(recorded.map((key) => shard.ask(key, words.record(key))));
  }
  await shard.ask(NO_KEY, words.complete(fromOffset));
  return fromOffset;
}
