// Owns partition records of a cluster as several brokers see them, changed by hand where a controller would.
// Refuses to own any decision. Invariant: every change is a compare-and-set, and each broker hears of it when it is not cut off.
import type {
  BrokerRegistration,
  ClusterView,
  InSyncChange,
  KeptPartition,
  PartitionRecord,
} from "../../actors/cluster/types.ts";
import { BrokerError } from "../../storage/broker_error.ts";

const keyOf = (topicId: string, partition: number) => `${topicId}/${partition}`;

export class ClusterRecords {
  readonly kept = new Map<string, KeptPartition>();
  readonly online = new Map<string, BrokerRegistration>();
  readonly #views = new Set<RecordsView>();
  #version = 0;

  /** The view of a broker that registers now, as one that has started anew. */
  join(nodeId: string): RecordsView {
    const incarnation = (this.online.get(nodeId)?.incarnation ?? 0) + 1;
    const address = { host: "", port: 0, peerHost: "", peerPort: 0 };
    const rest = { zone: null, version: "1", diskId: nodeId };
    this.online.set(nodeId, { nodeId, incarnation, ...address, ...rest });
    const view = new RecordsView(this, nodeId, incarnation);
    this.#views.add(view);
    this.announce();
    return view;
  }

  leave(view: RecordsView): void {
    this.#views.delete(view);
  }

  record(topicId: string, partition = 0): PartitionRecord {
    return this.kept.get(keyOf(topicId, partition))!.record;
  }

  /** The next leader, in a new epoch. */
  elect(topicId: string, leader: string | null, more: Partial<PartitionRecord> = {}): void {
    const before = this.record(topicId);
    this.set({ ...before, leader, leaderEpoch: before.leaderEpoch + 1, ...more });
  }

  /** As a controller would: sets the record, whatever it was. */
  set(record: PartitionRecord): KeptPartition {
    const kept = { record, version: String(++this.#version) };
    this.kept.set(keyOf(record.topicId, record.partition), kept);
    this.announce();
    return kept;
  }

  announce(): void {
    for (const view of this.#views) view.hear();
  }
}

export class RecordsView implements ClusterView {
  hasLease = true;
  /** Hears nothing, and what it changes has an unknown outcome without happening. */
  isCut = false;
  /** Its changes happen, and nobody tells it so. */
  losesAnswers = false;
  #known: ReadonlyMap<string, KeptPartition> = new Map();
  #online: ReadonlyMap<string, BrokerRegistration> = new Map();
  readonly #listeners = new Set<() => void>();
  readonly #partitionListeners = new Map<string, Set<(kept: KeptPartition | null) => void>>();

  constructor(
    private readonly records: ClusterRecords,
    readonly nodeId: string,
    readonly incarnation: number,
  ) {}

  hear(): void {
    if (this.isCut) return;
    const before = this.#known;
    this.#known = new Map(this.records.kept);
    this.#online = new Map(this.records.online);
    for (const [key, listeners] of this.#partitionListeners) {
      const kept = this.#known.get(key) ?? null;
      if (before.get(key)?.version === kept?.version) continue;
      for (const listener of [...listeners]) listener(kept);
    }
    for (const listener of [...this.#listeners]) listener();
  }

  online() {
    return this.#online;
  }

  members() {
    return new Map();
  }

  controller() {
    return null;
  }

  partition(topicId: string, partition: number): KeptPartition | null {
    return this.#known.get(keyOf(topicId, partition)) ?? null;
  }

  partitions() {
    return this.#known.values();
  }

  onChanged(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  onPartition(
    { topicId, partition }: { topicId: string; partition: number },
    listener: (kept: KeptPartition | null) => void,
  ): () => void {
    const key = keyOf(topicId, partition);
    const listeners = this.#partitionListeners.get(key) ?? new Set();
    this.#partitionListeners.set(key, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  raiseLeaderEpoch(kept: KeptPartition): Promise<KeptPartition | null> {
    const { record } = kept;
    return this.#change(kept, { ...record, leaderEpoch: record.leaderEpoch + 1 });
  }

  resign(kept: KeptPartition): Promise<KeptPartition | null> {
    const { record } = kept;
    const others = record.isr.filter((nodeId) => nodeId !== this.nodeId);
    if (others.length === 0) return Promise.resolve(kept);
    const leader = record.leader === this.nodeId ? null : record.leader;
    const elr = record.elr.filter((nodeId) => nodeId !== this.nodeId);
    return this.#change(kept, { ...record, leader, isr: others, elr });
  }

  changeInSync(kept: KeptPartition, change: InSyncChange): Promise<KeptPartition | null> {
    return this.#change(kept, { ...kept.record, ...change });
  }

  async #change(kept: KeptPartition, record: PartitionRecord): Promise<KeptPartition | null> {
    await Promise.resolve();
    if (this.isCut) throw new BrokerError("METADATA_UNAVAILABLE", "the store is away");
    const key = keyOf(record.topicId, record.partition);
    if (this.records.kept.get(key)?.version !== kept.version) return null;
    const changed = this.records.set(record);
    if (this.losesAnswers) throw new BrokerError("METADATA_UNAVAILABLE", "no answer came");
    return changed;
  }
}
