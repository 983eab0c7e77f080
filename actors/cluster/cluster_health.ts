// Owns which partitions have no leader, and which have fewer replicas in sync than they are to have.
// Refuses to own what is done about it (decide_*.ts).
// Invariant: pure; a partition of which nothing is decided yet has no leader.
import { type TopicFacts, wantedReplicas } from "./min_insync.ts";
import type { ClusterView, PartitionRecord } from "./types.ts";

export interface PartitionPlace {
  readonly topic: string;
  readonly topicId: string;
  readonly partition: number;
}

type Records = Pick<ClusterView, "partition" | "members">;

/** Partitions that nobody leads, or whose leader is not there. */
export function offlinePartitions(
  view: Records & Pick<ClusterView, "online">,
  topics: Iterable<TopicFacts>,
): PartitionPlace[] {
  return places(view, topics, ({ record }) => {
    const leader = record?.leader ?? null;
    return leader === null || !view.online().has(leader);
  });
}

/** Partitions with fewer replicas in sync than they have, or than their topic wants. */
export function underReplicatedPartitions(
  view: Records,
  topics: Iterable<TopicFacts>,
): PartitionPlace[] {
  const members = [...view.members().values()].filter((member) => !member.draining).length;
  return places(view, topics, ({ record, topic }) => {
    const wanted = wantedReplicas(topic, members);
    if (record === null) return true;
    return record.isr.length < Math.max(wanted, (record.target ?? record.replicas).length) ||
      (record.lost?.length ?? 0) > 0;
  });
}

function places(
  view: Records,
  topics: Iterable<TopicFacts>,
  isOne: (at: { record: PartitionRecord | null; topic: TopicFacts }) => boolean,
): PartitionPlace[] {
  const found: PartitionPlace[] = [];
  for (const topic of topics) {
    for (let partition = 0; partition < topic.partitionCount; partition++) {
      const record = view.partition(topic.topicId, partition)?.record ?? null;
      if (!isOne({ record, topic })) continue;
      found.push({ topic: topic.name, topicId: topic.topicId, partition });
    }
  }
  return found;
}
