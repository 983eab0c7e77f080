// Owns how transactions reach partitions and groups.
// Refuses to own either. Invariant: a partition is looked up anew each time, so one that went away is seen to have gone.
import type { Topic, TopicPartition } from "../broker.ts";
import type { Reach } from "../reach.ts";
import { unknownPartition, unknownTopic } from "../topic/unknown_topic.ts";
import type { TransactionGroups, TransactionLogs } from "./ports.ts";

export interface LocalTransactionParts {
  readonly topic: (name: string) => Topic | null;
  readonly reach: Reach;
}

export function localTransactionLogs({ topic, reach }: LocalTransactionParts): TransactionLogs {
  return {
    topicIdOf(at: TopicPartition): string {
      const found = topic(at.topic);
      if (found === null) throw unknownTopic(at.topic);
      if (at.partition >= found.partitionCount) throw unknownPartition(at, found.partitionCount);
      return found.topicId;
    },
    append: (at, batches) => reach.append(at, batches),
    nextSequence: (at, producer) => reach.nextSequence(at, producer),
    async writeMarker(at, marker) {
      await reach.writeMarker(at, marker);
    },
  };
}

export function localTransactionGroups({ reach }: LocalTransactionParts): TransactionGroups {
  return {
    async stage({ group, transactionId, offsets, principal, asker }) {
      const entries = await Promise.all(offsets.map(async ({ groupId: _, ...entry }) => ({
        ...entry,
        endOffset: (await reach.partitionInfo(entry)).highWatermark,
      })));
      const asked = asker === undefined ? {} : { asker };
      const staged = { group, transactionId, offsets: entries, principal, ...asked };
      await reach.group({ type: "StageOffsets", ...staged });
    },
    async end({ group, transactionId, commit }) {
      await reach.group({ type: "EndStagedOffsets", group, transactionId, commit });
    },
  };
}
