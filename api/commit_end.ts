// Owns up to where a group may commit in a partition, asked of whoever leads it.
// Refuses to own what becomes of a commit beyond it (the group). Invariant: no reader has been given what lies beyond it.
import type { Broker, TopicPartition } from "../actors/broker.ts";
import { BrokerError } from "../storage/broker_error.ts";

/**
 * The end for a commit of `offset`. LEADER_NOT_AVAILABLE, to be tried again, while a leader that is new does not know yet
 * how far its followers are, and so not whether what its log holds was shown under the one before. Errors: those of
 * `partitionInfo`.
 */
export async function commitEndOf(
  broker: Pick<Broker, "partitionInfo">,
  { topic, partition }: TopicPartition,
  offset: number,
): Promise<number> {
  const { highWatermark, logEndOffset } = await broker.partitionInfo({ topic, partition });
  if (offset > highWatermark && offset <= logEndOffset) {
    const detail = `${topic}/${partition} holds what lies below ${offset}, and is not known yet ` +
      "to have it on enough replicas";
    throw new BrokerError("LEADER_NOT_AVAILABLE", detail, { topic, partition });
  }
  return highWatermark;
}
