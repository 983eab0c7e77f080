// Owns the topics that hold the journals of the broker's own actors: their names, and making them at the first start.
// Refuses to own what is written to them.
// Invariant: made once; how many partitions one has never changes afterwards.
import { BrokerError } from "../storage/broker_error.ts";
import type { Encryption } from "../storage/log.ts";
import type { Clock, Randomness } from "../storage/ports.ts";
import type { TopicConfig } from "./broker.ts";
import type { TopicCatalog } from "./topic/topic_catalog.ts";

/** The internal topic that holds the journals of all consumer groups. */
export const GROUPS_TOPIC = "__groups";
/** The internal topic that holds the journal of all replay and redrive jobs. */
export const JOBS_TOPIC = "__jobs";

export const INTERNAL_TOPIC_CONFIG: TopicConfig = {
  replicationFactor: 1,
  minInsyncReplicas: 1,
  retentionHours: 0,
  retentionBytes: null,
  cleanupPolicy: "delete",
  durability: "fsync",
  maxMessageBytes: 1_048_576,
  segmentBytes: 64 * 1_048_576,
  segmentHours: 720,
};

/** Old entries go by whole segments. */
export const AUDIT_TOPIC_CONFIG: Partial<TopicConfig> = {
  segmentBytes: 16 * 1_048_576,
  segmentHours: 168,
};

/** Makes the topic when it is missing, as other brokers may at the same moment, and sets what `config` says of its retention. */
export async function ensureInternalTopic(
  catalog: TopicCatalog,
  made: { readonly clock: Clock; readonly randomness: Randomness; readonly encryption: Encryption },
  [name, partitions]: readonly [string, number],
  config: Partial<TopicConfig> = {},
): Promise<void> {
  const known = catalog.topic(name)?.config;
  if (known !== undefined) {
    const { retentionHours = known.retentionHours } = config;
    if (known.retentionHours === retentionHours) return;
    await catalog.execute({ type: "UpdateTopic", name, config, brokers: 1 });
    return;
  }
  try {
    await catalog.execute({
      type: "CreateTopic",
      topicId: made.randomness.uuid(),
      name,
      partitions,
      config: { ...INTERNAL_TOPIC_CONFIG, encryption: made.encryption, ...config },
      at: made.clock.now(),
      brokers: 1,
    });
  } catch (error) {
    if (!(error instanceof BrokerError && error.code === "TOPIC_ALREADY_EXISTS")) throw error;
  }
}
