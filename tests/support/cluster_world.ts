// Owns several brokers' views and controllers in virtual time over one metadata store in memory, and what may befall them.
// Refuses to own partitions and their logs.
// Invariant: a broker that was killed or cut off changes nothing in the store from then on.
import type { MetadataStore, MetadataTransaction } from "../../storage/metadata.ts";
import { MemoryMetadataStore } from "../../storage/memory/memory_metadata.ts";
import type { Topic, TopicConfig } from "../../actors/broker.ts";
import { ClusterController, type ControllerNotice } from "../../actors/cluster/controller.ts";
import type { PartitionRecord } from "../../actors/cluster/types.ts";
import { ClusterMetadata } from "../../actors/cluster/view.ts";
import { INTERNAL_TOPIC_CONFIG } from "../../actors/internal_topics.ts";
import { seededRandomness } from "./seeded_randomness.ts";
import { VirtualClock } from "./virtual_time.ts";

export interface BrokerStart {
  readonly diskId?: string;
  readonly zone?: string | null;
  /** Registered but never controller. */
  readonly withoutController?: boolean;
  readonly preferredAfterMs?: number;
}

export class ClusterBroker {
  isDead = false;
  isCut = false;
  readonly notices: ControllerNotice[] = [];
  readonly lost: PartitionRecord[] = [];

  constructor(
    readonly view: ClusterMetadata,
    readonly metadata: MetadataStore,
    public controller: ClusterController | null,
  ) {}

  record(topicId: string, partition = 0): PartitionRecord | null {
    return this.view.partition(topicId, partition)?.record ?? null;
  }

  /** As a process that is gone: it gives nothing back. */
  kill(): void {
    this.isDead = true;
  }

  async stop(): Promise<void> {
    await this.controller?.close();
    await this.view.close();
  }
}

export class ClusterWorld {
  readonly clock = new VirtualClock();
  /** Hears what a broker's transaction has changed. */
  onCommitted: (nodeId: string, transaction: MetadataTransaction) => void = () => {};
  readonly store = new MemoryMetadataStore({
    timers: this.clock,
    randomness: seededRandomness(7),
  });

  /** Opens a broker without registering it. */
  async open(nodeId: string, start: BrokerStart = {}): Promise<ClusterBroker> {
    const state = { isDead: false, isCut: false };
    const metadata = this.reachable(nodeId, state);
    const timers = {
      after: (delayMs: number, run: () => void) =>
        this.clock.after(delayMs, () => state.isDead || run()),
    };
    const lost: PartitionRecord[] = [];
    const view = await ClusterMetadata.open({
      nodeId,
      metadata,
      clock: this.clock,
      timers,
      onDataLost: (records) => lost.push(...records),
    });
    const broker = new ClusterBroker(view, metadata, null);
    Object.defineProperties(broker, {
      isDead: { get: () => state.isDead, set: (isDead: boolean) => state.isDead = isDead },
      isCut: { get: () => state.isCut, set: (isCut: boolean) => state.isCut = isCut },
      lost: { value: lost },
    });
    if (start.withoutController) return broker;
    broker.controller = await ClusterController.open({
      cluster: view,
      metadata,
      clock: this.clock,
      timers,
      report: (notice) => broker.notices.push(notice),
      ...(start.preferredAfterMs === undefined ? {} : { preferredAfterMs: start.preferredAfterMs }),
    });
    return broker;
  }

  async start(nodeId: string, start: BrokerStart = {}): Promise<ClusterBroker> {
    const broker = await this.open(nodeId, start);
    const registering = broker.view.register(identity(nodeId, start));
    await this.passing(registering);
    await this.clock.advance(200);
    return broker;
  }

  async startAll(nodeIds: readonly string[], start: BrokerStart = {}): Promise<ClusterBroker[]> {
    const brokers: ClusterBroker[] = [];
    for (const nodeId of nodeIds) brokers.push(await this.start(nodeId, start));
    return brokers;
  }

  /** Time passes until `promise` has settled. */
  async passing<T>(promise: Promise<T>): Promise<T> {
    let isSettled = false;
    promise.finally(() => isSettled = true).catch(() => {});
    for (let step = 0; step < 1_000 && !isSettled; step++) {
      await this.clock.advance(step === 0 ? 0 : 50);
    }
    return await promise;
  }

  async putTopic(topic: Topic): Promise<void> {
    const key = ["topics", topic.name];
    const kept = await this.store.get(key);
    await this.store.commit({
      checks: [{ key, version: kept?.version ?? null }],
      sets: [{ key, value: topic }],
    });
  }

  async removeTopic(name: string): Promise<void> {
    await this.store.commit({ checks: [], deletes: [["topics", name]] });
  }

  /** The store as one broker reaches it. */
  private reachable(nodeId: string, state: { isDead: boolean; isCut: boolean }): MetadataStore {
    const store = this.store.connect();
    const guarded =
      <Args extends unknown[], Result>(call: (...args: Args) => Promise<Result>) =>
      async (...args: Args): Promise<Result> => {
        if (state.isDead) return await new Promise<Result>(() => {});
        if (state.isCut) throw new Error("the metadata store cannot be reached");
        const result = await call(...args);
        return state.isDead ? await new Promise<Result>(() => {}) : result;
      };
    return {
      get: guarded(store.get.bind(store)),
      list: guarded(store.list.bind(store)),
      commit: guarded(async (transaction) => {
        const isKept = await store.commit(transaction);
        if (isKept) this.onCommitted(nodeId, transaction);
        return isKept;
      }),
      grantLease: guarded(store.grantLease.bind(store)),
      renewLease: guarded(store.renewLease.bind(store)),
      revokeLease: guarded(store.revokeLease.bind(store)),
      watch: (prefix, onChange) =>
        store.watch(prefix, (keys) => state.isDead || state.isCut || onChange(keys)),
      close: () => store.close(),
    };
  }
}

export function identity(nodeId: string, { diskId, zone }: BrokerStart = {}) {
  return {
    host: "127.0.0.1",
    port: 8080,
    peerHost: "127.0.0.1",
    peerPort: 9090,
    zone: zone ?? null,
    version: "0.1.0",
    diskId: diskId ?? `disk of ${nodeId}`,
  };
}

export function sampleTopic(
  name: string,
  { partitions = 1, ...config }: Partial<TopicConfig> & { partitions?: number } = {},
): Topic {
  return {
    topicId: `id-${name}`,
    name,
    partitionCount: partitions,
    config: { ...INTERNAL_TOPIC_CONFIG, replicationFactor: 3, minInsyncReplicas: 2, ...config },
    createdAt: 0,
    internal: name.startsWith("__"),
  };
}
