// Owns bringing a broker up from a configuration and down again, in this process: ports, storage, actors, edges, socket.
// Refuses to own configuration (config.ts), signals and exit codes (main.ts).
// Invariant: it listens only when everything behind it is open, and lets go of the data directory last.
import { crc32c } from "@node-rs/crc32";
import { DEFAULT_GROUP_SETTINGS } from "../actors/group/settings.ts";
import { LocalBroker, type LocalBrokerSettings } from "../actors/local_broker.ts";
import type { RuntimeEvent } from "../actors/runtime/reports.ts";
import { type App, createApp } from "../api/app.ts";
import { DEFAULT_API_LIMITS } from "../api/limits.ts";
import { allCodecs } from "../storage/format/all_codecs.ts";
import { installCodecs } from "../storage/format/compression.ts";
import { lockDataDir } from "../storage/file_log/data_dir_lock.ts";
import { DenoDisk } from "../storage/file_log/deno_disk.ts";
import { FileLogStore } from "../storage/file_log/file_log_store.ts";
import { FileSnapshotStore } from "../storage/file_log/file_snapshots.ts";
import { openKvMetadata } from "../storage/kv/kv_metadata.ts";
import type { MetadataStore } from "../storage/metadata.ts";
import type { Config } from "./config_keys.ts";
import { ConfigError } from "./config.ts";
import { type Logger, startLogging } from "./logging.ts";
import { systemClock, systemRandomness, systemTimers } from "./system_ports.ts";
import { VERSION } from "./version.ts";

/** Time that requests under way have to end before the broker closes without them. */
const DRAIN_MS = 20_000;
const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[?::1\]?)$/;

export interface RunningBroker {
  readonly version: string;
  readonly url: string;
  /** Stops accepting, finishes what was accepted, closes everything cleanly. Safe to call again. */
  stop(reason: string): Promise<void>;
}

/** Starts a broker; rejects with ConfigError or DataDirInUseError when it cannot run as asked. */
export async function startBroker(config: Config): Promise<RunningBroker> {
  refuseOpenDoors(config);
  const logger = await startLogging({
    level: config.logLevel,
    format: config.logFormat,
    colour: Deno.stderr.isTerminal() && !Deno.noColor,
    write: (line) => void Deno.stderr.writeSync(new TextEncoder().encode(line)),
  });
  const lock = await lockDataDir(config.dataDir, { now: systemClock.now() });
  try {
    return await startLocked(config, logger, () => lock.release());
  } catch (error) {
    lock.release();
    throw error;
  }
}

async function startLocked(
  config: Config,
  logger: Logger,
  release: () => void,
): Promise<RunningBroker> {
  installCodecs(allCodecs);
  const system = { clock: systemClock, timers: systemTimers, randomness: systemRandomness };
  const metadata = await openKvMetadata({ path: `${config.dataDir}/metadata.kv`, ...system });
  const broker = await openBroker(config, logger, metadata);
  let address = { hostname: config.host, port: config.port };
  const app = openEdges(config, { broker, logger, self: () => address });
  const server = Deno.serve(
    {
      hostname: config.host,
      port: config.port,
      onListen: (listening) => address = { hostname: config.host, port: listening.port },
      onError: (error) => {
        logger.error("a request failed outside the application: {error}", { error });
        return new Response("internal error", { status: 500 });
      },
    },
    app.fetch,
  );
  let stopping: Promise<void> | null = null;
  const stop = async (reason: string) => {
    logger.info("shutting down: {reason}", { reason });
    const drained = server.shutdown();
    await Promise.race([
      drained,
      new Promise((resolve) => systemTimers.after(DRAIN_MS, () => resolve(null))),
    ]);
    await broker.close();
    await metadata.close();
    release();
    logger.info("closed cleanly");
  };
  const host = address.hostname.includes(":") ? `[${address.hostname}]` : address.hostname;
  return {
    version: VERSION,
    url: `http://${host}:${address.port}`,
    stop: (reason) => stopping ??= stop(reason),
  };
}

async function openBroker(
  config: Config,
  logger: Logger,
  metadata: MetadataStore,
): Promise<LocalBroker> {
  const disk = new DenoDisk(config.dataDir);
  const logs = new FileLogStore({
    disk,
    clock: systemClock,
    crc32c,
    tailCacheBytes: config.tailCacheBytes,
    onWarning: ({ log, message, error }) =>
      reportMessage(logger, "warning", { message: `log ${log}: ${message}`, error }),
  });
  return await LocalBroker.open(settingsOf(config), {
    metadata,
    logs,
    snapshots: new FileSnapshotStore("snapshots", { disk, crc32c }),
    clock: systemClock,
    timers: systemTimers,
    randomness: systemRandomness,
    crc32c,
    runtimeLog: { report: (event) => reportRuntime(logger, event) },
    report: ({ level, message, error }) => reportMessage(logger, level, { message, error }),
  });
}

function settingsOf(config: Config): LocalBrokerSettings {
  const { nodeId, maxPendingPublishBytes, retentionIntervalMs, groupsPartitions } = config;
  return {
    nodeId,
    maxPendingPublishBytes,
    retentionIntervalMs,
    groupsPartitions,
    group: {
      ...DEFAULT_GROUP_SETTINGS,
      initialRebalanceDelayMs: config.groupInitialDelayMs,
      rebalanceDelayMs: config.groupRebalanceDelayMs,
      revocationGraceMs: config.groupRevocationGraceMs,
      reconnectGraceMs: config.groupReconnectGraceMs,
    },
  };
}

function openEdges(
  config: Config,
  parts: { broker: LocalBroker; logger: Logger; self: () => { hostname: string; port: number } },
): App {
  const { broker, logger, self } = parts;
  return createApp({
    broker,
    clock: systemClock,
    randomness: systemRandomness,
    crc32c,
    limits: { ...DEFAULT_API_LIMITS, maxBodyBytes: config.maxBodyBytes },
    security: {
      adminToken: config.adminToken ?? null,
      allowedOrigins: config.allowedOrigins,
    },
    version: VERSION,
    self: () => ({ host: self().hostname, port: self().port, zone: null }),
    onError: (error, requestId) =>
      logger.error("request {requestId} met a fault: {error}", { requestId, error: text(error) }),
  });
}

/** Without a credential anybody who can reach the port is the administrator. */
function refuseOpenDoors(config: Config): void {
  if (config.adminToken !== undefined || config.insecure || LOOPBACK.test(config.host)) return;
  throw new ConfigError(
    `host ${config.host} can be reached from other machines and no credential is configured: ` +
      "set --admin-token, or say --insecure to serve everybody as administrator",
  );
}

function reportMessage(
  logger: Logger,
  level: "info" | "warning" | "error",
  said: { message: string; error?: unknown },
): void {
  const cause = said.error === undefined ? "" : `: ${text(said.error)}`;
  logger[level]("{said}", { said: `${said.message}${cause}` });
}

function reportRuntime(logger: Logger, event: RuntimeEvent): void {
  const { type, ...details } = event;
  const shown = Object.entries(details)
    .map(([name, value]) => `${name}=${name === "error" ? text(value) : value}`).join(" ");
  const quiet = type === "snapshot.saved" || type === "actor.loaded";
  logger[quiet ? "debug" : "warning"]("{shown}", { shown: `${type} ${shown}` });
}

function text(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? "" : ` (${text(error.cause)})`;
  return `${error.stack ?? error.message}${cause}`;
}
