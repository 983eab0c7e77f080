// Owns committed offsets in the compact form in which events carry them.
// Refuses to own where they are kept (offset_table.ts).
// Invariant: plain JSON; topics in order, partitions ascending, each once.
import type { TopicPartition } from "../broker.ts";
import { listOffsets, type OffsetTable } from "./offset_table.ts";

/** Offsets by topic, as pairs of partition and offset. */
export type CompactOffsets = readonly {
  readonly topic: string;
  readonly offsets: readonly (readonly [partition: number, offset: number])[];
}[];

export function compactOffsets(table: OffsetTable): CompactOffsets {
  const topics: { topic: string; offsets: [number, number][] }[] = [];
  for (const { topic, partition, offset } of listOffsets(table)) {
    const last = topics.at(-1);
    if (last?.topic === topic) last.offsets.push([partition, offset]);
    else topics.push({ topic, offsets: [[partition, offset]] });
  }
  return topics;
}

/** Only those of partitions from `fromPartition` on, of the topics named. */
export function offsetsFrom(
  compact: CompactOffsets,
  dropped: readonly { readonly topic: string; readonly fromPartition: number }[],
): CompactOffsets {
  const from = new Map(dropped.map(({ topic, fromPartition }) => [topic, fromPartition]));
  return compact.filter(({ topic }) => from.has(topic)).map(({ topic, offsets }) => ({
    topic,
    offsets: offsets.filter(([partition]) => partition >= from.get(topic)!),
  }));
}

/** In order of topic and partition. */
export function listCompact(
  compact: CompactOffsets,
): (TopicPartition & { readonly offset: number })[] {
  return compact.flatMap(({ topic, offsets }) =>
    offsets.map(([partition, offset]) => ({ topic, partition, offset }))
  );
}
