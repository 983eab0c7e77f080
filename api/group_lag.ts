// Owns measuring how far a group is behind on every partition that it reads.
// Refuses to own what lag means (actors/group/lag.ts) and what is done about it.
// Invariant: a partition whose messages cannot be read is told with the figures that are known, never left out.
import type { Broker, FetchResult, PartitionInfo, TopicPartition } from "../actors/broker.ts";
import {
  DEFAULT_LAG_SETTINGS,
  type LagInput,
  lagOf,
  type LagSettings,
} from "../actors/group/lag.ts";
import type { GroupDescription } from "../actors/group/types.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { decodeBatch } from "../storage/format/decode.ts";
import { batchSpans, maxTimestampAt, readHeader } from "../storage/format/record_batch.ts";
import type { Clock } from "../storage/ports.ts";
import type { TopicSight } from "./auth/topic_sight.ts";
import { isHidden } from "./hidden_batches.ts";
import { countMessages } from "./message_count.ts";

/** Partitions looked into at the same time. */
const MAX_PARALLEL_LOOKS = 16;
/** One batch is enough: the first is handed out whatever its size. */
const ONE_BATCH_BYTES = 1;
/** How far is looked past what no reader is shown (markers, aborted transactions): fetches, and bytes of each. */
const MAX_HIDDEN_LOOKS = 16;
const HIDDEN_LOOK_BYTES = 65_536;
/** Log that is read to count the messages of one partition; beyond it offsets are counted. Compacted logs are mostly gaps. */
const MAX_COUNTED_BYTES = 65_536;
const MAX_COMPACTED_BYTES = 1_048_576;

export interface PartitionLag extends TopicPartition {
  readonly committedOffset: number | null;
  readonly highWatermark: number;
  readonly lag: number;
  readonly lagSeconds: number;
  readonly memberId: string | null;
  readonly status: ReturnType<typeof lagOf>["status"];
}

export interface GroupLag {
  readonly groupId: string;
  readonly state: GroupDescription["state"];
  readonly totalLag: number;
  readonly partitions: readonly PartitionLag[];
}

export interface LagSources {
  readonly broker: Broker;
  readonly clock: Clock;
  readonly maxDecompressedBytes: number;
  /** Topics that are told. */
  readonly isSeen: TopicSight;
  readonly settings?: LagSettings;
}

/**
 * Lag of `group` on every partition of the topics that its members subscribe to, or did when it had some, or that it has
 * committed offsets of.
 * Throws UNKNOWN_GROUP.
 */
export async function groupLag(sources: LagSources, group: string): Promise<GroupLag> {
  return await lagOfGroup(sources, await sources.broker.group({ type: "Describe", group }));
}

/** The same of a group that was described just now. */
export async function lagOfGroup(
  sources: LagSources,
  description: GroupDescription,
): Promise<GroupLag> {
  const known = knownByPartition(description);
  const waiting = partitionsReadBy(sources.broker, description).filter(sources.isSeen);
  const partitions: PartitionLag[] = [];
  for (let at = 0; at < waiting.length; at += MAX_PARALLEL_LOOKS) {
    const looks = waiting.slice(at, at + MAX_PARALLEL_LOOKS)
      .map((partition) => lagAt(sources, partition, known.get(keyOf(partition)) ?? NOTHING_KNOWN));
    for (const lag of await Promise.all(looks)) if (lag !== null) partitions.push(lag);
  }
  const totalLag = partitions.reduce((total, { lag }) => total + lag, 0);
  return { groupId: description.groupId, state: description.state, totalLag, partitions };
}

/** All of the topics that its members subscribe to, or did when it had some, or that it has committed offsets of. */
export function partitionsReadBy(
  broker: Pick<Broker, "topic">,
  description: GroupDescription,
): TopicPartition[] {
  const subscribed = description.members.flatMap(({ topics }) => topics);
  const committed = description.offsets.map(({ topic }) => topic);
  const before = description.members.length === 0 ? topicsReadLast(description) : [];
  return [...new Set([...subscribed, ...committed, ...before])].sort().flatMap((topic) => {
    const partitionCount = broker.topic(topic)?.partitionCount ?? 0;
    return Array.from({ length: partitionCount }, (_, partition) => ({ topic, partition }));
  });
}

/** Of an empty group: what its last members gave up when they left. */
function topicsReadLast({ rebalances }: GroupDescription): string[] {
  return (rebalances.at(-1)?.moved ?? []).map(({ topic }) => topic);
}

/** What the group knows of a partition. Times in ms; null: never. */
interface Known {
  readonly committed: { readonly offset: number; readonly committedAt: number } | null;
  readonly memberId: string | null;
  /** When it came to that member. */
  readonly cameAtMs: number | null;
}

const NOTHING_KNOWN: Known = { committed: null, memberId: null, cameAtMs: null };

function keyOf({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`;
}

/** Gathered once: a group may have many partitions, and many rebalances that moved them. */
function knownByPartition(description: GroupDescription): Map<string, Known> {
  const known = new Map<string, Known>();
  const learn = (at: TopicPartition, fact: Partial<Known>) => {
    known.set(keyOf(at), { ...known.get(keyOf(at)) ?? NOTHING_KNOWN, ...fact });
  };
  for (const committed of description.offsets) learn(committed, { committed });
  for (const { assignment, memberId, joinedAt } of description.members) {
    for (const at of assignment) learn(at, { memberId, cameAtMs: joinedAt });
  }
  for (const { at: cameAtMs, moved } of description.rebalances) {
    for (const move of moved) {
      const before = known.get(keyOf(move));
      const owned = before !== undefined && before.memberId === move.to;
      if (owned && cameAtMs > (before.cameAtMs ?? 0)) learn(move, { cameAtMs });
    }
  }
  return known;
}

/** Null where the topic went away meanwhile. */
async function lagAt(
  { broker, clock, maxDecompressedBytes, settings = DEFAULT_LAG_SETTINGS }: LagSources,
  at: TopicPartition,
  { committed, memberId, cameAtMs }: Known,
): Promise<PartitionLag | null> {
  const info = await orNull(broker.partitionInfo(at));
  if (info === null) return null;
  const committedOffset = committed?.offset ?? null;
  const { logStartOffset, highWatermark } = info;
  const position = Math.max(committedOffset ?? logStartOffset, logStartOffset);
  const next = await nextMessage(broker, at, { from: position, end: highWatermark });
  // A group that has read every message is not behind by a marker that follows.
  const passed = next === position ? committed : { ...committed, offset: next };
  const isCompacted = broker.topic(at.topic)?.config.cleanupPolicy === "compact";
  const messages = await countMessages(broker, at, {
    from: next,
    to: highWatermark,
    budget: { bytesLeft: isCompacted ? MAX_COMPACTED_BYTES : MAX_COUNTED_BYTES },
    maxDecompressedBytes,
    withOpen: true,
  });
  const progress = [committed?.committedAt, cameAtMs].filter((time) => typeof time === "number");
  const { lag, lagSeconds, status } = lagOf({
    committedOffset: passed?.offset ?? null,
    logStartOffset,
    highWatermark,
    messages,
    memberId,
    ...await timesOf(broker, at, { info, committed: passed, maxDecompressedBytes }),
    lastProgressAtMs: progress.length === 0 ? null : Math.max(...progress),
    nowMs: clock.now(),
    settings,
  });
  return { ...at, committedOffset, highWatermark, lag, lagSeconds, memberId, status };
}

/** Offset of the first message from `from` on that a reader is shown, as far as it is looked for; `end` when none is. */
async function nextMessage(
  broker: Broker,
  at: TopicPartition,
  { from, end }: { from: number; end: number },
): Promise<number> {
  let offset = from;
  for (let look = 0; look < MAX_HIDDEN_LOOKS && offset < end; look++) {
    const maxBytes = look === 0 ? ONE_BATCH_BYTES : HIDDEN_LOOK_BYTES;
    const isolation = "read_committed" as const;
    const found = await orNull(broker.fetch(at, offset, { maxBytes, isolation }));
    if (found === null || found.batches.length === 0) return offset;
    for (const span of batchSpans(found.batches)) {
      const header = readHeader(found.batches, span.at);
      if (!isHidden(header, found.aborted)) return offset;
      offset = Math.max(offset, header.baseOffset + header.lastOffsetDelta + 1);
    }
  }
  return offset;
}

/** What is yet to be read tells how old it is; where nothing is, the last message tells how long it has been quiet. */
async function timesOf(
  broker: Broker,
  at: TopicPartition,
  options: {
    info: PartitionInfo;
    committed: { offset: number } | null;
    maxDecompressedBytes: number;
  },
): Promise<Pick<LagInput, "firstUncommittedTimestampMs" | "lastAppendAtMs">> {
  const { info: { logStartOffset, highWatermark }, committed, maxDecompressedBytes } = options;
  const none = { firstUncommittedTimestampMs: null, lastAppendAtMs: null };
  if (highWatermark === logStartOffset) return none;
  const position = Math.max(committed?.offset ?? logStartOffset, logStartOffset);
  const behind = position < highWatermark;
  const offset = behind ? position : highWatermark - 1;
  const found = await orNull(broker.fetch(at, offset, { maxBytes: ONE_BATCH_BYTES }));
  if (found === null || found.batches.length === 0) return none;
  return behind
    ? { ...none, firstUncommittedTimestampMs: timestampAt(found, offset, maxDecompressedBytes) }
    : { ...none, lastAppendAtMs: knownTime(maxTimestampAt(found.batches, 0)) };
}

function timestampAt(
  { batches }: FetchResult,
  offset: number,
  maxDecompressedBytes: number,
): number | null {
  for (const { at } of batchSpans(batches)) {
    const header = readHeader(batches, at);
    if (header.baseOffset >= offset) return knownTime(header.baseTimestamp);
    const record = decodeBatch(batches, at, { maxDecompressedBytes })
      .find((candidate) => candidate.offset >= offset);
    if (record !== undefined) return knownTime(record.timestamp);
  }
  return null;
}

/** Records need not have a time. */
function knownTime(timestamp: number): number | null {
  return timestamp < 0 ? null : timestamp;
}

async function orNull<Value>(promise: Promise<Value>): Promise<Value | null> {
  try {
    return await promise;
  } catch (error) {
    if (error instanceof BrokerError) return null;
    throw error;
  }
}
