// Owns bringing a broker up from a configuration and down again, in this process: ports, storage, actors, edges, socket.
// Refuses to own configuration (config.ts), signals and exit codes (main.ts).
// Invariant: it listens only when everything behind it is open, and lets go of the data directory last.
import { resolve } from "node:path";
import { crc32c } from "@node-rs/crc32";
import { DEFAULT_GROUP_SETTINGS } from "../actors/group/settings.ts";
import { LocalBroker, type LocalBrokerSettings } from "../actors/local_broker.ts";
import type { RuntimeEvent } from "../actors/runtime/reports.ts";
import { type App, createApp } from "../api/app.ts";
import { type ApiLimits, DEFAULT_API_LIMITS } from "../api/limits.ts";
import type { JwtVerifier } from "../api/auth/jwt.ts";
import { yieldToEventLoop } from "../api/event_loop.ts";
import { publishPreparer } from "../api/publish_preparation.ts";
import { createOverview, type OverviewEdge } from "../api/routes/overview.ts";
import { type Consuming, createConsuming } from "../api/stream/consuming.ts";
import { allCodecs } from "../storage/format/all_codecs.ts";
import { installCodecs } from "../storage/format/compression.ts";
import {
  DataDirInUseError,
  type DataDirLock,
  lockDataDir,
} from "../storage/file_log/data_dir_lock.ts";
import { DenoDisk } from "../storage/file_log/deno_disk.ts";
import { FileLogStore } from "../storage/file_log/file_log_store.ts";
import { FileSnapshotStore } from "../storage/file_log/file_snapshots.ts";
import { WriteThread } from "../storage/file_log/write_thread.ts";
import { openKvMetadata } from "../storage/kv/kv_metadata.ts";
import { SealedSnapshots } from "../storage/encryption/sealed_snapshots.ts";
import type { MetadataStore } from "../storage/metadata.ts";
import { BrokerError } from "../storage/broker_error.ts";
import {
  type AlertingSettings,
  alertingSettings,
  startConfiguredAlerting,
} from "./alerting/configured_alerting.ts";
import { archivedLogs } from "./archive_target.ts";
import type { Config } from "./config_keys.ts";
import { ConfigError } from "./config.ts";
import { CertificateError } from "./door/certificates.ts";
import { type DoorCounts, NOTHING_COUNTED } from "./door/counts.ts";
import { certificateFilesOf, openConfiguredDoor } from "./door/configured_door.ts";
import type { Door } from "./door/door.ts";
import { type EncryptionKeys, encryptionKeysOf } from "./encryption_keys.ts";
import { type Logger, startLogging } from "./logging.ts";
import { MissingKeys } from "./missing_keys.ts";
import { measuredDisk, SyncWatch } from "./measurement/measured_disk.ts";
import type { Measuring } from "./measurement/measuring.ts";
import { measureBroker } from "./measurement/measured_broker.ts";
import { diskFreeBytes } from "./measurement/system_space.ts";
import { partitionMetricsRoutes } from "./metrics/partition_routes.ts";
import { metricsRoutes } from "./metrics/routes.ts";
import { PublishThreads } from "./publish/threads.ts";
import { installRunbooks } from "./runbooks/install.ts";
import { systemClock, systemRandomness, systemTimers } from "./system_ports.ts";
import { guessableToken, noAdministrator } from "./administrators.ts";
import { hasCredential, issuerSeries, tokenVerifierOf } from "./token_verifier.ts";
import { VERSION } from "./version.ts";

/** Time that consumers have to answer the close of their sockets, and how often it is looked at. */
const SOCKET_CLOSE_MS = 1_000;
const SOCKET_CLOSE_POLL_MS = 10;
/** Unless configured otherwise: with more, the event loop is what limits. */
const MAX_PUBLISH_THREADS = 4;
const HOUR_MS = 3_600_000;
/** Where the data of topics lies, a directory each. */
const TOPICS_DIRECTORY = "topics";
const SYSTEM_PATH = /^\/(?:proc|sys|dev)(?:\/|$)/;
const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[?::1\]?)$/;

/** The broker cannot run as it was asked to, and the message says what to change. */
export class CannotStartError extends Error {
  override name = "CannotStartError";
}

export interface RunningBroker {
  readonly version: string;
  readonly url: string;
  /**
   * Stops accepting, finishes what was accepted, closes everything cleanly. Safe to call again. Rejects when something
   * could not be closed cleanly, which the log says; everything else was, and nothing acknowledged is lost.
   */
  stop(reason: string): Promise<void>;
}

/** Starts a broker; rejects with ConfigError, DataDirInUseError or CannotStartError when it cannot run as asked. */
export async function startBroker(config: Config): Promise<RunningBroker> {
  refuseOpenDoors(config);
  certificateFilesOf(config);
  await requireDiskPermission(config.dataDir);
  const tokens = await tokenVerifierOf(config, systemClock);
  const keys = await encryptionKeysOf(config);
  const alerting = await alertingSettings(config);
  const logger = await startLogging({
    level: config.logLevel,
    format: config.logFormat,
    colour: Deno.stderr.isTerminal() && !Deno.noColor,
    write: (line) => void Deno.stderr.writeSync(new TextEncoder().encode(line)),
  });
  tokens?.watch(({ level, message, error }) => reportMessage(logger, level, { message, error }));
  const lock = await lockedDataDir(config.dataDir);
  try {
    return await startLocked(config, { logger, tokens, keys, alerting }, () => lock.release());
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** Where the permission to ask for free space is missing, that is told now. */
async function requireDiskPermission(dataDir: string): Promise<void> {
  try {
    await diskFreeBytes(dataDir);
  } catch (error) {
    if (!SYSTEM_PATH.test(resolve(dataDir))) throw error;
    // The runtime asks for every permission there is before it touches these.
    throw new CannotStartError(`data directory ${dataDir} cannot be used: it is the system's own`);
  }
}

async function lockedDataDir(dataDir: string): Promise<DataDirLock> {
  try {
    return await lockDataDir(dataDir, { now: systemClock.now() });
  } catch (error) {
    if (error instanceof DataDirInUseError) throw error;
    throw new CannotStartError(`data directory ${dataDir} cannot be used: ${reason(error)}`);
  }
}

async function startLocked(
  config: Config,
  { logger, tokens, keys, alerting: settings }: {
    logger: Logger;
    tokens: JwtVerifier | null;
    keys: EncryptionKeys | null;
    alerting: AlertingSettings;
  },
  release: () => void,
): Promise<RunningBroker> {
  installCodecs(allCodecs);
  const system = { clock: systemClock, timers: systemTimers, randomness: systemRandomness };
  const metadata = await openKvMetadata({ path: `${config.dataDir}/metadata.kv`, ...system });
  const writes = new WriteThread();
  const syncs = new SyncWatch(systemClock);
  let opened: LocalBroker | null = null;
  const missingKeys = new MissingKeys({
    ...system,
    topicOf: (log) => opened === null ? null : topicOfLog(opened, log),
    report: (message) => reportMessage(logger, "error", { message }),
  });
  const broker = await openBroker(config, logger, { metadata, writes, keys, syncs, missingKeys });
  opened = broker;
  const measuring = measureBroker(config, {
    broker,
    syncs,
    report: (message, error) => reportMessage(logger, "warning", { message, error }),
  });
  const overview = createOverview(measuring.sampler);
  const alerting = startConfiguredAlerting(settings, {
    ...system,
    broker,
    samples: measuring.sampler,
    report: ({ level, message, error }) => reportMessage(logger, level, { message, error }),
  });
  installRunbooks({ broker, clock: systemClock }, config.runbookMode);
  for (const warning of [noAdministrator(config, broker.acls), guessableToken(config)]) {
    if (warning !== null) logger.warning("{warning}", { warning });
  }
  const close = async () => {
    keys?.stop();
    missingKeys.stop();
    await measuring.stop();
    await alerting.stop();
    try {
      await broker.close();
    } finally {
      writes.end();
      await metadata.close();
      release();
    }
  };
  const { door, consuming, publishing } = await serve(config, {
    broker,
    logger,
    tokens,
    measuring,
    overview,
  }).catch(
    async (error) => {
      await close();
      throw error;
    },
  );
  const stop = async (why: string) => {
    logger.info("shutting down: {why}", { why });
    overview.close();
    await consuming.drain();
    await socketsGone(consuming);
    broker.endWaits();
    await drained(door, config.drainMs);
    publishing.end();
    try {
      await close();
    } catch (error) {
      logger.error("not closed cleanly, the next start checks the logs: {error}", {
        error: text(error),
      });
      throw error;
    }
    logger.info("closed cleanly");
  };
  let stopping: Promise<void> | null = null;
  return { version: VERSION, url: door.url, stop: (why) => stopping ??= stop(why) };
}

interface Served {
  readonly door: Door;
  readonly consuming: Consuming;
  readonly publishing: PublishThreads;
}

async function serve(
  config: Config,
  parts: {
    broker: LocalBroker;
    logger: Logger;
    tokens: JwtVerifier | null;
    measuring: Measuring;
    overview: OverviewEdge;
  },
): Promise<Served> {
  const { host: hostname, port } = config;
  let door: Door | null = null;
  const { app, consuming, publishing } = openEdges(config, {
    ...parts,
    self: () => ({ hostname, port: door?.port ?? port }),
    doorCounts: () => door?.counts() ?? NOTHING_COUNTED,
  });
  try {
    door = await openConfiguredDoor(config, {
      fetch: app.fetch,
      clock: systemClock,
      timers: systemTimers,
      report: (level, message, error) => reportMessage(parts.logger, level, { message, error }),
    });
    return { door, consuming, publishing };
  } catch (error) {
    publishing.end();
    if (error instanceof CertificateError) throw new CannotStartError(error.message);
    throw new CannotStartError(`cannot listen on ${hostname} port ${port}: ${reason(error)}`);
  }
}

/**
 * Waits for the sockets of drained streams, a little: a client that does not read never answers the close. Deno's
 * shutdown would overtake the close (1012) with one of its own (1001).
 */
async function socketsGone(consuming: Consuming): Promise<void> {
  const givenUpAt = systemClock.monotonic() + SOCKET_CLOSE_MS;
  while (consuming.counts().streams > 0 && systemClock.monotonic() < givenUpAt) {
    await new Promise<void>((resolve) => systemTimers.after(SOCKET_CLOSE_POLL_MS, resolve));
  }
}

/** Resolves when every request under way has been answered, or after `drainMs` without the rest. */
async function drained(door: Door, drainMs: number): Promise<void> {
  const late = Promise.withResolvers<void>();
  const cancel = systemTimers.after(drainMs, late.resolve);
  await Promise.race([door.shutdown(), late.promise]);
  cancel();
}

async function openBroker(
  config: Config,
  logger: Logger,
  { metadata, writes, keys, syncs, missingKeys }: {
    metadata: MetadataStore;
    writes: WriteThread;
    keys: EncryptionKeys | null;
    syncs: SyncWatch;
    missingKeys: MissingKeys;
  },
): Promise<LocalBroker> {
  const disk = measuredDisk(new DenoDisk(config.dataDir, writes), syncs);
  const report = ({ level, message, error }: {
    level: "info" | "warning" | "error";
    message: string;
    error?: unknown;
  }) => {
    if (!missingKeys.takes(error)) reportMessage(logger, level, { message, error });
  };
  const onWarning = (warning: { log: string; message: string; error?: unknown }) => {
    const { log, message, error } = warning;
    report({ level: "warning", message: `log ${log}: ${message}`, error });
  };
  const { tailCacheBytes } = config;
  const masterKeys = keys?.masterKeys ?? null;
  const files = new FileLogStore({
    disk,
    clock: systemClock,
    crc32c,
    tailCacheBytes,
    masterKeys,
    onWarning,
  });
  await files.tidy(TOPICS_DIRECTORY);
  const logs = archivedLogs(config, { logs: files, disk, onWarning });
  const snapshots = new FileSnapshotStore("snapshots", { disk, crc32c });
  const broker = await LocalBroker.open(settingsOf(config), {
    metadata,
    logs,
    snapshots: masterKeys === null ? snapshots : new SealedSnapshots(snapshots, masterKeys),
    clock: systemClock,
    timers: systemTimers,
    randomness: systemRandomness,
    crc32c,
    runtimeLog: {
      report: (event) => {
        if (!missingKeys.takesEvent(event)) reportRuntime(logger, event);
      },
    },
    report,
  });
  keys?.watch({
    timers: systemTimers,
    logs: () => files.encryptedLogs(),
    isWhole: () => broker.health().ready,
    report,
  });
  return broker;
}

/** Name of the topic whose data lies in `topics/<topicId>/<partition>`; null for any other log. */
function topicOfLog(broker: LocalBroker, log: string): string | null {
  const topicId = log.split("/")[1];
  return broker.topicNames().find((name) => broker.topic(name)?.topicId === topicId) ?? null;
}

function settingsOf(config: Config): LocalBrokerSettings {
  const { nodeId, maxPendingPublishBytes, retentionIntervalMs, groupsPartitions } = config;
  return {
    nodeId,
    maxPendingPublishBytes,
    retentionIntervalMs,
    groupsPartitions,
    encryptInternalTopics: config.encryptInternalTopics,
    auditRetentionMs: config.auditRetentionDays * 24 * HOUR_MS,
    messageKeys: {
      windowMs: config.messageKeyHours * HOUR_MS,
      maxKeysPerTopic: config.maxMessageKeys,
      maxKeys: config.maxMessageKeys,
    },
    requestKeys: {
      windowMs: config.requestKeyHours * HOUR_MS,
      maxRequests: config.maxRequestKeys,
    },
    group: {
      ...DEFAULT_GROUP_SETTINGS,
      maxGroups: config.maxGroups,
      initialRebalanceDelayMs: config.groupInitialDelayMs,
      rebalanceDelayMs: config.groupRebalanceDelayMs,
      revocationGraceMs: config.groupRevocationGraceMs,
      reconnectGraceMs: config.groupReconnectGraceMs,
      historyMs: config.groupHistoryHours * HOUR_MS,
      maxPendingRetries: config.groupMaxRetries,
      maxDeadLettersPerMinute: config.groupMaxDeadLettersPerMinute,
      offsetsSnapshotIntervalMs: config.groupSnapshotIntervalMs,
    },
  };
}

/** The HTTP application and the consumers behind it, which an HTTP drain does not wait for. */
interface Edges {
  readonly app: App;
  readonly consuming: Consuming;
  readonly publishing: PublishThreads;
}

function openEdges(
  config: Config,
  parts: {
    broker: LocalBroker;
    logger: Logger;
    tokens: JwtVerifier | null;
    self: () => { hostname: string; port: number };
    doorCounts: () => DoorCounts;
    measuring: Measuring;
    overview: OverviewEdge;
  },
): Edges {
  const { broker, logger, self, measuring } = parts;
  const consuming = createConsuming({ timers: systemTimers });
  const limits = { ...DEFAULT_API_LIMITS, maxBodyBytes: config.maxBodyBytes };
  const publishing = openPublishing(config, { logger, limits });
  const app = createApp({
    broker,
    clock: systemClock,
    timers: systemTimers,
    randomness: systemRandomness,
    crc32c,
    limits,
    preparePublish: publishing.prepare,
    security: {
      adminToken: config.adminToken ?? null,
      allowedOrigins: config.allowedOrigins,
      tokens: parts.tokens,
      ...(!hasCredential(config) && !config.insecure
        ? { trustedHosts: ["localhost", config.host] }
        : {}),
    },
    version: VERSION,
    telemetry: measuring.edge,
    routes: [
      consuming.routes,
      metricsRoutes(VERSION, parts.doorCounts, measuring, {
        more: parts.tokens === null ? [] : issuerSeries(parts.tokens),
      }),
      partitionMetricsRoutes(measuring.lags),
      parts.overview.routes,
    ],
    self: () => ({ host: self().hostname, port: self().port, zone: null }),
    onError: (error, requestId) =>
      logger.error("request {requestId} met a fault: {error}", { requestId, error: text(error) }),
  });
  return { app, consuming, publishing };
}

function openPublishing(
  config: Config,
  parts: { logger: Logger; limits: ApiLimits },
): PublishThreads {
  const { logger, limits } = parts;
  const here = publishPreparer({
    limits,
    clock: systemClock,
    randomness: systemRandomness,
    crc32c,
    yieldToEventLoop,
  });
  const threads = config.publishThreads ??
    Math.min(MAX_PUBLISH_THREADS, navigator.hardwareConcurrency - 1);
  const report = (message: string) => logger.error("{message}", { message });
  return new PublishThreads({ threads, limits, here, report });
}

/** Without a credential anybody who can reach the port is the administrator. */
function refuseOpenDoors(config: Config): void {
  if (hasCredential(config) || config.insecure || LOOPBACK.test(config.host)) return;
  throw new ConfigError(
    `host ${config.host} can be reached from other machines and no credential is configured: ` +
      "set --admin-token (or a key for JWTs), or say --insecure to serve everybody as administrator",
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

/** With its causes. Stacks are for faults of the broker's own: what a BrokerError says is enough. */
function text(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const causes: unknown[] = error instanceof AggregateError ? [...error.errors] : [];
  if (error.cause !== undefined) causes.push(error.cause);
  const expected = error instanceof BrokerError && error.code !== "INTERNAL";
  if (expected) {
    return [`${error.code}: ${error.message}`, ...causes.map(reason)].join(", because: ");
  }
  const because = causes.length === 0 ? "" : `\nbecause: ${causes.map(text).join("\nand: ")}`;
  return `${error.stack ?? error.message}${because}`;
}

/** What an operator needs of a refusal by the system. */
function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
