// Owns a broker's process as far as replication goes: registration, controller, partitions that follow their records.
// Refuses to own actors, groups and transactions (broker_program.ts), and routing: clients are told who leads.
// Invariant: its parts are the real ones, put together as a whole broker does.
import { crc32c } from "@node-rs/crc32";
import type { Topic } from "../../../actors/broker.ts";
import { ClusterController } from "../../../actors/cluster/controller.ts";
import { ClusterMetadata } from "../../../actors/cluster/view.ts";
import { ByteBudget } from "../../../actors/partition/byte_budget.ts";
import { LeaderEpochs } from "../../../actors/partition/leader_epochs.ts";
import { PartitionSet } from "../../../actors/partition/partition_set.ts";
import {
  DEFAULT_PRODUCER_BOUNDS,
  ProducerCensus,
} from "../../../actors/partition/producer_census.ts";
import { Replicas } from "../../../actors/replication/replicas.ts";
import { MemoryMetadataStore } from "../../../storage/memory/memory_metadata.ts";
import type { MessageBroker } from "../client_scene.ts";
import { describeError, type RunWorld } from "../world.ts";
import type { ClusterMutant } from "./cluster_mutant.ts";
import type { ClusterPlan } from "./plan.ts";
import type { NodePorts } from "./node_machine.ts";
import { leadershipsOf } from "./leaderships.ts";
import type { Leadership, LeadingProcess } from "./replica_watch.ts";

const CHECK_MS = 500;
const MAX_PENDING_BYTES = 16 * 1_048_576;

interface Parts {
  readonly cluster: ClusterMetadata;
  readonly controller: ClusterController;
  readonly replicas: Replicas;
  readonly partitions: PartitionSet;
}

export class ReplicaProcess implements LeadingProcess {
  readonly broker: MessageBroker;

  private constructor(private readonly parts: Parts, topics: ReadonlyMap<string, Topic>) {
    const { partitions } = parts;
    this.broker = {
      topic: (name) => topics.get(name) ?? null,
      append: async (at, batches, options) =>
        await (await partitions.opened(at)).append(batches, options),
      fetch: async (at, offset, options) =>
        await (await partitions.opened(at)).fetch(offset, options),
      waitForData: async (at, offset, options) =>
        await (await partitions.opened(at)).waitForData(offset, options),
    };
  }

  static async open(
    world: RunWorld<ClusterPlan>,
    ports: NodePorts,
    { topics, mutant }: { topics: ReadonlyMap<string, Topic>; mutant: ClusterMutant | null },
  ): Promise<ReplicaProcess> {
    const { nodeId, metadata, zone, diskId, life, logs, snapshots } = ports;
    const common = { metadata, clock: life, timers: life };
    const said = (what: string, error?: unknown) =>
      world.note(nodeId, error === undefined ? what : `${what}: ${describeError(error)}`);
    const report = ({ message, error }: { message: string; error?: unknown }) =>
      said(message, error);
    const cluster = await ClusterMetadata.open({ ...common, nodeId });
    const peers = ports.connect(() => cluster.incarnation);
    const host = `${nodeId}.test`;
    const at = { host, port: 9092, peerHost: host, peerPort: 9093 };
    await cluster.register({ ...at, zone, version: "1", diskId });
    const controller = await ClusterController.open({
      ...common,
      cluster,
      report: ({ type, ...more }) => {
        if (type !== "partition.changed") said(type, "error" in more ? more.error : undefined);
      },
    });
    const replicas = new Replicas({
      peers,
      clock: life,
      timers: life,
      randomness: world.chance,
      checkMs: CHECK_MS,
      report,
    });
    const own = new MemoryMetadataStore({ timers: life, randomness: world.chance });
    const partitions = new PartitionSet({
      nodeId,
      logs,
      clock: life,
      timers: life,
      budget: new ByteBudget(MAX_PENDING_BYTES, "publishes"),
      epochs: await LeaderEpochs.open(own),
      census: new ProducerCensus(DEFAULT_PRODUCER_BOUNDS),
      snapshots,
      crc32c,
      replication: {
        view: mutant?.view?.(cluster) ?? cluster,
        registry: replicas,
        lagMaxMs: world.plan.lagMaxMs,
      },
      topic: (name) => topics.get(name) ?? null,
      report,
    });
    await partitions.openAll(topics.values());
    return new ReplicaProcess({ cluster, controller, replicas, partitions }, topics);
  }

  get cluster(): ClusterMetadata {
    return this.parts.cluster;
  }

  leaderships(seen?: Map<object, unknown>): Iterable<Leadership> {
    return leadershipsOf(this.parts.replicas, seen);
  }

  async close(): Promise<void> {
    const { cluster, controller, replicas, partitions } = this.parts;
    await cluster.leave();
    await controller.close();
    await partitions.closeAll();
    replicas.close();
    await cluster.close();
  }
}
