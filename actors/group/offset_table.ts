// Owns committed offsets by partition, shaped so that one commit copies little.
// Refuses to own whether a commit is allowed (decide_commit.ts).
// Invariant: plain JSON, never changed in place; a change copies one chunk of its topic, not the topic, nor the group.
import type { TopicPartition } from "../broker.ts";
import { emptyTable, entriesOf, lookUp, put, sortedKeys, type Table, without } from "./table.ts";
import type { CommittedOffset } from "./types.ts";

/** Partitions a chunk: a commit in a topic of 10,000 partitions copies 64 + 157 references. */
const CHUNK_BITS = 6;
const CHUNK_PARTITIONS = 1 << CHUNK_BITS;

type Chunk = readonly (CommittedOffset | null)[];
type TopicOffsets = readonly (Chunk | null)[];

export interface OffsetTable {
  /** Partitions that have an offset. */
  readonly size: number;
  readonly topics: Table<TopicOffsets>;
}

export const NO_OFFSETS: OffsetTable = Object.freeze({
  size: 0,
  topics: emptyTable<TopicOffsets>(),
});

/** Null when nothing was committed there. */
export function committedAt(table: OffsetTable, at: TopicPartition): CommittedOffset | null {
  const chunk = lookUp(table.topics, at.topic)?.[at.partition >>> CHUNK_BITS];
  return chunk?.[at.partition & (CHUNK_PARTITIONS - 1)] ?? null;
}

/** The table with `committed` at `at`; partitions are bounded by whoever decides. */
export function withOffset(
  table: OffsetTable,
  at: TopicPartition,
  committed: CommittedOffset,
): OffsetTable {
  const chunks = lookUp(table.topics, at.topic)?.slice() ?? [];
  const which = at.partition >>> CHUNK_BITS;
  while (chunks.length <= which) chunks.push(null);
  const chunk = chunks[which]?.slice() ?? [];
  const index = at.partition & (CHUNK_PARTITIONS - 1);
  while (chunk.length <= index) chunk.push(null);
  const isNew = chunk[index] === null;
  chunk[index] = committed;
  chunks[which] = chunk;
  return {
    size: table.size + (isNew ? 1 : 0),
    topics: put(table.topics, at.topic, chunks),
  };
}

/** The table without the offsets of `topic` from partition `fromPartition` on. */
export function withoutOffsets(
  table: OffsetTable,
  topic: string,
  fromPartition: number,
): OffsetTable {
  const dropped =
    listTopicOffsets(table, topic).filter(({ partition }) => partition >= fromPartition).length;
  if (dropped === 0) return table;
  const size = table.size - dropped;
  if (fromPartition === 0) return { size, topics: without(table.topics, topic) };
  const last = (fromPartition - 1) >>> CHUNK_BITS;
  const chunks = lookUp(table.topics, topic)!.slice(0, last + 1);
  const kept = ((fromPartition - 1) & (CHUNK_PARTITIONS - 1)) + 1;
  chunks[last] = chunks[last]?.slice(0, kept) ?? null;
  const empty = chunks.every((chunk) => chunk === null || chunk.every((entry) => entry === null));
  return { size, topics: empty ? without(table.topics, topic) : put(table.topics, topic, chunks) };
}

/** Topics that have offsets, in order. */
export function topicsWithOffsets(table: OffsetTable): string[] {
  return sortedKeys(table.topics);
}

/** Highest partition of each topic that has offsets. */
export function* lastPartitions(table: OffsetTable): Generator<TopicPartition> {
  for (const [topic] of entriesOf(table.topics)) {
    const last = listTopicOffsets(table, topic).at(-1);
    if (last !== undefined) yield { topic, partition: last.partition };
  }
}

function listTopicOffsets(table: OffsetTable, topic: string): (TopicPartition & CommittedOffset)[] {
  const found: (TopicPartition & CommittedOffset)[] = [];
  (lookUp(table.topics, topic) ?? []).forEach((chunk, which) => {
    (chunk ?? []).forEach((entry, index) => {
      if (entry !== null) {
        found.push({ topic, partition: which * CHUNK_PARTITIONS + index, ...entry });
      }
    });
  });
  return found;
}

/** All of them, in order of topic and partition. */
export function listOffsets(table: OffsetTable): (TopicPartition & CommittedOffset)[] {
  return topicsWithOffsets(table).flatMap((topic) => listTopicOffsets(table, topic));
}
