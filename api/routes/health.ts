// Owns the probes: is the process alive, is it ready to serve.
// Refuses to own what readiness is made of: the broker knows.
// Invariant: probes need no credential and touch no disk; names are told to nobody who may not see them.
import { z } from "zod";
import { CLUSTER } from "../auth/authorizer.ts";
import { type ApiDependencies, defineRoute, type Route } from "../route.ts";

const TAG = "Operations";

const readinessSchema = z.strictObject({
  status: z.enum(["ready", "unready"]),
  problems: z.array(z.string()).meta({
    description: "What stops the broker from serving all that it holds.",
  }),
}).meta({ id: "Readiness" });

/** Routes of probes. */
export function healthRoutes({ broker, authorizer }: ApiDependencies): Route[] {
  return [
    defineRoute({
      method: "GET",
      path: "/livez",
      operationId: "getLiveness",
      tag: TAG,
      summary: "Whether the process answers",
      open: true,
      responses: {
        200: { description: "It does", schema: z.strictObject({ status: z.literal("alive") }) },
      },
      handler: () => ({ data: { status: "alive" } }),
    }),
    defineRoute({
      method: "GET",
      path: "/readyz",
      operationId: "getReadiness",
      tag: TAG,
      summary: "Whether the broker can serve",
      description: "What stops it is told to who may describe the cluster.",
      open: true,
      looksAtCredential: true,
      responses: {
        200: { description: "It can", schema: readinessSchema },
        503: { description: "It cannot, now", schema: readinessSchema },
      },
      handler: ({ access }) => {
        const { ready, problems: all } = broker.health();
        const problems = authorizer.sees(access, "cluster", CLUSTER) ? all : untold(all);
        if (ready) return { data: { status: "ready", problems } };
        return {
          status: 503,
          data: { status: "unready", problems },
          headers: { "retry-after": "1" },
        };
      },
    }),
  ];
}

/** Problems name topics and partitions. */
function untold({ length }: readonly string[]): string[] {
  return length === 0 ? [] : [`${length}, told to who may describe the cluster`];
}
