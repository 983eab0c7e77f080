// Owns bringing a broker up from a configuration and down again, in this process: ports, storage, actors, edges, socket.
// Refuses to own configuration (../config.ts), signals and exit codes (run_broker.ts), and how each part is made.
// Invariant: it listens only when everything behind it is open, and lets go of the data directory last.
import type { LocalBroker } from "../../actors/local_broker.ts";
import type { JwtVerifier } from "../../api/auth/jwt.ts";
import { DEFAULT_API_LIMITS } from "../../api/limits.ts";
import { QuotaGate } from "../../api/quota/gate.ts";
import { createOverview } from "../../api/routes/overview.ts";
import type { Consuming } from "../../api/stream/consuming.ts";
import { WriteThread } from "../../storage/file_log/write_thread.ts";
import { allCodecs } from "../../storage/format/all_codecs.ts";
import { installCodecs } from "../../storage/format/compression.ts";
import { guessableToken, noAdministrator } from "../administrators.ts";
import {
  type AlertingSettings,
  alertingSettings,
  startConfiguredAlerting,
} from "../alerting/configured_alerting.ts";
import { type ClusterFiles, readClusterFiles } from "../cluster/cluster_files.ts";
import { type ClusterSettings, clusterSettingsOf } from "../cluster/cluster_settings.ts";
import type { Config } from "../config_keys.ts";
import { CertificateError } from "../door/certificates.ts";
import { certificateFilesOf, openConfiguredDoor } from "../door/configured_door.ts";
import { NOTHING_COUNTED } from "../door/counts.ts";
import type { Door } from "../door/door.ts";
import { type EncryptionKeys, encryptionKeysOf } from "../encryption_keys.ts";
import { type Logger, startLogging } from "../logging.ts";
import { SyncWatch } from "../measurement/measured_disk.ts";
import { startMeasuring } from "../measurement/measuring.ts";
import { memoryBytes } from "../measurement/system_space.ts";
import { MissingKeys } from "../missing_keys.ts";
import { clusterPorts } from "../runbooks/cluster_ports.ts";
import { installRunbooks } from "../runbooks/install.ts";
import { tokenVerifierOf } from "../token_verifier.ts";
import { openTracing } from "../tracing/tracing.ts";
import { VERSION } from "../version.ts";
import { type EdgeParts, type Edges, openEdges } from "./edges.ts";
import { openMetadata } from "./open_metadata.ts";
import { openBroker, topicOfLog } from "./open_broker.ts";
import type { ProcessPorts } from "./ports.ts";
import { errorText, reasonOf, reporterTo } from "./reporting.ts";
import {
  CannotStartError,
  lockedDataDir,
  refuseOpenDoors,
  requireDiskPermission,
} from "./start_checks.ts";

/** Time that consumers have to answer the close of their sockets, and how often it is looked at. */
const SOCKET_CLOSE_MS = 1_000;
const SOCKET_CLOSE_POLL_MS = 10;

export interface RunningBroker {
  readonly version: string;
  readonly url: string;
  /** Resolves when another process is this broker of its cluster: this one serves nothing any more, and is to be stopped. */
  readonly superseded: Promise<void>;
  /**
   * Stops accepting, finishes what was accepted, closes everything cleanly. Safe to call again. Rejects when something
   * could not be closed cleanly, which the log says; everything else was, and nothing acknowledged is lost.
   */
  stop(reason: string): Promise<void>;
}

/** What follows from the configuration before anything of the data is touched. */
interface Prepared {
  readonly ports: ProcessPorts;
  readonly logger: Logger;
  readonly tokens: JwtVerifier | null;
  readonly keys: EncryptionKeys | null;
  readonly alerting: AlertingSettings;
  /** Null: the broker is alone. */
  readonly cluster: { readonly settings: ClusterSettings; readonly files: ClusterFiles } | null;
}

/**
 * Starts a broker that reaches its machine through `ports`; rejects with ConfigError, DataDirInUseError or CannotStartError
 * when it cannot run as asked.
 */
export async function startBroker(config: Config, ports: ProcessPorts): Promise<RunningBroker> {
  refuseOpenDoors(config);
  certificateFilesOf(config);
  await requireDiskPermission(config.dataDir, ports);
  const tokens = await tokenVerifierOf(config, ports.clock);
  const keys = await encryptionKeysOf(config);
  const alerting = await alertingSettings(config);
  const cluster = await clusterOf(config);
  const logger = await startLogging({
    level: config.logLevel,
    format: config.logFormat,
    colour: Deno.stderr.isTerminal() && !Deno.noColor,
    write: (line) => void Deno.stderr.writeSync(new TextEncoder().encode(line)),
  });
  tokens?.watch(reporterTo(logger));
  const lock = await lockedDataDir(config.dataDir, ports);
  try {
    const prepared = { ports, logger, tokens, keys, alerting, cluster };
    return await startLocked(config, prepared, () => lock.release());
  } catch (error) {
    lock.release();
    throw error;
  }
}

async function clusterOf(config: Config): Promise<Prepared["cluster"]> {
  const settings = clusterSettingsOf(config);
  return settings === null ? null : { settings, files: await readClusterFiles(settings) };
}

async function startLocked(
  config: Config,
  prepared: Prepared,
  release: () => void,
): Promise<RunningBroker> {
  const { ports, logger } = prepared;
  const behind = await openBehindDoor(config, prepared);
  const close = () => behind.close().finally(release);
  const served = await serve(config, { ...prepared, ...behind }).catch(async (error) => {
    await close();
    throw error;
  });
  try {
    await behind.join(served.door.port);
  } catch (error) {
    await served.door.shutdown();
    served.publishing.end();
    await close();
    throw error;
  }
  const stop = async (why: string) => {
    logger.info("shutting down: {why}", { why });
    await behind.cluster?.leave();
    behind.overview.close();
    await served.consuming.drain();
    await socketsGone(served.consuming, ports);
    behind.own.endWaits();
    await drained(served.door, config.drainMs, ports);
    served.publishing.end();
    try {
      await close();
    } catch (error) {
      logger.error("not closed cleanly, the next start checks the logs: {error}", {
        error: errorText(error),
      });
      throw error;
    }
    logger.info("closed cleanly");
  };
  let stopping: Promise<void> | null = null;
  return {
    version: VERSION,
    url: served.door.url,
    superseded: behind.cluster?.superseded ?? new Promise(() => {}),
    stop: (why) => stopping ??= stop(why),
  };
}

/** The broker, what measures it, what watches over it. */
async function openBehindDoor(
  config: Config,
  { ports, logger, keys, alerting: settings, cluster }: Prepared,
) {
  installCodecs(allCodecs);
  const { clock, timers, randomness } = ports;
  const system = { clock, timers, randomness };
  const report = reporterTo(logger);
  const writes = new WriteThread();
  const disk = ports.disk(config.dataDir, writes);
  const { metadata, diskId } = await openMetadata(config, { ports, disk, cluster, report })
    .catch((error) => {
      writes.end();
      throw error;
    });
  const syncs = new SyncWatch(clock);
  let opened: LocalBroker | null = null;
  const missingKeys = new MissingKeys({
    ...system,
    topicOf: (log) => opened === null ? null : topicOfLog(opened, log),
    report: (message) => report({ level: "error", message }),
  });
  const membership = cluster === null || diskId === null ? null : { ...cluster, diskId };
  const storage = { metadata, disk, keys, syncs, missingKeys, cluster: membership };
  const { own, served: broker, cluster: joined, close: closeBroker } = await openBroker(config, {
    ports,
    logger,
    ...storage,
  });
  opened = own;
  const measuring = startMeasuring({
    broker,
    activity: () => own.activity(),
    syncs,
    ...system,
    report: (message, error) => report({ level: "warning", message, error }),
    maxDecompressedBytes: DEFAULT_API_LIMITS.maxDecompressedBytes,
    diskFreeBytes: () => ports.diskFreeBytes(config.dataDir),
    memoryBytes,
    ...(joined === null ? {} : { replication: () => joined.node.watch.look() }),
  });
  const overview = createOverview(measuring.sampler);
  const samples = measuring.sampler;
  const alerting = startConfiguredAlerting(settings, { ...system, broker, samples, report });
  const quota = new QuotaGate({ broker, clock, timers });
  const quotaUsage = (tenant: string) => quota.usage(tenant);
  const runbookPorts = {
    broker,
    clock,
    timers,
    samples,
    quotaUsage,
    ...(joined === null ? {} : { cluster: clusterPorts(joined.node, metadata) }),
  };
  const install = () => installRunbooks(runbookPorts, { cap: config.runbookMode, report });
  // In a cluster what they are looked through for may have no leader before brokers have joined.
  if (joined === null) await install();
  for (const warning of [noAdministrator(config, broker.acls), guessableToken(config)]) {
    if (warning !== null) logger.warning("{warning}", { warning });
  }
  const tracing = await openTracing({
    broker,
    clock,
    report: (message) => report({ level: "warning", message }),
  });
  const close = async () => {
    keys?.stop();
    missingKeys.stop();
    await measuring.stop();
    await alerting.stop();
    await tracing.close();
    try {
      await closeBroker();
    } finally {
      writes.end();
      await metadata.close();
    }
  };
  const join = async (port: number) => {
    await joined?.join(port);
    if (joined !== null) void install();
  };
  return { broker, own, cluster: joined, join, measuring, overview, quota, tracing, close };
}

async function serve(
  config: Config,
  parts: Omit<EdgeParts, "self" | "doorCounts">,
): Promise<Edges & { readonly door: Door }> {
  const { host: hostname, port } = config;
  const { clock, timers } = parts.ports;
  const report = reporterTo(parts.logger);
  let door: Door | null = null;
  const edges = openEdges(config, {
    ...parts,
    self: () => ({ hostname, port: door?.port ?? port }),
    doorCounts: () => door?.counts() ?? NOTHING_COUNTED,
  });
  try {
    door = await openConfiguredDoor(config, {
      fetch: parts.tracing.fetch(edges.app.fetch),
      clock,
      timers,
      report: (level, message, error) => report({ level, message, error }),
    });
    return { ...edges, door };
  } catch (error) {
    edges.publishing.end();
    if (error instanceof CertificateError) throw new CannotStartError(error.message);
    throw new CannotStartError(`cannot listen on ${hostname} port ${port}: ${reasonOf(error)}`);
  }
}

/**
 * Waits for the sockets of drained streams, a little: a client that does not read never answers the close. Deno's
 * shutdown would overtake the close (1012) with one of its own (1001).
 */
async function socketsGone(
  consuming: Consuming,
  { clock, timers }: Pick<ProcessPorts, "clock" | "timers">,
): Promise<void> {
  const givenUpAt = clock.monotonic() + SOCKET_CLOSE_MS;
  while (consuming.counts().streams > 0 && clock.monotonic() < givenUpAt) {
    await new Promise<void>((resolve) => void timers.after(SOCKET_CLOSE_POLL_MS, resolve));
  }
}

/** Resolves when every request under way has been answered, or after `drainMs` without the rest. */
async function drained(
  door: Door,
  drainMs: number,
  { timers }: Pick<ProcessPorts, "timers">,
): Promise<void> {
  const late = Promise.withResolvers<void>();
  const cancel = timers.after(drainMs, late.resolve);
  await Promise.race([door.shutdown(), late.promise]);
  cancel();
}
