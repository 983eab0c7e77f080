// Owns the words in which every part says that a topic, or a partition of one, is not there.
// Refuses to own looking for it.
// Invariant: whoever may not see a topic is told exactly what one is told of a topic that does not exist.
import { BrokerError } from "../../storage/broker_error.ts";

/** UNKNOWN_TOPIC, to be thrown. */
export function unknownTopic(name: string): BrokerError {
  return new BrokerError("UNKNOWN_TOPIC", `there is no topic ${name}`, { topic: name });
}

/** UNKNOWN_PARTITION, to be thrown. */
export function unknownPartition(
  { topic, partition }: { readonly topic: string; readonly partition: number },
  partitions: number,
): BrokerError {
  return new BrokerError(
    "UNKNOWN_PARTITION",
    `topic ${topic} has no partition ${partition}, it has ${partitions}`,
    { topic, partition, partitions },
  );
}
