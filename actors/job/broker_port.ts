// Owns how jobs see their broker.
// Refuses to own what jobs do with it. Invariant: it answers as the Broker port does, wherever a partition or group is.
import type { Broker } from "../broker.ts";
import type { Producers } from "../partition/types.ts";
import type { Reach } from "../reach.ts";
import type { JobBroker } from "./ports.ts";

export function jobBroker(parts: {
  readonly topic: Broker["topic"];
  readonly reach: Reach;
  readonly ownIds: Pick<Producers, "allocate">;
}): JobBroker {
  const { topic, reach, ownIds } = parts;
  return {
    topic,
    partitionInfo: (at) => reach.partitionInfo(at),
    append: (at, batches) => reach.append(at, batches),
    appendCopies: (at, batch, keys) => reach.appendCopies(at, batch, keys),
    fetch: (at, offset, options) => reach.fetch(at, offset, options),
    offsetForTime: (at, timestampMs) => reach.offsetForTime(at, timestampMs),
    allocateProducer: () => ownIds.allocate(),
    redeliver: async (redelivery) => {
      await reach.group({ type: "Redeliver", ...redelivery });
    },
    requireGroup: async (group) => {
      await reach.group({ type: "Describe", group });
    },
  };
}
