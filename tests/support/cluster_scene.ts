// Owns whole brokers of one cluster over memory stores, a network in memory and virtual time.
// Refuses to own faults of disks, and randomness of faults (sim/). Invariant: a node that is started again is a new process over its disk.
import { crc32c } from "@node-rs/crc32";
import { type ClusterNode, openClusterNode } from "../../actors/cluster/cluster_node.ts";
import { DEFAULT_GROUP_SETTINGS } from "../../actors/group/settings.ts";
import { MemoryLogStore } from "../../storage/memory/memory_log.ts";
import type { MetadataStore } from "../../storage/metadata.ts";
import { MemoryMetadataStore } from "../../storage/memory/memory_metadata.ts";
import { MemorySnapshotStore } from "../../storage/memory/memory_snapshots.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import type { Timers } from "../../storage/ports.ts";
import { MemoryNetwork } from "./memory_peers.ts";
import { seededRandomness } from "./seeded_randomness.ts";
import { VirtualClock } from "./virtual_time.ts";

interface Life {
  isOver: boolean;
  /** The metadata store cannot be reached. */
  isCut: boolean;
}

export interface ClusterSceneOptions {
  /** See MemoryNetworkOptions. */
  readonly detectMs?: number;
}

/** Answers nobody whose life is over, and changes nothing for them. */
function mortal(store: MetadataStore, life: Readonly<Life>): MetadataStore {
  const never = new Promise<never>(() => {});
  const alive = <T>(ask: () => Promise<T>) => {
    if (life.isOver) return never;
    if (!life.isCut) return ask();
    return Promise.reject(new BrokerError("METADATA_UNAVAILABLE", "the store is away"));
  };
  return {
    get: (key) => alive(() => store.get(key)),
    list: (prefix, options) => alive(() => store.list(prefix, options)),
    commit: (transaction) => alive(() => store.commit(transaction)),
    watch: (prefix, onChange) =>
      store.watch(prefix, (keys) => life.isOver || life.isCut || onChange(keys)),
    grantLease: (ttlMs) => alive(() => store.grantLease(ttlMs)),
    renewLease: (leaseId) => alive(() => store.renewLease(leaseId)),
    revokeLease: (leaseId) => alive(() => store.revokeLease(leaseId)),
    close: () => alive(() => store.close()),
  };
}

export type ClusterScene = Awaited<ReturnType<typeof clusterScene>>;

/** What there is before the brokers start. */
export interface ClusterBefore {
  readonly time: VirtualClock;
  readonly store: MemoryMetadataStore;
  readonly disks: ReadonlyMap<string, { logs: MemoryLogStore; snapshots: MemorySnapshotStore }>;
}

/** Brokers that have joined, and led what they lead for a while. */
export async function clusterScene(
  names: readonly string[] = ["1", "2", "3"],
  before?: ClusterBefore,
  options: ClusterSceneOptions = {},
) {
  const time = before?.time ?? new VirtualClock();
  const store = before?.store ??
    new MemoryMetadataStore({ timers: time, randomness: seededRandomness(1) });
  const network = new MemoryNetwork({ clock: time, timers: time, ...options });
  const disks = new Map(before?.disks);
  const nodes = new Map<string, ClusterNode>();
  const reports: string[] = [];
  const wiped = new Map<string, number>();
  let lives = 0;

  const lifeOf = new Map<string, Life>();

  async function start(nodeId: string): Promise<ClusterNode> {
    const life = { isOver: false, isCut: false };
    lifeOf.set(nodeId, life);
    const timers: Timers = {
      after: (delayMs, run) => time.after(delayMs, () => life.isOver || run()),
    };
    const disk = disks.get(nodeId) ??
      { logs: new MemoryLogStore(time), snapshots: new MemorySnapshotStore() };
    disks.set(nodeId, disk);
    let node: ClusterNode | null = null;
    const incarnation = () => node?.cluster.incarnation ?? 0;
    node = await openClusterNode({
      broker: {
        nodeId,
        maxPendingPublishBytes: 64 * 1_048_576,
        retentionIntervalMs: 60_000,
        groupsPartitions: 3,
        group: { ...DEFAULT_GROUP_SETTINGS, initialRebalanceDelayMs: 0 },
      },
    }, {
      ...disk,
      metadata: mortal(store.connect(), life),
      peers: network.join(nodeId, incarnation),
      clock: time,
      timers,
      randomness: seededRandomness(100 + ++lives),
      crc32c,
      runtimeLog: { report: ({ type, ...rest }) => say(nodeId, `${type} ${JSON.stringify(rest)}`) },
      report: ({ message, error }) =>
        say(nodeId, `${message}${error === undefined ? "" : `: ${error}`}`),
    });
    nodes.set(nodeId, node);
    const address = { host: "127.0.0.1", port: 1, peerHost: "127.0.0.1", peerPort: 2 };
    const diskId = `disk-${nodeId}${"'".repeat(wiped.get(nodeId) ?? 0)}`;
    const joined = node.join({ ...address, zone: `zone-${nodeId}`, version: "1", diskId });
    await time.advance(500);
    await joined;
    return node;
  }

  function say(nodeId: string, message: string): void {
    reports.push(`${time.monotonic()} ${nodeId}: ${message}`);
  }

  /** The process ends as by kill -9: nothing of it runs on, and what was not flushed is lost. */
  function kill(nodeId: string): void {
    lifeOf.get(nodeId)!.isOver = true;
    network.leave(nodeId);
    nodes.delete(nodeId);
    disks.get(nodeId)!.logs.crash();
  }

  /** A node that does not run starts with an empty disk, which is another one. */
  function wipe(nodeId: string): void {
    disks.delete(nodeId);
    wiped.set(nodeId, (wiped.get(nodeId) ?? 0) + 1);
  }

  /** Whether the node reaches the metadata store. */
  function reachesMetadata(nodeId: string, reaches: boolean): void {
    lifeOf.get(nodeId)!.isCut = !reaches;
  }

  /** Lets time go on until `promise` has settled. */
  async function until<T>(promise: Promise<T>, forMs = 30_000): Promise<T> {
    let settled = false;
    promise.then(() => settled = true, () => settled = true);
    for (let ms = 0; ms < forMs && !settled; ms += 10) await time.advance(10);
    if (!settled) throw new Error("it has not settled");
    return await promise;
  }

  for (const nodeId of names) await start(nodeId);
  await time.advance(5_000);
  const node = (nodeId: string) => nodes.get(nodeId)!;
  return { time, store, network, nodes, reports, node, start, kill, wipe, until, reachesMetadata };
}
