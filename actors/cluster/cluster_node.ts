// Owns putting one broker of a cluster together over ports: what it knows of the cluster, its replicas, its local broker,
// the door behind which every broker is one, and the controller it may be.
// Refuses to own what any of them decides, and how ports are made (ops/process/).
// Invariant: it leads nothing before it is registered, and gives leadership away before it goes.
import type { RuntimeLog } from "../runtime/reports.ts";
import { LocalBroker, type LocalBrokerPorts, type LocalBrokerSettings } from "../local_broker.ts";
import { reachOf } from "../reach.ts";
import { Replicas } from "../replication/replicas.ts";
import { type ClusterAdministration, clusterAdministration } from "./administration.ts";
import { readCatchUp } from "./catch_up.ts";
import { ClusterWatch } from "./cluster_watch.ts";
import { ClusterController, type ControllerNotice } from "./controller.ts";
import type { Peers } from "./peers.ts";
import type { BrokerIdentity } from "./registration.ts";
import { ReplicaLags } from "./replica_lags.ts";
import { RoutedBroker } from "./routed_broker.ts";
import { ClusterMetadata } from "./view.ts";

/** How often leaders look for followers that are late, of the time that one may be. */
const CHECKS_A_LAG = 10;
const DEFAULT_LAG_MAX_MS = 10_000;

export interface ClusterNodeSettings {
  readonly broker: LocalBrokerSettings;
  /** Default 4 s. */
  readonly leaseMs?: number;
  /** A replica that has not had all of its leader's log for longer leaves the in-sync set; default 10 s. */
  readonly replicaLagMaxMs?: number;
}

export interface ClusterNodePorts extends Omit<LocalBrokerPorts, "cluster"> {
  readonly peers: Peers;
  readonly runtimeLog: RuntimeLog;
}

/** One broker of a cluster. */
export interface ClusterNode {
  /** What edges use: whatever is asked of it reaches its leader. */
  readonly broker: RoutedBroker;
  /** What is led here. */
  readonly local: LocalBroker;
  readonly cluster: ClusterMetadata;
  readonly controller: ClusterController;
  readonly replicas: Replicas;
  readonly administration: ClusterAdministration;
  readonly watch: ClusterWatch;
  /** From now on it is one of the cluster's brokers. Rejects with NodeIdTakenError. */
  join(identity: BrokerIdentity): Promise<void>;
  /** Gives leadership away, at most for `leaveMs`, then closes everything but the metadata store. */
  close(options?: { readonly leaveMs?: number }): Promise<void>;
}

export async function openClusterNode(
  settings: ClusterNodeSettings,
  ports: ClusterNodePorts,
): Promise<ClusterNode> {
  const { metadata, clock, timers, peers } = ports;
  const { broker: { nodeId }, leaseMs, replicaLagMaxMs: lagMaxMs = DEFAULT_LAG_MAX_MS } = settings;
  const cluster = await ClusterMetadata.open({
    nodeId,
    metadata,
    clock,
    timers,
    ...(leaseMs === undefined ? {} : { leaseMs }),
    onDataLost: (records) => {
      const message =
        `${records.length} partitions may have lost messages: the disk of ${nodeId} ` +
        "is another one, and no other replica has all of them";
      ports.report({ level: "error", message });
    },
  });
  const replicas = new Replicas({
    ...ports,
    peers,
    checkMs: lagMaxMs / CHECKS_A_LAG,
    catchUpBytesPerSecond: () => readCatchUp(cluster),
  });
  let routed: RoutedBroker | null = null;
  const reach = reachOf(() => {
    if (routed === null) throw new Error("the broker is being put together");
    return routed;
  });
  const brokerCount = () => Math.max(1, cluster.members().size);
  const local = await LocalBroker.open(settings.broker, {
    ...ports,
    cluster: { view: cluster, registry: replicas, lagMaxMs, reach, brokerCount },
  });
  const broker = new RoutedBroker({ ...ports, local, view: cluster, peers });
  routed = broker;
  const controller = await ClusterController.open({
    cluster,
    metadata,
    clock,
    timers,
    report: (notice) => reportNotice(ports, notice),
  });
  const lags = new ReplicaLags({ view: cluster, replicas, peers, clock });
  const topics = () => local.topicNames().flatMap((name) => local.topic(name) ?? []);
  return {
    broker,
    local,
    cluster,
    controller,
    replicas,
    administration: clusterAdministration({ cluster, metadata, lags, topics }),
    watch: new ClusterWatch({ view: cluster, replicas, topics, clock }),
    join: (identity) => cluster.register(identity),
    async close({ leaveMs } = {}) {
      await cluster.leave(leaveMs === undefined ? {} : { timeoutMs: leaveMs });
      broker.close();
      try {
        await local.close();
      } finally {
        replicas.close();
        await controller.close();
        await cluster.close();
      }
    },
  };
}

function reportNotice(
  { report }: Pick<ClusterNodePorts, "report">,
  notice: ControllerNotice,
): void {
  switch (notice.type) {
    case "controller.elected":
      return report({ level: "info", message: `controller of the cluster, epoch ${notice.epoch}` });
    case "controller.lost":
      return report({ level: "info", message: "another broker is controller of the cluster now" });
    case "controller.failed":
      return report({
        level: "warning",
        message: "the controller could not decide",
        error: notice.error,
      });
    case "partition.changed": {
      const { topicId, partition, record, reason } = notice.change;
      const now = record === null
        ? ""
        : `; leader ${record.leader}, epoch ${record.leaderEpoch}, in sync ${record.isr.join(" ")}`;
      const level = reason === "unclean" ? "error" : reason === "offline" ? "warning" : "info";
      return report({ level, message: `partition ${partition} of ${topicId}: ${reason}${now}` });
    }
  }
}
