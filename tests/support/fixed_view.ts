// Owns what a broker knows of a cluster, as a test says it is.
// Refuses to own any decision and any store. Invariant: whoever listens hears of a change once it shows.
import type {
  BrokerRegistration,
  ClusterView,
  KeptPartition,
  PartitionRecord,
} from "../../actors/cluster/types.ts";

/** One truth for several brokers; each has its own view of it. */
export class FixedCluster {
  readonly records = new Map<string, KeptPartition>();
  readonly online = new Map<string, BrokerRegistration>();
  readonly listeners = new Set<(changed: string | null) => void>();
  #version = 0;

  constructor(nodes: readonly string[]) {
    for (const nodeId of nodes) this.come(nodeId);
  }

  come(nodeId: string): void {
    this.online.set(nodeId, {
      nodeId,
      incarnation: 1,
      host: "127.0.0.1",
      port: 1,
      peerHost: "127.0.0.1",
      peerPort: 2,
      zone: null,
      version: "test",
      diskId: nodeId,
    });
    this.#tell(null);
  }

  go(nodeId: string): void {
    this.online.delete(nodeId);
    this.#tell(null);
  }

  /** From now on `leader` leads the partition, in a new epoch. */
  lead(topicId: string, partition: number, leader: string | null): void {
    const key = `${topicId}/${partition}`;
    const before = this.records.get(key)?.record;
    const replicas = [...this.online.keys()];
    const record: PartitionRecord = {
      topicId,
      partition,
      replicas,
      isr: leader === null ? replicas : [leader],
      elr: [],
      leader,
      leaderEpoch: (before?.leaderEpoch ?? 0) + 1,
    };
    this.records.set(key, { record, version: String(++this.#version) });
    this.#tell(key);
  }

  view(nodeId: string): ClusterView {
    return {
      nodeId,
      incarnation: 1,
      hasLease: true,
      online: () => this.online,
      members: () => new Map(),
      controller: () => null,
      partition: (topicId, partition) => this.records.get(`${topicId}/${partition}`) ?? null,
      partitions: () => this.records.values(),
      onChanged: (listener) => this.#listen(() => listener()),
      onPartition: ({ topicId, partition }, listener) => {
        const key = `${topicId}/${partition}`;
        return this.#listen((changed) => {
          if (changed === key) listener(this.records.get(key) ?? null);
        });
      },
      resign: () => Promise.resolve(null),
      raiseLeaderEpoch: () => Promise.resolve(null),
      changeInSync: () => Promise.resolve(null),
    };
  }

  #listen(listener: (changed: string | null) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  #tell(changed: string | null): void {
    for (const listener of [...this.listeners]) listener(changed);
  }
}
