// Owns sets of partitions in compact form: by topic, in order.
// Refuses to own who holds them.
// Invariant: topics in order and once each, partitions ascending and once each, no topic without partitions.
import { lowerBound } from "../../storage/lower_bound.ts";
import type { TopicPartition } from "../broker.ts";

export interface TopicPartitions {
  readonly topic: string;
  readonly partitions: readonly number[];
}

/** Plain JSON; never changed in place. */
export type PartitionSet = readonly TopicPartitions[];

export const NO_PARTITIONS: PartitionSet = Object.freeze([]);

/** Orders by topic (code units), then partition. */
export function comparePartitions(a: TopicPartition, b: TopicPartition): number {
  if (a.topic !== b.topic) return a.topic < b.topic ? -1 : 1;
  return a.partition - b.partition;
}

/** Takes partitions in order of `comparePartitions` and groups them. */
export class PartitionSetBuilder {
  readonly #topics: { topic: string; partitions: number[] }[] = [];

  add(topic: string, partition: number): void {
    const last = this.#topics.at(-1);
    if (last?.topic !== topic) this.#topics.push({ topic, partitions: [partition] });
    else if (last.partitions.at(-1) !== partition) last.partitions.push(partition);
  }

  build(): PartitionSet {
    return this.#topics.length === 0 ? NO_PARTITIONS : this.#topics;
  }
}

/** `partitions` in any order, repeats allowed, as a set. */
export function partitionSetOf(partitions: readonly TopicPartition[]): PartitionSet {
  const builder = new PartitionSetBuilder();
  for (const { topic, partition } of partitions.toSorted(comparePartitions)) {
    builder.add(topic, partition);
  }
  return builder.build();
}

export function listPartitions(set: PartitionSet): TopicPartition[] {
  return set.flatMap(({ topic, partitions }) =>
    partitions.map((partition) => ({ topic, partition }))
  );
}

export function countPartitions(set: PartitionSet): number {
  return set.reduce((sum, { partitions }) => sum + partitions.length, 0);
}

/** In the logarithm of the set's size for each level: a commit asks this for each of its partitions. */
export function containsPartition(set: PartitionSet, at: TopicPartition): boolean {
  const topic = set[lowerBound(set.length, (i) => set[i]!.topic < at.topic)];
  if (topic?.topic !== at.topic) return false;
  const { partitions } = topic;
  return partitions[lowerBound(partitions.length, (i) => partitions[i]! < at.partition)] ===
    at.partition;
}

export function withPartitions(set: PartitionSet, added: readonly TopicPartition[]): PartitionSet {
  return added.length === 0 ? set : partitionSetOf([...listPartitions(set), ...added]);
}

/** `set` without the partitions that `isGone` names; itself when there are none. */
export function withoutPartitions(
  set: PartitionSet,
  isGone: (topic: string, partition: number) => boolean,
): PartitionSet {
  let changed = false;
  const rest: TopicPartitions[] = [];
  for (const entry of set) {
    const kept = entry.partitions.filter((partition) => !isGone(entry.topic, partition));
    if (kept.length === entry.partitions.length) rest.push(entry);
    else {
      changed = true;
      if (kept.length > 0) rest.push({ topic: entry.topic, partitions: kept });
    }
  }
  if (!changed) return set;
  return rest.length === 0 ? NO_PARTITIONS : rest;
}
