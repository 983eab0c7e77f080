// Owns what happened to partitions between two looks: which got how many bytes, which lost or found their leader.
// Refuses to own where the figures come from (the partitions' actors).
// Invariant: what is seen for the first time is no change, and what it got before counts for nothing.
import {
  MAX_SAMPLED_PARTITIONS,
  type PartitionActivity,
  type PartitionSample,
} from "../../actors/measurement/types.ts";
import { isInternalName } from "../../api/fields.ts";

export interface PartitionChanges {
  /** Those with the most bytes, of topics that users made. */
  readonly busiest: readonly PartitionSample[];
  readonly leaderChanges: number;
  readonly inSyncChanges: number;
  readonly offline: number;
  /** Over all topics. */
  readonly storageBytes: number;
  /** Appends that wait. */
  readonly waiting: number;
}

/** Partitions looked at before others have their turn. */
const TURN_PARTITIONS = 500;

/** By partition number: there may be many, so they are kept without an object each. */
interface SeenTopic {
  readonly appendedBytes: number[];
  readonly online: boolean[];
}

class Round {
  readonly topics = new Map<string, SeenTopic>();
  readonly grown: { topic: string; partition: number; bytes: number }[] = [];
  total = 0;
  found = 0;
  lost = 0;
  offline = 0;
  storageBytes = 0;
  waiting = 0;

  constructor(private readonly before: ReadonlyMap<string, SeenTopic>) {}

  see({ topic, partition, online, appendedBytes, sizeBytes, waiting }: PartitionActivity): void {
    let seen = this.topics.get(topic);
    if (seen === undefined) this.topics.set(topic, seen = { appendedBytes: [], online: [] });
    seen.appendedBytes[partition] = appendedBytes;
    seen.online[partition] = online;
    this.storageBytes += sizeBytes;
    this.waiting += waiting;
    if (!online) this.offline++;
    const earlier = this.before.get(topic);
    const bytesBefore = earlier?.appendedBytes[partition];
    if (earlier === undefined || bytesBefore === undefined) return;
    if (online && !earlier.online[partition]) this.found++;
    if (!online && earlier.online[partition]) this.lost++;
    // A topic that was made anew under its name starts at 0 again.
    const bytes = Math.max(0, appendedBytes - bytesBefore);
    if (bytes === 0 || isInternalName(topic)) return;
    this.total += bytes;
    this.grown.push({ topic, partition, bytes });
  }

  changes(): PartitionChanges {
    const { found, lost, offline, storageBytes, waiting } = this;
    const busiest = this.grown.sort((a, b) => b.bytes - a.bytes).slice(0, MAX_SAMPLED_PARTITIONS)
      .map((one) => ({ ...one, share: one.bytes / this.total }));
    const inSyncChanges = found + lost;
    return { busiest, leaderChanges: found, inSyncChanges, offline, storageBytes, waiting };
  }
}

export class PartitionWatch {
  #seen: ReadonlyMap<string, SeenTopic> = new Map();

  constructor(private readonly yieldTurn: () => Promise<void>) {}

  async look(partitions: Iterable<PartitionActivity>): Promise<PartitionChanges> {
    const round = new Round(this.#seen);
    let looked = 0;
    for (const partition of partitions) {
      round.see(partition);
      if (++looked % TURN_PARTITIONS === 0) await this.yieldTurn();
    }
    this.#seen = round.topics;
    return round.changes();
  }
}
