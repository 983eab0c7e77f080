// Owns how the actors of this process serve a job's needs.
// Refuses to own any of them. Invariant: every refusal is a rejection, as it would be from afar.
import type { Broker } from "../broker.ts";
import type { GroupCoordinator } from "../group/coordinator.ts";
import type { MessageKeys } from "../message_keys/message_keys.ts";
import type { PartitionSet } from "../partition/partition_set.ts";
import type { Producers } from "../partition/types.ts";
import type { JobBroker } from "./ports.ts";

/** The broker of this process as jobs see it. */
export function jobBroker(parts: {
  readonly topic: Broker["topic"];
  readonly partitions: PartitionSet;
  readonly groups: GroupCoordinator;
  readonly ownIds: Pick<Producers, "allocate">;
  readonly messageKeys: MessageKeys;
}): JobBroker {
  const { topic, partitions, groups, ownIds, messageKeys } = parts;
  return {
    topic,
    partitionInfo: async (at) => (await partitions.opened(at)).info(),
    append: async (at, batches, options) => (await partitions.opened(at)).append(batches, options),
    appendCopies: async (at, batch, keys) => {
      await partitions.opened(at);
      await messageKeys.appendCopies(at, [batch], [keys]);
    },
    fetch: async (at, offset, options) => (await partitions.opened(at)).fetch(offset, options),
    offsetForTime: async (at, timestampMs) =>
      (await partitions.opened(at)).offsetForTime(timestampMs),
    allocateProducer: () => ownIds.allocate(),
    redeliver: async (redelivery) => {
      await groups.execute({ type: "Redeliver", ...redelivery });
    },
    requireGroup: async (group) => {
      await groups.execute({ type: "Describe", group });
    },
  };
}
