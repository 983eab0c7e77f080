// Owns putting together what serves clients: the HTTP application with its routes, consumers, and publishing.
// Refuses to own listening (../door/) and what each route does.
// Invariant: an edge reaches the broker through its ports alone.
import { crc32c } from "@node-rs/crc32";
import type { Broker } from "../../actors/broker.ts";
import { type App, createApp } from "../../api/app.ts";
import type { JwtVerifier } from "../../api/auth/jwt.ts";
import { yieldToEventLoop } from "../../api/event_loop.ts";
import { type ApiLimits, DEFAULT_API_LIMITS } from "../../api/limits.ts";
import { publishPreparer } from "../../api/publish_preparation.ts";
import type { QuotaGate } from "../../api/quota/gate.ts";
import { dashboardRoutes } from "../../api/routes/dashboard.ts";
import type { OverviewEdge } from "../../api/routes/overview.ts";
import { type Consuming, createConsuming } from "../../api/stream/consuming.ts";
import { telemetryOf } from "../../api/telemetry.ts";
import type { Config } from "../config_keys.ts";
import type { DoorCounts } from "../door/counts.ts";
import type { Logger } from "../logging.ts";
import type { Measuring } from "../measurement/measuring.ts";
import { partitionMetricsRoutes } from "../metrics/partition_routes.ts";
import { metricsRoutes } from "../metrics/routes.ts";
import { PublishThreads } from "../publish/threads.ts";
import { hasCredential, issuerSeries } from "../token_verifier.ts";
import type { Tracing } from "../tracing/types.ts";
import { VERSION } from "../version.ts";
import type { ClusterBroker } from "./cluster_broker.ts";
import type { ProcessPorts } from "./ports.ts";
import { errorText } from "./reporting.ts";

/** Unless configured otherwise: with more, the event loop is what limits. */
const MAX_PUBLISH_THREADS = 4;

/** The HTTP application and the consumers behind it, which an HTTP drain does not wait for. */
export interface Edges {
  readonly app: App;
  readonly consuming: Consuming;
  readonly publishing: PublishThreads;
}

export interface EdgeParts {
  readonly ports: ProcessPorts;
  readonly broker: Broker;
  /** Null: the broker is alone. */
  readonly cluster: Pick<ClusterBroker, "describe" | "node"> | null;
  readonly logger: Logger;
  readonly tokens: JwtVerifier | null;
  /** Where this broker is reached. */
  readonly self: () => { hostname: string; port: number };
  readonly doorCounts: () => DoorCounts;
  readonly measuring: Measuring;
  readonly overview: OverviewEdge;
  readonly quota: QuotaGate;
  readonly tracing: Tracing;
}

export function openEdges(config: Config, parts: EdgeParts): Edges {
  const { broker, logger, measuring, self, tokens, tracing } = parts;
  const { clock, timers, randomness } = parts.ports;
  const consuming = createConsuming({ timers });
  const limits = { ...DEFAULT_API_LIMITS, maxBodyBytes: config.maxBodyBytes };
  const publishing = openPublishing(config, { ...parts, limits });
  const app = createApp({
    broker: tracing.broker(broker),
    quota: parts.quota,
    clock,
    timers,
    randomness,
    crc32c,
    limits,
    preparePublish: publishing.prepare,
    security: {
      adminToken: config.adminToken ?? null,
      allowedOrigins: config.allowedOrigins,
      tokens,
      ...(!hasCredential(config) && !config.insecure
        ? { trustedHosts: ["localhost", config.host] }
        : {}),
    },
    version: VERSION,
    telemetry: telemetryOf(measuring.edge, tracing.telemetry),
    routes: [
      consuming.routes,
      metricsRoutes(VERSION, parts.doorCounts, measuring, {
        more: tokens === null ? [] : issuerSeries(tokens),
      }),
      partitionMetricsRoutes(measuring.lags),
      parts.overview.routes,
      dashboardRoutes,
    ],
    ...clusterOf(parts.cluster),
    self: () => ({ host: self().hostname, port: self().port, zone: null }),
    onError: (error, requestId) =>
      logger.error("request {requestId} met a fault: {error}", {
        requestId,
        error: errorText(error),
      }),
  });
  return { app, consuming, publishing };
}

function clusterOf(cluster: EdgeParts["cluster"]) {
  if (cluster === null) return {};
  return { cluster: () => cluster.describe(), administration: cluster.node.administration };
}

function openPublishing(
  config: Config,
  { ports: { clock, randomness }, logger, limits }: Pick<EdgeParts, "ports" | "logger"> & {
    readonly limits: ApiLimits;
  },
): PublishThreads {
  const here = publishPreparer({ limits, clock, randomness, crc32c, yieldToEventLoop });
  const threads = config.publishThreads ??
    Math.min(MAX_PUBLISH_THREADS, navigator.hardwareConcurrency - 1);
  const report = (message: string) => logger.error("{message}", { message });
  return new PublishThreads({ threads, limits, here, report });
}
