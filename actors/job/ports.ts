// Owns what jobs need of the broker around them.
// Refuses to own who serves it. Invariant: a part of the Broker port and of its groups, so a job may run elsewhere.
import type { Broker, TopicPartition } from "../broker.ts";
import type { Reach } from "../reach.ts";
import type { JobIdentity } from "./events.ts";

/** Messages that a group is to get once more. */
export interface Redelivery {
  readonly group: string;
  readonly jobId: string;
  /** Counts the job's redeliveries from 0: a repeat of one that is known changes nothing. */
  readonly chunk: number;
  readonly topic: string;
  readonly partition: number;
  /** Rising. */
  readonly offsets: readonly number[];
  readonly principal: string;
}

export interface JobBroker
  extends
    Pick<Broker, "topic" | "partitionInfo" | "fetch" | "offsetForTime">,
    Pick<Reach, "append"> {
  /**
   * Appends copies of messages of another topic; `keys` are their idempotency keys, which count in this topic from then on
   * unless it has them already. Durable when it resolves. Rejects as `append`.
   */
  appendCopies(
    at: TopicPartition,
    batch: Uint8Array,
    keys: readonly (string | null)[],
  ): Promise<void>;
  /** A producer identity that nobody has had. */
  allocateProducer(): Promise<JobIdentity>;
  /** Hands messages to one group alone; durable when it resolves. UNKNOWN_GROUP. */
  redeliver(redelivery: Redelivery): Promise<void>;
  /** Rejects with UNKNOWN_GROUP when there is no such group. */
  requireGroup(group: string): Promise<void>;
}
