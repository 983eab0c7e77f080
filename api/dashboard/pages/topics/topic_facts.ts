// Owns what a topic comes to: sums over its partitions, its settings in words.
// Refuses to own drawing it. Invariant: pure; an offset range is called that, since not every offset is a message.
import type { Partition, Topic } from "../../answers.ts";
import { bytes, count, duration } from "../../format.ts";

export function offlineOf({ partitions }: Topic): readonly Partition[] {
  return partitions.filter(({ state }) => state === "offline");
}

/** Offsets between the log's start and its end; of compacted topics many hold nothing. */
export function storedMessages({ partitions }: Topic): number {
  return partitions.reduce(
    (sum, { logStartOffset, highWatermark }) => sum + highWatermark - logStartOffset,
    0,
  );
}

export function storedBytes({ partitions }: Topic): number {
  return partitions.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

/** How long messages stay. */
export function retentionText(
  { cleanupPolicy, retentionHours, retentionBytes }: Topic,
): string {
  if (cleanupPolicy === "compact") return "newest of each key";
  const time = retentionHours === 0 ? "for ever" : hoursText(retentionHours);
  return retentionBytes === null ? time : `${time}, ${bytes(retentionBytes)} a partition`;
}

export function hoursText(hours: number): string {
  return duration(hours * 3_600);
}

/** Every setting by name, in words. */
export function settingsOf(topic: Topic): (readonly [string, string])[] {
  const rate = (value: number | null, unit: (value: number) => string) =>
    value === null ? "no limit" : `${unit(value)} a second`;
  return [
    ["Kept", retentionText(topic)],
    ["Clean-up", topic.cleanupPolicy],
    [
      "Durability",
      topic.durability === "fsync" ? "fsync: on the disk" : "os: in the system's cache",
    ],
    ["Replicas", `${topic.replicationFactor}, ${topic.minInsyncReplicas} must have a message`],
    ["Largest message", bytes(topic.maxMessageBytes)],
    ["Segment", `${bytes(topic.segmentBytes)} or ${hoursText(topic.segmentHours)}`],
    [
      "Archive",
      !topic.archive
        ? "no"
        : topic.archiveRetentionHours === 0
        ? "yes, for ever"
        : `yes, for ${hoursText(topic.archiveRetentionHours)}`,
    ],
    ["Encryption", topic.encryption],
    ["Publish limit", rate(topic.publishBytesPerSecond, bytes)],
    ["Messages limit", rate(topic.publishMessagesPerSecond, count)],
    ["Consume limit", rate(topic.consumeBytesPerSecond, bytes)],
    ...(topic.cleanupPolicy === "compact"
      ? [["Tombstones stay", hoursText(topic.tombstoneHours)] as const]
      : []),
  ];
}
