// Owns how transactions reach the partitions and groups of the same process.
// Refuses to own either. Invariant: a partition is looked up anew each time, so one that went away is seen to have gone.
import type { Topic, TopicPartition } from "../broker.ts";
import type { GroupCoordinator } from "../group/coordinator.ts";
import type { PartitionSet } from "../partition/partition_set.ts";
import { unknownTopic } from "../topic/unknown_topic.ts";
import type { TransactionGroups, TransactionLogs } from "./ports.ts";

export interface LocalTransactionParts {
  readonly topic: (name: string) => Topic | null;
  readonly partitions: PartitionSet;
  readonly groups: GroupCoordinator;
}

export function localTransactionLogs(
  { topic, partitions }: LocalTransactionParts,
): TransactionLogs {
  return {
    topicIdOf(at: TopicPartition): string {
      const found = topic(at.topic);
      if (found === null) throw unknownTopic(at.topic);
      partitions.find(at);
      return found.topicId;
    },
    append: async (at, batches) =>
      (partitions.find(at) ?? await partitions.opened(at)).append(batches, { acks: "all" }),
    nextSequence: (at, producer) => partitions.get(at).nextSequence(producer),
    async writeMarker(at, marker) {
      await (await partitions.opened(at)).writeMarker(marker);
    },
  };
}

export function localTransactionGroups(
  { partitions, groups }: LocalTransactionParts,
): TransactionGroups {
  return {
    async stage({ group, transactionId, offsets, principal, asker }) {
      const entries = await Promise.all(offsets.map(async ({ groupId: _, ...entry }) => ({
        ...entry,
        endOffset: (await partitions.opened(entry)).info().highWatermark,
      })));
      const asked = asker === undefined ? {} : { asker };
      const staged = { group, transactionId, offsets: entries, principal, ...asked };
      await groups.execute({ type: "StageOffsets", ...staged });
    },
    async end({ group, transactionId, commit }) {
      await groups.execute({ type: "EndStagedOffsets", group, transactionId, commit });
    },
  };
}
