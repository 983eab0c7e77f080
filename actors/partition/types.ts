// Owns the plain data and the ports of producers and of transactions' markers that cross the Broker port.
// Refuses to own behaviour. Invariant: plain data and async methods only, so whoever answers may be elsewhere.
import type { ProducerCounters } from "./producer_census.ts";
import type { ProducerIdentity } from "./producer_ids.ts";
import type { MarkerCommand } from "./producer_state.ts";

export type { MarkerCommand, ProducerCounters, ProducerIdentity };

export interface MarkerReceipt {
  /** Of the marker; null where the transaction had been ended before. */
  readonly offset: number | null;
}

/**
 * The home of keys, idempotency keys of messages or of requests, in which a broker decides who may append one: it leads
 * partition 0 of `topicId` in `leaderEpoch`. `round` is raised where what the home itself has sent before is to come too late.
 */
export interface KeysTerm {
  readonly topicId: string;
  readonly leaderEpoch: number;
  readonly round: number;
}

/** End exclusive. */
export interface OffsetRange {
  readonly startOffset: number;
  readonly endOffset: number;
}

export interface Producers {
  /** A producer id that nobody else has, with epoch 0; durable as taken. METADATA_CONFLICT. */
  allocate(): Promise<ProducerIdentity>;
  /** The sequence that the partition expects next of this producer and epoch. UNKNOWN_TOPIC, UNKNOWN_PARTITION. */
  nextSequence(
    at: { readonly topic: string; readonly partition: number },
    producer: ProducerIdentity,
  ): Promise<number>;
  counters(): Promise<ProducerCounters>;
}
