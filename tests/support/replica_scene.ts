// Owns one partition on several brokers in memory and virtual time, replicated, with its record changed by hand.
// Refuses to own a controller and real sockets. Invariant: a node that is started again is a new process over its disk.
import assert from "node:assert/strict";
import { minInsyncOf } from "../../actors/cluster/min_insync.ts";
import { ByteBudget } from "../../actors/partition/byte_budget.ts";
import { LeaderEpochs } from "../../actors/partition/leader_epochs.ts";
import { Partition } from "../../actors/partition/partition.ts";
import { DEFAULT_PRODUCER_BOUNDS, ProducerCensus } from "../../actors/partition/producer_census.ts";
import { Replicas } from "../../actors/replication/replicas.ts";
import { crc32c } from "../../storage/format/crc32c.ts";
import { baseOffsetAt, batchSpans, leaderEpochAt } from "../../storage/format/record_batch.ts";
import type { LogConfig, LogStore } from "../../storage/log.ts";
import { MemoryLogStore } from "../../storage/memory/memory_log.ts";
import { MemoryMetadataStore } from "../../storage/memory/memory_metadata.ts";
import { MemorySnapshotStore } from "../../storage/memory/memory_snapshots.ts";
import { ClusterRecords, type RecordsView } from "./cluster_records.ts";
import { MemoryNetwork } from "./memory_peers.ts";
import { LOG_NAME, plain } from "./partition_scene.ts";
import { seededRandomness } from "./seeded_randomness.ts";
import { VirtualClock } from "./virtual_time.ts";

export const TOPIC_ID = "x";
export const LAG_MAX_MS = 10_000;
const AT = { topicId: TOPIC_ID, partition: 0 };

/** One broker's life. */
export interface ReplicaNode {
  readonly nodeId: string;
  readonly partition: Partition;
  readonly replicas: Replicas;
  readonly view: RecordsView;
}

export interface ReplicaSceneOptions {
  readonly nodes?: readonly string[];
  readonly minInsync?: number;
  readonly durability?: LogConfig["durability"];
  readonly wrap?: (logs: LogStore, nodeId: string) => LogStore;
}

export type ReplicaScene = Awaited<ReturnType<typeof replicaScene>>;

const logConfig: LogConfig = {
  durability: "fsync",
  segmentBytes: 1_048_576,
  segmentMs: 3_600_000,
  indexIntervalBytes: 4096,
};

/** Brokers "1", "2", "3" with one partition, led by the first in epoch 0. */
export async function replicaScene(options: ReplicaSceneOptions = {}) {
  const { nodes: names = ["1", "2", "3"], minInsync = 1 } = options;
  const time = new VirtualClock();
  const records = new ClusterRecords();
  const network = new MemoryNetwork({ clock: time, timers: time });
  const disks = new Map(names.map((nodeId) => [nodeId, new MemoryLogStore(time)]));
  const snapshots = new Map(names.map((nodeId) => [nodeId, new MemorySnapshotStore()]));
  const nodes = new Map<string, ReplicaNode>();
  const reports: string[] = [];
  const report = ({ message }: { message: string }) => reports.push(message);
  let uuids = 0;

  async function start(nodeId: string): Promise<ReplicaNode> {
    const view = records.join(nodeId);
    const randomness = { ...seededRandomness(++uuids), uuid: () => `${nodeId}-${++uuids}` };
    const peers = network.join(nodeId, view.incarnation);
    const replicas = new Replicas({
      peers,
      clock: time,
      timers: time,
      randomness,
      checkMs: 500,
      report,
    });
    const store = disks.get(nodeId)!;
    const partition = await Partition.open({
      name: "orders/0",
      partition: 0,
      logName: LOG_NAME,
      nodeId,
      logs: options.wrap?.(store, nodeId) ?? store,
      logConfig: { ...logConfig, durability: options.durability ?? "fsync" },
      clock: time,
      timers: time,
      budget: new ByteBudget(64 * 1_048_576, "publishes"),
      epochs: await LeaderEpochs.open(
        new MemoryMetadataStore({ timers: time, randomness: seededRandomness(1) }),
      ),
      census: new ProducerCensus(DEFAULT_PRODUCER_BOUNDS),
      snapshots: snapshots.get(nodeId)!,
      crc32c,
      report,
      replica: {
        topicId: TOPIC_ID,
        ports: { view, registry: replicas, lagMaxMs: LAG_MAX_MS },
        minInsync: ({ replicas: all }) =>
          minInsyncOf(
            { name: "orders", config: { minInsyncReplicas: minInsync } as never },
            all.length,
          ),
        removeData: () => store.remove(LOG_NAME),
      },
    });
    const node = { nodeId, partition, replicas, view };
    nodes.set(nodeId, node);
    return node;
  }

  /** The process ends as by kill -9: what was not flushed is lost. */
  function kill(nodeId: string): void {
    const node = nodes.get(nodeId)!;
    nodes.delete(nodeId);
    network.leave(nodeId);
    records.leave(node.view);
    node.replicas.close();
    disks.get(nodeId)!.crash();
  }

  const node = (nodeId: string) => nodes.get(nodeId)!;

  /** What a node's log holds, each record as `offset@epoch`. */
  async function stored(nodeId: string): Promise<string[]> {
    const { log } = node(nodeId).replicas.find(AT)!;
    const open = log.log!;
    const bytes = await open.read(open.logStartOffset, {
      endOffset: open.logEndOffset,
      maxBytes: 1e9,
    });
    return [...batchSpans(bytes)].map(({ at }) =>
      `${baseOffsetAt(bytes, at)}@${leaderEpochAt(bytes, at)}`
    );
  }

  const append = (nodeId: string, ...values: string[]) =>
    node(nodeId).partition.append([plain(...values)], { acks: "all" });

  records.set({
    ...AT,
    replicas: names,
    isr: names,
    elr: [],
    leader: names[0]!,
    leaderEpoch: 0,
  });
  for (const nodeId of names) await start(nodeId);
  await time.advance(1_000);
  const same = async () => {
    const all = await Promise.all([...nodes.keys()].map(stored));
    for (const one of all) assert.deepEqual(one, all[0]);
    return all[0]!;
  };
  return { time, records, network, disks, nodes, reports, node, start, kill, stored, append, same };
}
