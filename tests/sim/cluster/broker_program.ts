// Owns a whole broker's process in a simulated cluster: all its actors, over simulated ports.
// Refuses to own how a broker is put together (actors/cluster/cluster_node.ts), which is what is simulated.
// Invariant: but for its ports it is the broker that runs.
import { crc32c } from "@node-rs/crc32";
import type { Broker } from "../../../actors/broker.ts";
import { type ClusterNode, openClusterNode } from "../../../actors/cluster/cluster_node.ts";
import type { ClusterMetadata } from "../../../actors/cluster/view.ts";
import { DEFAULT_GROUP_SETTINGS } from "../../../actors/group/settings.ts";
import type { RuntimeEvent } from "../../../actors/runtime/reports.ts";
import { describeError, type RunWorld } from "../world.ts";
import { leadershipsOf } from "./leaderships.ts";
import type { NodePorts } from "./node_machine.ts";
import type { ClusterPlan } from "./plan.ts";
import type { Leadership, LeadingProcess } from "./replica_watch.ts";

const MAX_PENDING_BYTES = 16 * 1_048_576;
const RETENTION_EVERY_MS = 20_000;
/** Few, so that a run is cheap: each is replicated by all. */
const GROUPS_PARTITIONS = 1;

export class BrokerProcess implements LeadingProcess {
  private constructor(private readonly node: ClusterNode) {}

  static async open(world: RunWorld<ClusterPlan>, ports: NodePorts): Promise<BrokerProcess> {
    const { nodeId, life, zone, diskId } = ports;
    let node: ClusterNode | null = null;
    node = await openClusterNode({
      broker: {
        nodeId,
        maxPendingPublishBytes: MAX_PENDING_BYTES,
        retentionIntervalMs: RETENTION_EVERY_MS,
        groupsPartitions: GROUPS_PARTITIONS,
        group: DEFAULT_GROUP_SETTINGS,
      },
      replicaLagMaxMs: world.plan.lagMaxMs,
    }, {
      metadata: ports.metadata,
      logs: ports.logs,
      snapshots: ports.snapshots,
      clock: life,
      timers: life,
      randomness: world.chance,
      crc32c,
      peers: ports.connect(() => node?.cluster.incarnation ?? 0),
      runtimeLog: { report: (event) => world.note(nodeId, describeEvent(event)) },
      report: ({ level, message, error }) =>
        world.note(
          nodeId,
          `${level} ${message}${error === undefined ? "" : `: ${describeError(error)}`}`,
        ),
    });
    const host = `${nodeId}.test`;
    const at = { host, port: 9092, peerHost: host, peerPort: 9093 };
    await node.join({ ...at, zone, version: "1", diskId });
    return new BrokerProcess(node);
  }

  get broker(): Broker {
    return this.node.broker;
  }

  get cluster(): ClusterMetadata {
    return this.node.cluster;
  }

  /** What this broker says is wrong with it. */
  problems(): readonly string[] {
    return this.node.local.health().problems;
  }

  leaderships(seen?: Map<object, unknown>): Iterable<Leadership> {
    return leadershipsOf(this.node.replicas, seen);
  }

  close(): Promise<void> {
    return this.node.close();
  }
}

function describeEvent({ type, ...details }: RuntimeEvent): string {
  const shown = Object.entries(details)
    .map(([name, value]) => `${name}=${name === "error" ? describeError(value) : value}`);
  return `${type} ${shown.join(" ")}`;
}
