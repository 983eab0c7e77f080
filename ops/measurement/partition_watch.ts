// Owns what happened to partitions between two looks: which got how many bytes, which lost or found their leader.
// Refuses to own where the figures come from (the partitions' actors).
// Invariant: what is seen for the first time is no change, and what it got before counts for nothing.
import { isInternalName } from "../../api/fields.ts";
import {
  MAX_SAMPLED_PARTITIONS,
  type PartitionActivity,
  type PartitionSample,
} from "../../actors/measurement/types.ts";

export interface PartitionChanges {
  /** Those with the most bytes, of topics that users made. */
  readonly busiest: readonly PartitionSample[];
  readonly leaderChanges: number;
  readonly inSyncChanges: number;
  readonly offline: number;
  /** Over all topics. */
  readonly storageBytes: number;
}

interface Seen {
  readonly appendedBytes: number;
  readonly online: boolean;
}

export class PartitionWatch {
  #seen = new Map<string, Seen>();

  look(partitions: readonly PartitionActivity[]): PartitionChanges {
    const seen = new Map<string, Seen>();
    const grown: { topic: string; partition: number; bytes: number }[] = [];
    let total = 0;
    let found = 0;
    let lost = 0;
    let offline = 0;
    let storageBytes = 0;
    for (const { topic, partition, online, appendedBytes, sizeBytes } of partitions) {
      const key = `${topic}/${partition}`;
      const before = this.#seen.get(key);
      seen.set(key, { appendedBytes, online });
      storageBytes += sizeBytes;
      if (!online) offline++;
      if (before === undefined) continue;
      if (online && !before.online) found++;
      if (!online && before.online) lost++;
      // A topic that was made anew under its name starts at 0 again.
      const bytes = Math.max(0, appendedBytes - before.appendedBytes);
      if (bytes === 0 || isInternalName(topic)) continue;
      total += bytes;
      grown.push({ topic, partition, bytes });
    }
    this.#seen = seen;
    const busiest = grown.sort((a, b) => b.bytes - a.bytes).slice(0, MAX_SAMPLED_PARTITIONS)
      .map((one) => ({ ...one, share: one.bytes / total }));
    return { busiest, leaderChanges: found, inSyncChanges: found + lost, offline, storageBytes };
  }
}
