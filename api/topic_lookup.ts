// Owns finding the topic or partition that a request names, and saying clearly that it is not there.
// Refuses to own what is done with it.
// Invariant: an unknown name never turns into an error of the broker's own.
import type { Broker, Topic, TopicDescription } from "../actors/broker.ts";
import { unknownTopic } from "../actors/topic/unknown_topic.ts";
import { BrokerError } from "../storage/broker_error.ts";

/** The topic; throws UNKNOWN_TOPIC. */
export function existingTopic(broker: Broker, name: string): Topic {
  const topic = broker.topic(name);
  if (topic !== null) return topic;
  throw unknownTopic(name);
}

/** Throws UNKNOWN_PARTITION where `topic` has no such partition; `path` is where the request says so. */
export function refuseUnknownPartition(topic: Topic, partition: number, path: string): void {
  if (partition < topic.partitionCount) return;
  throw new BrokerError(
    "UNKNOWN_PARTITION",
    `${path}: topic ${topic.name} has ${topic.partitionCount} partitions, there is no ${partition}`,
    { topic: topic.name, partition, partitions: topic.partitionCount },
  );
}

/** The description, or null where the topic went away since its name was listed. */
export async function describedOrGone(
  broker: Broker,
  name: string,
): Promise<TopicDescription | null> {
  try {
    return await broker.describeTopic(name);
  } catch (error) {
    if (error instanceof BrokerError && error.code === "UNKNOWN_TOPIC") return null;
    throw error;
  }
}
