// Owns which metadata store a broker works with: its own in the data directory, or the one it shares with its cluster.
// Refuses to own how a broker gets into a cluster (../cluster/found_cluster.ts) and what is kept.
// Invariant: a data directory that is part of a cluster is never opened alone, and never by another cluster.
import type { ClusterFiles } from "../cluster/cluster_files.ts";
import type { ClusterSettings } from "../cluster/cluster_settings.ts";
import { CannotJoinError, foundOrJoinCluster } from "../cluster/found_cluster.ts";
import { NodeIdentity } from "../../storage/file_log/node_identity.ts";
import { type KvMetadataStore, openKvMetadata } from "../../storage/kv/kv_metadata.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import type { MetadataStore } from "../../storage/metadata.ts";
import type { Disk } from "../../storage/ports.ts";
import type { Config } from "../config_keys.ts";
import type { ProcessPorts } from "./ports.ts";
import { type Reporter, wordsTo } from "./reporting.ts";
import { CannotStartError } from "./start_checks.ts";

export interface OpenMetadataParts {
  readonly ports: Pick<ProcessPorts, "clock" | "timers" | "randomness">;
  /** Of the data directory. */
  readonly disk: Disk;
  /** Null: the broker is alone. */
  readonly cluster: { readonly settings: ClusterSettings; readonly files: ClusterFiles } | null;
  readonly report: Reporter;
}

export interface OpenedMetadata {
  /** Closed by whoever asked for it. */
  readonly metadata: MetadataStore;
  /** Of the data directory; null of one whose broker is alone. */
  readonly diskId: string | null;
}

/** Rejects with CannotStartError, which says what to change, or as the store does. */
export async function openMetadata(
  { dataDir }: Config,
  { ports, disk, cluster, report }: OpenMetadataParts,
): Promise<OpenedMetadata> {
  const { clock, timers, randomness } = ports;
  const path = `${dataDir}/metadata.kv`;
  // The lock of the data directory keeps others away.
  const openLocal = () => openKvMetadata({ path, isSole: true, clock, timers, randomness });
  if (cluster === null) {
    const joined = (await asStartError(() => NodeIdentity.read(disk)))?.joined ?? null;
    if (joined === null) return { metadata: await openLocal(), diskId: null };
    throw new CannotStartError(
      `data directory ${dataDir} belongs to cluster ${joined.name}: ` +
        "set etcd to start it as part of that, or use another data directory",
    );
  }
  const identity = await asStartError(() => NodeIdentity.open(disk, randomness));
  const { settings, files } = cluster;
  const shared = await openShared(settings, { files, ports, report });
  let local: KvMetadataStore | null = null;
  try {
    if (identity.joined === null && await isThere(path)) local = await openLocal();
    await asStartError(() =>
      foundOrJoinCluster({
        name: settings.name,
        nodeId: settings.nodeId,
        shared,
        local,
        identity,
        timers,
        randomness,
        report: (message) => report({ level: "info", message }),
      })
    );
    return { metadata: shared, diskId: identity.diskId };
  } catch (error) {
    await shared.close();
    throw error;
  } finally {
    await local?.close();
  }
}

async function openShared(
  { name, etcd }: ClusterSettings,
  { files, ports, report }: Pick<OpenMetadataParts, "ports" | "report"> & {
    readonly files: ClusterFiles;
  },
): Promise<MetadataStore> {
  const { user, password, endpoints } = etcd;
  // Only here: a broker that is alone has no use for it.
  const { openEtcdMetadata } = await import("../../storage/etcd/etcd_metadata.ts");
  return await asStartError(() =>
    openEtcdMetadata({
      endpoints,
      prefix: name,
      ...(user === null || password === null ? {} : { username: user, password }),
      ...(files.etcdTls === null ? {} : { tls: files.etcdTls }),
      clock: ports.clock,
      timers: ports.timers,
      randomness: ports.randomness,
      report: wordsTo(report),
    })
  );
}

/** What its user can do something about is no fault of the broker's. */
async function asStartError<T>(run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof CannotJoinError || isRefusal(error)) {
      throw new CannotStartError((error as Error).message);
    }
    throw error;
  }
}

function isRefusal(error: unknown): boolean {
  return error instanceof Error && !(error instanceof BrokerError) &&
    Object.getPrototypeOf(error) === Error.prototype;
}

async function isThere(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
