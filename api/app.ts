// Owns the composition of the HTTP edge: every route module, the guard, and what answers when no route does.
// Refuses to own any route, and what is behind the Broker port.
// Invariant: whatever comes in, a response with x-request-id goes out, and an error is a problem.
import { Hono } from "hono";
import type { Broker } from "../actors/broker.ts";
import type { ClusterAdministration } from "../actors/cluster/administration.ts";
import type { ClusterDescription } from "../actors/cluster/describe_cluster.ts";
import { BrokerError } from "../storage/broker_error.ts";
import type { Clock, Crc32c, Randomness, Timers } from "../storage/ports.ts";
import { ACCESS_TABLE, type AccessTable, withAccess } from "./auth/access_table.ts";
import { AclAuthorizer } from "./auth/authorizer.ts";
import { administrationAlone } from "./alone.ts";
import { AnswerBudget } from "./answer_budget.ts";
import { BodyBudget } from "./body_budget.ts";
import { withCors } from "./cors.ts";
import { yieldToEventLoop } from "./event_loop.ts";
import type { ApiLimits } from "./limits.ts";
import { DATA_TYPES, JSON_TYPE, negotiate } from "./media.ts";
import { openApiDocument } from "./openapi.ts";
import type { Peer } from "./peer.ts";
import { problemResponse } from "./problem.ts";
import { QuotaGate } from "./quota/gate.ts";
import type { PublishPreparer } from "./publish_preparation.ts";
import {
  type ApiDependencies,
  honoPath,
  type Route,
  type RouteModule,
  type ServedRoute,
  templatePattern,
} from "./route.ts";
import { alertRoutes } from "./routes/alerts.ts";
import { auditRoutes } from "./routes/audit.ts";
import { brokerRoutes } from "./routes/brokers.ts";
import { clusterRoutes, type SelfDescription } from "./routes/cluster.ts";
import { documentationRoutes } from "./routes/docs.ts";
import { canaryRoutes } from "./routes/canary.ts";
import { groupRoutes } from "./routes/groups.ts";
import { healthRoutes } from "./routes/health.ts";
import { aclRoutes } from "./routes/acls.ts";
import { keyRoutes } from "./routes/keys.ts";
import { lagRoutes } from "./routes/lag.ts";
import { offsetHistoryRoutes } from "./routes/offset_history.ts";
import { offsetMoveRoutes } from "./routes/offset_moves.ts";
import { offsetRoutes } from "./routes/offsets.ts";
import { partitionRoutes } from "./routes/partitions.ts";
import { producerRoutes } from "./routes/producers.ts";
import { publishRoutes } from "./routes/publish.ts";
import { publishBatchesRoutes } from "./routes/publish_batches.ts";
import { deadLetterRoutes } from "./routes/dead_letters.ts";
import { retryRoutes } from "./routes/retries.ts";
import { quotaRoutes } from "./routes/quotas.ts";
import { readRoutes } from "./routes/read.ts";
import { redriveRoutes } from "./routes/redrive.ts";
import { replayRoutes } from "./routes/replays.ts";
import { runbookRoutes } from "./routes/runbooks.ts";
import { thresholdRoutes } from "./routes/thresholds.ts";
import { traceRoutes } from "./routes/traces.ts";
import { topicRoutes } from "./routes/topics.ts";
import { transactionRoutes } from "./routes/transactions.ts";
import { type ApiSecurity, createGuard } from "./security.ts";
import { addressCheck, rawPath } from "./request_address.ts";
import { requestIdOf, type ServeOptions, serveRoute } from "./serve_route.ts";
import { NO_TELEMETRY, type Telemetry, telemetryOf } from "./telemetry.ts";
import { tracedDeliveries } from "./traced_deliveries.ts";

export interface AppOptions {
  readonly broker: Broker;
  readonly clock: Clock;
  /** For telling refusals late and holding readers back; left out, both are refused at once. */
  readonly timers?: Timers;
  readonly randomness: Randomness;
  readonly crc32c: Crc32c;
  readonly limits: ApiLimits;
  readonly security: ApiSecurity;
  readonly version: string;
  /** What `GET /api/cluster` says of this node; asked on each request, since a port may be picked late. */
  readonly self: () => SelfDescription;
  /** What it says of the cluster that this node is part of; asked on each request. Default: this node alone. */
  readonly cluster?: () => ClusterDescription;
  /** Moves replicas, drains brokers; default: as a broker that is alone, which has nobody to move anything to. */
  readonly administration?: ClusterAdministration;
  /** Route modules of others (streams, members, metrics, a dashboard at `/`): they come before the built-in ones. */
  readonly routes?: readonly RouteModule[];
  /** Who may use those of `routes` that `ACCESS_TABLE` does not know. */
  readonly access?: AccessTable;
  /** Prepares publish requests elsewhere than on this thread. */
  readonly preparePublish?: PublishPreparer;
  /** Hears of the broker's own faults; default: nobody. */
  readonly onError?: (error: unknown, requestId: string) => void;
  /** Holds tenants to their quotas; default: one of its own. */
  readonly quota?: QuotaGate;
  /** Hears what is published, delivered and answered; default: nobody. */
  readonly telemetry?: Telemetry;
  /** Default: a turn of the real event loop. */
  readonly yieldToEventLoop?: () => Promise<void>;
}

/** The HTTP application, and every route that it serves. */
export interface App {
  readonly fetch: (request: Request, peer?: Peer) => Response | Promise<Response>;
  /** For tests: a request without a socket. */
  readonly request: Hono["request"];
  readonly routes: readonly ServedRoute[];
}

/** Composes the HTTP edge of `options.broker`. */
export function createApp(options: AppOptions): App {
  const dependencies: ApiDependencies = {
    broker: options.broker,
    authorizer: new AclAuthorizer(options.broker.acls),
    quota: options.quota ?? new QuotaGate({ ...options, timers: options.timers ?? null }),
    clock: options.clock,
    randomness: options.randomness,
    crc32c: options.crc32c,
    limits: options.limits,
    version: options.version,
    yieldToEventLoop: options.yieldToEventLoop ?? yieldToEventLoop,
    onError: options.onError ?? (() => {}),
    telemetry: telemetryOf(options.telemetry ?? NO_TELEMETRY, tracedDeliveries(options.broker)),
    ...(options.preparePublish === undefined ? {} : { preparePublish: options.preparePublish }),
  };
  const routes = routesOf(options, dependencies);
  const serving: ServeOptions = {
    ...dependencies,
    guard: createGuard(options.security, {
      keys: () => options.broker.accessKeys,
      clock: options.clock,
    }),
    audit: options.broker.audit,
    bodies: new BodyBudget(options.limits.maxReceivedBytes),
    answers: new AnswerBudget(options.limits.maxAnswerBytes, options.timers ?? null),
  };
  const hono = new Hono();
  const exact = new Map<string, Serve>();
  for (const route of routes) register({ hono, exact }, route, serving);
  hono.notFound((context) => unrouted(context.req.raw, routes, serving));
  hono.onError((error, context) => {
    const requestId = requestIdOf(context.req.raw, serving);
    dependencies.onError(error, requestId);
    return problemResponse(error, { requestId, mediaType: JSON_TYPE });
  });
  return {
    fetch: withCors(addressed(exactFirst(exact, hono), serving), options.security.allowedOrigins),
    request: hono.request,
    routes,
  };
}

function routesOf(
  options: AppOptions,
  dependencies: ApiDependencies,
): readonly ServedRoute[] {
  const administration = options.administration ?? administrationAlone(options);
  const modules: RouteModule[] = [
    ...options.routes ?? [],
    publishRoutes,
    publishBatchesRoutes,
    transactionRoutes,
    producerRoutes,
    readRoutes,
    replayRoutes,
    redriveRoutes,
    topicRoutes,
    groupRoutes,
    canaryRoutes,
    offsetRoutes,
    retryRoutes,
    deadLetterRoutes,
    offsetHistoryRoutes,
    offsetMoveRoutes,
    lagRoutes,
    keyRoutes,
    aclRoutes,
    quotaRoutes,
    auditRoutes,
    alertRoutes,
    thresholdRoutes,
    runbookRoutes,
    traceRoutes,
    clusterRoutes(options.self, options.cluster ?? null),
    brokerRoutes(administration),
    partitionRoutes(administration),
    healthRoutes,
  ];
  const routes = modules.flatMap((module) => module(dependencies));
  const taken = new Set(routes.map((route) => `${route.method} ${route.path}`));
  let all: readonly ServedRoute[] = [];
  const documentation = documentationRoutes(() => openApiDocument(all, options.version));
  // A dashboard may have taken `/`, where the documentation would else redirect from.
  all = [
    ...routes,
    ...documentation(dependencies).filter((route) => !taken.has(`${route.method} ${route.path}`)),
  ].map((route) => withAccess(route, { ...ACCESS_TABLE, ...options.access }));
  return all;
}

type Serve = ReturnType<typeof serveRoute>;

/** Paths without parameters, publishing above all, are found by one look-up: the router for the others costs 15 us. */
function exactFirst(exact: ReadonlyMap<string, Serve>, hono: Hono): App["fetch"] {
  return (request, peer) => {
    const serve = exact.get(`${request.method} ${rawPath(request.url)}`);
    return serve === undefined ? hono.fetch(request, peer) : serve(request, {}, peer);
  };
}

function register(
  { hono, exact }: { hono: Hono; exact: Map<string, Serve> },
  route: ServedRoute,
  serving: ServeOptions,
): void {
  const { path, suffixes } = honoPath(route.path);
  const serve = serveRoute(route, serving);
  if (!route.path.includes("{")) exact.set(`${route.method} ${path}`, serve);
  const cut = Object.entries(suffixes);
  hono.on(route.method, path, (context) => {
    const params = context.req.param() as Record<string, string>;
    for (const [name, suffix] of cut) params[name] = params[name]!.slice(0, -suffix.length);
    return serve(context.req.raw, params, context.env as Peer | undefined);
  });
}

/** 405 where the path is known with another method, else 404. */
function unrouted(
  request: Request,
  routes: readonly Route[],
  serving: ServeOptions,
): Response {
  const pathname = rawPath(request.url);
  const methods = routes.filter((route) => templatePattern(route.path).test(pathname))
    .map((route) => route.method);
  const allow = [...new Set([...methods, ...(methods.includes("GET") ? ["HEAD"] : [])])];
  const shown = JSON.stringify(pathname.slice(0, 200));
  const error = allow.length > 0
    ? new BrokerError("METHOD_NOT_ALLOWED", `${request.method} is not known on ${shown}`, { allow })
    : new BrokerError("NOT_FOUND", `there is nothing at ${shown}`);
  return refusal(request, error, serving);
}

function refusal(request: Request, error: BrokerError, serving: ServeOptions): Response {
  const mediaType = negotiate(request.headers.get("accept"), DATA_TYPES) ?? JSON_TYPE;
  return problemResponse(error, { requestId: requestIdOf(request, serving), mediaType });
}

/** What no URL can be made of reaches no route. */
function addressed(fetch: App["fetch"], serving: ServeOptions): App["fetch"] {
  const errorOf = addressCheck();
  return (request, peer) => {
    const error = errorOf(request);
    return error === null ? fetch(request, peer) : refusal(request, error, serving);
  };
}
