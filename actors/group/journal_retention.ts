// Owns letting go of what a shard's journal holds of times before the history window.
// Refuses to own what a group writes down (decide_ledger.ts) and dropping segments (the partition's log).
// Invariant: nothing is dropped before every live group has written its state down after it, durably, and the journal says
// so: replayed from its new start without any snapshot, it gives the same states.
import type { Partition } from "../partition/partition.ts";
import type { GroupState } from "./state.ts";
import type { GroupCommand } from "./types.ts";

/** No group can have this name. */
const NO_GROUP = "";
/** Old entries worth writing all states down for: a pass costs an event a group. */
const MIN_DROPPABLE_OFFSETS = 50_000;
/** Groups that write their states down in one go. */
const MAX_RECORDED_AT_ONCE = 64;

/** What retention needs of a shard. */
export interface RecordingShard {
  ask(key: string, command: GroupCommand): Promise<unknown>;
  query<R>(project: (states: ReadonlyMap<string, GroupState>) => R): Promise<R>;
}

export interface RetainOptions {
  readonly partition: Pick<Partition, "readable" | "offsetForTime" | "applyRetention">;
  /** From where on the journal is known to hold all there is; 0: not known. */
  readonly completeFrom: number;
  /** Trusted wall time, ms. */
  readonly now: number;
  readonly windowMs: number;
  readonly minDroppableOffsets?: number;
}

/** Drops what may be dropped; resolves to from where on the journal is known to hold all there is. */
export async function retainHistory(
  shard: RecordingShard,
  options: RetainOptions,
): Promise<number> {
  const { partition, now, windowMs, minDroppableOffsets = MIN_DROPPABLE_OFFSETS } = options;
  const windowStart = await partition.offsetForTime(now - windowMs);
  const { startOffset } = partition.readable();
  let { completeFrom } = options;
  if (windowStart - Math.max(startOffset, completeFrom) >= minDroppableOffsets) {
    completeFrom = await recordAll(shard, partition);
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

/** Lets every group write its state down; resolves to the offset after which all of that was appended. */
async function recordAll(
  shard: RecordingShard,
  partition: RetainOptions["partition"],
): Promise<number> {
  const fromOffset = partition.readable().endOffset;
  // What was appended before is known to the states when this is answered.
  await shard.ask(NO_GROUP, nothing());
  const groups = await shard.query((states) => [...states.keys()]);
  for (let at = 0; at < groups.length; at += MAX_RECORDED_AT_ONCE) {
    const recorded = groups.slice(at, at + MAX_RECORDED_AT_ONCE);
    await Promise.all(recorded.map((group) => shard.ask(group, { type: "RecordState", group })));
  }
  await shard.ask(NO_GROUP, { type: "CompleteJournal", group: NO_GROUP, fromOffset });
  return fromOffset;
}

function nothing(): GroupCommand {
  return { type: "PartitionsChanged", group: NO_GROUP, topics: [], partitionCounts: {} };
}
