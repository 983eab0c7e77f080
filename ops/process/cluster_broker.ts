// Owns making a broker one of a cluster's: its connections to the others, its registration, its going.
// Refuses to own what a broker of a cluster is made of (actors/cluster/cluster_node.ts) and its own storage (open_broker.ts).
// Invariant: it is registered only where it can be reached, and gives leadership away before it stops to answer.
import { type ClusterNode, openClusterNode } from "../../actors/cluster/cluster_node.ts";
import { type ClusterDescription, describeCluster } from "../../actors/cluster/describe_cluster.ts";
import { NodeIdTakenError } from "../../actors/cluster/registration.ts";
import type { LocalBrokerPorts, LocalBrokerSettings } from "../../actors/local_broker.ts";
import { removeStrayLogs } from "../../actors/topic/stray_logs.ts";
import type { ClusterFiles } from "../cluster/cluster_files.ts";
import type { ClusterSettings } from "../cluster/cluster_settings.ts";
import { TcpPeers } from "../peer/tcp_peers.ts";
import { VERSION } from "../version.ts";
import type { ProcessPorts } from "./ports.ts";
import { reasonOf, type Reporter, wordsTo } from "./reporting.ts";
import { CannotStartError } from "./start_checks.ts";

/** The longest that a broker which stops waits for others to lead what it led. */
const LEAVE_MS = 10_000;
/** The longest that one which has joined waits for leaders of the internal topics, before it says that it is ready. */
const LED_WITHIN_MS = 10_000;

export interface ClusterBrokerOptions {
  readonly settings: ClusterSettings;
  readonly files: ClusterFiles;
  /** Of the data directory. */
  readonly diskId: string;
  readonly broker: LocalBrokerSettings;
  readonly storage: Omit<LocalBrokerPorts, "cluster">;
  readonly ports: Pick<ProcessPorts, "clock" | "timers" | "randomness">;
  readonly report: Reporter;
}

/** A broker of a cluster, in this process. */
export interface ClusterBroker {
  readonly node: ClusterNode;
  describe(): ClusterDescription;
  /** Registers it, as clients reach it at `port` or where the configuration says. Rejects with CannotStartError. */
  join(port: number): Promise<void>;
  /** Resolves when another process is this broker of the cluster: this one serves nothing any more. */
  readonly superseded: Promise<void>;
  /** Lets others lead what it leads, as long as that may take. Never rejects. */
  leave(): Promise<void>;
  close(): Promise<void>;
}

export async function openClusterBroker(options: ClusterBrokerOptions): Promise<ClusterBroker> {
  const { settings, files, storage, ports, report } = options;
  const { nodeId, name: cluster, peer, leaseMs, replicaLagMaxMs } = settings;
  for (const log of await removeStrayLogs(storage)) {
    report({ level: "info", message: `log ${log} is gone: its topic was deleted meanwhile` });
  }
  let node: ClusterNode | null = null;
  const peers = await listening(() =>
    TcpPeers.open({
      ...ports,
      nodeId,
      cluster,
      secret: peer.secret,
      ...(files.peerTls === null ? {} : { tls: files.peerTls }),
      listen: { host: peer.bindHost, port: peer.port },
      incarnation: () => node?.cluster.incarnation ?? 0,
      addressOf: (id) => {
        const registered = node?.cluster.online().get(id);
        return registered === undefined
          ? null
          : { host: registered.peerHost, port: registered.peerPort };
      },
      report: wordsTo(report),
    }), settings);
  try {
    node = await openClusterNode({ broker: options.broker, leaseMs, replicaLagMaxMs }, {
      ...storage,
      peers,
    });
  } catch (error) {
    await peers.close();
    throw error;
  }
  const opened = node;
  const topics = () => {
    const { local } = opened;
    return local.topicNames().flatMap((name) => local.topic(name) ?? []);
  };
  const describe = () => describeCluster(opened.cluster, topics());
  const superseded = Promise.withResolvers<void>();
  opened.cluster.onChanged(() => opened.cluster.isSuperseded && superseded.resolve());
  return {
    node,
    describe,
    superseded: superseded.promise,
    async join(port) {
      await joined(opened, options, { port, peerPort: peers.address.port });
      const isOffline = () => describe().offlinePartitions.some(({ topic }) => isInternal(topic));
      await changed(opened, () => !isOffline(), ports.timers);
    },
    async leave() {
      const left = await opened.cluster.leave({ timeoutMs: LEAVE_MS });
      if (left === 0) return;
      const message =
        `nobody else can lead ${left} of its partitions: they are offline from now on`;
      report({ level: "warning", message });
    },
    async close() {
      try {
        await opened.close({ leaveMs: 0 });
      } finally {
        await peers.close();
      }
    },
  };
}

async function joined(
  { join }: ClusterNode,
  { settings, diskId }: ClusterBrokerOptions,
  { port, peerPort }: { readonly port: number; readonly peerPort: number },
): Promise<void> {
  const { advertised, peer, zone } = settings;
  try {
    await join({
      host: advertised.host,
      port: advertised.port ?? port,
      peerHost: peer.host,
      peerPort,
      zone,
      version: VERSION,
      diskId,
    });
  } catch (error) {
    if (error instanceof NodeIdTakenError) throw new CannotStartError(error.message);
    throw error;
  }
}

function isInternal(topic: string): boolean {
  return topic.startsWith("__");
}

/** Resolves when what the broker knows of the cluster `isSo`, or after LED_WITHIN_MS. */
async function changed(
  { cluster }: ClusterNode,
  isSo: () => boolean,
  timers: ProcessPorts["timers"],
): Promise<void> {
  const done = Promise.withResolvers<void>();
  const unfollow = cluster.onChanged(() => isSo() && done.resolve());
  const cancel = timers.after(LED_WITHIN_MS, done.resolve);
  if (isSo()) done.resolve();
  await done.promise;
  cancel();
  unfollow();
}

async function listening(
  open: () => Promise<TcpPeers>,
  { peer: { bindHost, port } }: ClusterSettings,
): Promise<TcpPeers> {
  try {
    return await open();
  } catch (error) {
    const where = `${bindHost} port ${port}`;
    throw new CannotStartError(`cannot listen for other brokers on ${where}: ${reasonOf(error)}`);
  }
}
