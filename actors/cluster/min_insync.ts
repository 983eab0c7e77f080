// Owns how many replicas a partition is to have, and how many must be in sync for the high watermark to rise.
// Refuses to own who they are.
// Invariant: pure; while replicas are added or taken away the smaller set counts, so that a move never stops publishing.
import type { Topic } from "../broker.ts";
import type { PartitionRecord } from "./types.ts";

/** Replicas of internal topics, where there are as many members. */
export const INTERNAL_REPLICAS = 3;

export type TopicFacts = Pick<Topic, "topicId" | "name" | "partitionCount" | "config">;

export function isInternal(topic: Pick<Topic, "name">): boolean {
  return topic.name.startsWith("__");
}

/** Of a topic's partition that has so many replicas: for internal topics most of them, else as the topic says. */
export function minInsyncOf(topic: Pick<Topic, "name" | "config">, replicas: number): number {
  return isInternal(topic)
    ? Math.max(1, Math.floor((replicas + 1) / 2))
    : topic.config.minInsyncReplicas;
}

/** As minInsyncOf for what a record says, moves under way included. */
export function settledMinInsync(
  topic: Pick<Topic, "name" | "config">,
  { replicas, target, origin }: PartitionRecord,
): number {
  const settled = Math.min((target ?? replicas).length, (origin ?? replicas).length);
  return minInsyncOf(topic, settled);
}

/**
 * What the leader of this record needs in sync for its high watermark to rise. While the record names others eligible it
 * needs more than there are: they lack what would be acknowledged without them, also when the topic's setting was lowered
 * since (KIP-966).
 */
export function minInsyncOfRecord(
  topic: Pick<Topic, "name" | "config">,
  record: PartitionRecord,
): number {
  const needed = settledMinInsync(topic, record);
  return record.elr.length === 0 ? needed : Math.max(needed, record.isr.length + 1);
}

/** How many replicas each partition is to have, when there are so many members that may hold some. */
export function wantedReplicas(topic: Pick<Topic, "name" | "config">, members: number): number {
  return isInternal(topic)
    ? Math.min(INTERNAL_REPLICAS, Math.max(1, members))
    : topic.config.replicationFactor;
}
