// Owns opening the broker of a process over its data directory: disk, logs, archive, snapshots, encryption, actors.
// Refuses to own the metadata (start_broker.ts opens and closes it) and who asks the broker.
// Invariant: nothing reads or writes the data of topics but through the disk of the ports.
import { crc32c } from "@node-rs/crc32";
import type { Broker } from "../../actors/broker.ts";
import { LocalBroker, type LocalBrokerPorts } from "../../actors/local_broker.ts";
import { SealedSnapshots } from "../../storage/encryption/sealed_snapshots.ts";
import { FileLogStore } from "../../storage/file_log/file_log_store.ts";
import { FileSnapshotStore } from "../../storage/file_log/file_snapshots.ts";
import type { MetadataStore } from "../../storage/metadata.ts";
import type { Disk } from "../../storage/ports.ts";
import { archivedLogs } from "../archive_target.ts";
import type { Config } from "../config_keys.ts";
import type { EncryptionKeys } from "../encryption_keys.ts";
import type { Logger } from "../logging.ts";
import { measuredDisk, type SyncWatch } from "../measurement/measured_disk.ts";
import type { MissingKeys } from "../missing_keys.ts";
import type { ClusterBroker, ClusterBrokerOptions } from "./cluster_broker.ts";
import type { ProcessPorts } from "./ports.ts";
import { type Report, reporterTo, reportRuntime } from "./reporting.ts";
import { settingsOf } from "./settings.ts";

/** Where the data of topics lies, a directory each. */
const TOPICS_DIRECTORY = "topics";

export interface OpenBrokerParts {
  readonly ports: ProcessPorts;
  readonly logger: Logger;
  readonly metadata: MetadataStore;
  /** Of the data directory. */
  readonly disk: Disk;
  readonly keys: EncryptionKeys | null;
  readonly syncs: SyncWatch;
  readonly missingKeys: MissingKeys;
  /** Null: the broker is alone. */
  readonly cluster: Pick<ClusterBrokerOptions, "settings" | "files" | "diskId"> | null;
}

/** What a broker opens over: `own` as it is in this process, `served` as its edges see it, which in a cluster is any broker. */
export interface OpenedBroker {
  readonly own: LocalBroker;
  readonly served: Broker;
  /** Null: it is alone. */
  readonly cluster: ClusterBroker | null;
  close(): Promise<void>;
}

export async function openBroker(config: Config, parts: OpenBrokerParts): Promise<OpenedBroker> {
  const { ports, logger, metadata, keys, missingKeys } = parts;
  const { clock, timers, randomness } = ports;
  const disk = measuredDisk(parts.disk, parts.syncs);
  const toLog = reporterTo(logger);
  const report = (told: Report) => {
    if (!missingKeys.takes(told.error)) toLog(told);
  };
  const onWarning = ({ log, message, error }: { log: string; message: string; error?: unknown }) =>
    report({ level: "warning", message: `log ${log}: ${message}`, error });
  const { tailCacheBytes } = config;
  const masterKeys = keys?.masterKeys ?? null;
  const files = new FileLogStore({ disk, clock, crc32c, tailCacheBytes, masterKeys, onWarning });
  await files.tidy(TOPICS_DIRECTORY);
  const snapshots = new FileSnapshotStore("snapshots", { disk, crc32c });
  const opened = await opening(config, parts, {
    metadata,
    logs: archivedLogs(config, { logs: files, disk, clock, timers, onWarning }),
    snapshots: masterKeys === null ? snapshots : new SealedSnapshots(snapshots, masterKeys),
    clock,
    timers,
    randomness,
    crc32c,
    runtimeLog: {
      report: (event) => {
        if (!missingKeys.takesEvent(event)) reportRuntime(logger, event);
      },
    },
    report,
  });
  keys?.watch({
    timers,
    logs: () => files.encryptedLogs(),
    isWhole: () => opened.own.health().ready,
    report,
  });
  return opened;
}

async function opening(
  config: Config,
  { ports, cluster, logger }: OpenBrokerParts,
  storage: LocalBrokerPorts,
): Promise<OpenedBroker> {
  const settings = settingsOf(config);
  if (cluster === null) {
    const own = await LocalBroker.open(settings, storage);
    return { own, served: own, cluster: null, close: () => own.close() };
  }
  const report = reporterTo(logger);
  // A broker that is alone has no use for it, in memory nor in the time it takes to start.
  const { openClusterBroker } = await import("./cluster_broker.ts");
  const joined = await openClusterBroker({ ...cluster, broker: settings, storage, ports, report });
  const { node } = joined;
  return { own: node.local, served: node.broker, cluster: joined, close: () => joined.close() };
}

/** Name of the topic whose data lies in `topics/<topicId>/<partition>`; null for any other log. */
export function topicOfLog(broker: LocalBroker, log: string): string | null {
  const topicId = log.split("/")[1];
  return broker.topicNames().find((name) => broker.topic(name)?.topicId === topicId) ?? null;
}
