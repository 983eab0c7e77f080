// Owns what must be true of partitions some time after the last fault: led, whole, the same everywhere, and readable.
// Refuses to own how long that may take (run_cluster.ts, the scenes).
// Invariant: it looks, and changes nothing.
import type { MessageBroker } from "../client_scene.ts";
import type { ClientPort } from "../client_scene.ts";
import { type PartitionLedger, valuesIn } from "../ledgers/partition_ledger.ts";
import type { RunWorld } from "../world.ts";
import type { ClusterMetadata } from "../../../actors/cluster/view.ts";
import type { SimulatedCluster } from "./cluster.ts";
import { describeRecord } from "./record_ledger.ts";
import type { LeadingProcess } from "./replica_watch.ts";
import { patiently } from "./waiting.ts";

export interface DecidingProcess extends LeadingProcess {
  readonly cluster: ClusterMetadata;
}

/** Partitions that nobody leads, or that have not `replicas` in sync, and brokers that are not there. */
export function unsettledPartitions(
  { machines, records }: SimulatedCluster<DecidingProcess>,
  replicas: number,
): string[] {
  const problems: string[] = [];
  for (const { nodeId, process } of machines) {
    if (process === null) problems.push(`${nodeId} does not run`);
    else if (!process.cluster.hasLease) problems.push(`${nodeId} has no lease`);
  }
  const kept = [...records.all()];
  for (const record of kept) {
    const isWhole = record.isr.length >= replicas && record.target === undefined;
    if (record.leader === null || !isWhole) problems.push(describeRecord(record));
  }
  const led = new Set(
    machines.flatMap(({ process }) =>
      [...process?.leaderships() ?? []].map(({ topicId, partition }) => `${topicId}/${partition}`)
    ),
  );
  if (led.size < kept.length) problems.push(`${led.size} of ${kept.length} are led`);
  return problems;
}

/** Replicas whose disks do not end where their leader says that all is committed. */
export function differentReplicas(cluster: SimulatedCluster<DecidingProcess>): string[] {
  const problems: string[] = [];
  for (const { nodeId, process } of cluster.machines) {
    for (const { topicId, partition, highWatermark } of process?.leaderships() ?? []) {
      for (const member of cluster.records.of(topicId, partition)?.replicas ?? []) {
        const stored = cluster.machine(member).logs.stored(`topics/${topicId}/${partition}`);
        const end = stored?.batches.endOffset ?? 0;
        if (end === highWatermark && stored?.flushedOffset === end) continue;
        problems.push(
          `${topicId}/${partition} ends at ${end} on ${member}, at ${highWatermark} on ${nodeId}`,
        );
      }
    }
  }
  return problems;
}

/** All of a partition, as one reader is shown it, against all that was ever acknowledged and shown. */
export async function readWhole(
  world: RunWorld,
  port: ClientPort<MessageBroker>,
  ledger: PartitionLedger,
): Promise<void> {
  const { topic, partition } = ledger;
  const fetched = await patiently(
    world,
    "last look",
    () =>
      port.ask(
        "last look",
        (broker) => broker.fetch({ topic: topic.name, partition }, 0, { maxBytes: 1e9 }),
      ),
  );
  if (fetched === null) return;
  const read = valuesIn(fetched.batches);
  ledger.shown(0, fetched, ledger.floor());
  ledger.checkAll(0, read, fetched.highWatermark);
  world.note("last look", `${ledger.name} holds ${read.length}`);
}
