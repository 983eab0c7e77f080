// Owns the routes that tell how the broker stands: once, and live.
// Refuses to own measuring (the samples that are handed in) and alerts.
// Invariant: whoever watches is looked at again with each sample, and sees nothing that a request would not be answered.
import type { Samples } from "../../actors/measurement/types.ts";
import { endedError } from "../auth/access.ts";
import { CLUSTER } from "../auth/authorizer.ts";
import { type KeySight, keySight } from "../auth/key_sight.ts";
import {
  lagTrendsOf,
  nowOf,
  type Overview,
  overviewSchema,
  pointOf,
  seenNow,
  trendsOf,
} from "../overview/overview.ts";
import { OverviewStream } from "../overview/stream.ts";
import { type ApiDependencies, defineRoute, type RouteModule } from "../route.ts";

const EVENT_STREAM = "text/event-stream";
const TAG = "Operations";

/** The routes, and how to end those that watch. */
export interface OverviewEdge {
  readonly routes: RouteModule;
  /** Before the door is shut: it waits for every answer. */
  close(): void;
}

/** The overview over `samples`. */
export function createOverview(samples: Samples): OverviewEdge {
  const stream = new OverviewStream(samples);
  return {
    routes: (dependencies) => [
      overviewRoute(dependencies, samples),
      streamRoute(dependencies, samples, stream),
    ],
    close: () => stream.close(),
  };
}

function overviewRoute(dependencies: ApiDependencies, samples: Samples) {
  return defineRoute({
    method: "GET",
    path: "/api/overview",
    operationId: "getOverview",
    tag: TAG,
    summary: "How the broker stands, and how it went over the last 15 minutes",
    responses: { 200: { description: "The overview", schema: overviewSchema } },
    handler: ({ access }) => ({
      data: overviewOf(dependencies, samples, keySight(dependencies.authorizer, access)),
    }),
  });
}

function streamRoute(dependencies: ApiDependencies, samples: Samples, stream: OverviewStream) {
  return defineRoute({
    method: "GET",
    path: "/api/overview:stream",
    operationId: "watchOverview",
    tag: TAG,
    summary: "The same live, as server-sent events",
    description: "First an event `overview`, as `GET /api/overview` answers it, then about each " +
      "second an event `sample`, as its `now`. A reader that is slow misses samples. The stream " +
      "ends when the credential or the right does. A principal watches 8 times at most, an administrator more often.",
    acceptAnything: true,
    responses: {
      200: {
        description: "Events without end",
        otherTypes: { [EVENT_STREAM]: "Events `overview` and `sample`; their data is JSON." },
      },
    },
    errors: ["OVERLOADED", "SHUTTING_DOWN"],
    handler: ({ access, authorize }) => {
      const mayStill = () => {
        const end = access.ended();
        if (end !== null) throw endedError(end);
        authorize({ operation: "describe", resource: "cluster", name: CLUSTER });
      };
      const { authorizer } = dependencies;
      const mayReadKeys = keySight(authorizer, access);
      const { principal, tenant } = access;
      const isAdministrator = authorizer.isAdministrator(access);
      const viewer = { principal, tenant, isAdministrator, mayStill, mayReadKeys };
      const body = stream.watch(overviewOf(dependencies, samples, mayReadKeys), viewer);
      const headers = {
        "content-type": EVENT_STREAM,
        "cache-control": "no-store",
        // Proxies that gather answers would tell it late.
        "x-accel-buffering": "no",
      };
      return new Response(body, { headers });
    },
  });
}

function overviewOf(
  { broker, version }: ApiDependencies,
  samples: Samples,
  mayReadKeys: KeySight,
): Overview {
  const latest = samples.latest();
  const history = samples.history();
  return {
    nodeId: broker.nodeId,
    version,
    now: latest === null ? null : seenNow(nowOf(latest), mayReadKeys),
    history: history.map(pointOf),
    trends: trendsOf(history),
    lagTrends: lagTrendsOf(history),
  };
}
