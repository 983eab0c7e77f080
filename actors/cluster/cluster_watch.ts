// Owns what this broker measures of its cluster: how late followers of what it leads are, what has changed, what is in trouble.
// Refuses to own when that is too much (../threshold/) and what is done about it.
// Invariant: from memory. What leaders are asked about is counted at the leader alone, so that brokers add up; what nobody
// leads is the same at every broker.
import type { Clock } from "../../storage/ports.ts";
import { replicationDelayMs } from "../replication/follower_lags.ts";
import type { Replicas } from "../replication/replicas.ts";
import { offlinePartitions, underReplicatedPartitions } from "./cluster_health.ts";
import type { TopicFacts } from "./min_insync.ts";
import type { ClusterView, KeptPartition } from "./types.ts";

export interface ReplicationFigures {
  /** How long the in-sync follower furthest behind has been so, of all that is led here; 0: all have all. */
  readonly delayMs: number;
  /** Since the broker has started: partitions that it began to lead, and changes of who is in sync with it. */
  readonly leaderChanges: number;
  readonly inSyncChanges: number;
  /** Of those led here. */
  readonly underReplicatedPartitions: number;
  /** Of the cluster. */
  readonly offlinePartitions: number;
}

export interface ClusterWatchOptions {
  readonly view: Pick<ClusterView, "nodeId" | "online" | "members" | "partition" | "partitions">;
  readonly replicas: Pick<Replicas, "all">;
  readonly topics: () => Iterable<TopicFacts>;
  readonly clock: Pick<Clock, "monotonic">;
}

export class ClusterWatch {
  #seen: ReadonlyMap<string, KeptPartition> = new Map();
  #leaderChanges = 0;
  #inSyncChanges = 0;

  constructor(private readonly options: ClusterWatchOptions) {}

  /** As it is now; changes are those between two looks, of which several of one partition are one. */
  look(): ReplicationFigures {
    const { view, replicas, clock } = this.options;
    this.#count();
    const topics = [...this.options.topics()];
    const led = underReplicatedPartitions(view, topics).filter(({ topicId, partition }) =>
      view.partition(topicId, partition)?.record.leader === view.nodeId
    );
    return {
      delayMs: replicationDelayMs(replicas.all(), clock.monotonic()),
      leaderChanges: this.#leaderChanges,
      inSyncChanges: this.#inSyncChanges,
      underReplicatedPartitions: led.length,
      offlinePartitions: offlinePartitions(view, topics).length,
    };
  }

  #count(): void {
    const { view } = this.options;
    const seen = new Map<string, KeptPartition>();
    for (const kept of view.partitions()) {
      const { topicId, partition, leader, isr } = kept.record;
      const place = `${topicId}/${partition}`;
      seen.set(place, kept);
      const before = this.#seen.get(place);
      if (before === kept || leader !== view.nodeId) continue;
      // What is seen for the first time was led before this process began, or is new: it got a leader.
      if (before?.record.leader !== leader) this.#leaderChanges++;
      if (before !== undefined && !isSameSet(before.record.isr, isr)) this.#inSyncChanges++;
    }
    this.#seen = seen;
  }
}

function isSameSet(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((id) => b.includes(id));
}
