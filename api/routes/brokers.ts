// Owns the routes of brokers: list them with what they hold, show one, empty one, take it back, forget it.
// Refuses to own moving what they hold (partitions.ts) and what is kept of them (actors/cluster/).
// Invariant: an answered change is in the metadata store, and goes on whoever dies.
import { z } from "zod";
import type { BrokerLoad, ClusterAdministration } from "../../actors/cluster/administration.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import { label } from "../fields.ts";
import { byName, nextCursor, pageOf, pageQuery } from "../paging.ts";
import { type ApiDependencies, defineRoute, type Route, type RouteModule } from "../route.ts";

const TAG = "Operations";
const PATH = "/api/brokers";
const count = z.int().min(0);
const params = z.strictObject({ nodeId: label });

export const brokerSchema = z.strictObject({
  nodeId: z.string(),
  host: z.string().nullable().meta({ description: "null of a broker that is offline" }),
  port: z.int().nullable(),
  zone: z.string().nullable(),
  state: z.enum(["online", "fenced", "draining", "offline"]),
  version: z.string().nullable().meta({ description: "null of a broker that is offline" }),
  leaders: count.meta({ description: "Partitions that it leads, internal ones too." }),
  replicas: count.meta({ description: "Partitions that it is a replica of." }),
  outOfSync: count.meta({ description: "Its replicas that are not in sync." }),
  lag: z.strictObject({
    partitions: count.meta({ description: "Of which it lacks something." }),
    messages: count.meta({ description: "That it lacks, over all of them." }),
    behindMs: z.number().min(0).meta({ description: "How long the furthest has been behind." }),
  }).nullable().meta({ description: "null: not every leader could be asked." }),
}).meta({ id: "Broker" });

/** Routes of brokers; on a broker that is alone `administration` is that of one. */
export function brokerRoutes(administration: ClusterAdministration): RouteModule {
  return ({ limits }: ApiDependencies): Route[] => [
    defineRoute({
      method: "GET",
      path: PATH,
      operationId: "listBrokers",
      tag: TAG,
      summary: "List the brokers of the cluster with what they hold",
      query: pageQuery(limits),
      responses: {
        200: {
          description: "A page of brokers",
          schema: z.strictObject({ brokers: z.array(brokerSchema), nextCursor }),
        },
      },
      errors: ["FORBIDDEN"],
      handler: async ({ query }) => {
        const all = await administration.brokers();
        const { entries, ...page } = pageOf(all, query, byName<BrokerLoad>(({ nodeId }) => nodeId));
        return { data: { brokers: entries, ...page } };
      },
    }),
    defineRoute({
      method: "GET",
      path: `${PATH}/{nodeId}`,
      operationId: "getBroker",
      tag: TAG,
      summary: "Show a broker with what it holds",
      params,
      responses: { 200: { description: "The broker", schema: brokerSchema } },
      errors: ["FORBIDDEN", "NOT_FOUND"],
      handler: async ({ params: { nodeId } }) => ({ data: await shown(administration, nodeId) }),
    }),
    drainRoute(administration, true),
    drainRoute(administration, false),
    defineRoute({
      method: "DELETE",
      path: `${PATH}/{nodeId}`,
      operationId: "decommissionBroker",
      tag: TAG,
      summary: "Forget a broker for good",
      description: "It must have been drained until it holds nothing, and stopped.",
      params,
      responses: { 204: { description: "It is no broker of the cluster any more" } },
      errors: ["FORBIDDEN", "NOT_FOUND", "METADATA_CONFLICT", "METADATA_UNAVAILABLE"],
      handler: async ({ params: { nodeId } }) => {
        await administration.decommission(nodeId);
        return { status: 204 };
      },
    }),
  ];
}

function drainRoute(administration: ClusterAdministration, draining: boolean): Route {
  return defineRoute({
    method: "POST",
    path: `${PATH}/{nodeId}:${draining ? "drain" : "undrain"}`,
    operationId: draining ? "drainBroker" : "undrainBroker",
    tag: TAG,
    summary: draining
      ? "Empty a broker: leaders and replicas move to the others"
      : "Let a broker that was drained hold replicas again",
    description: draining
      ? "It serves until it is empty: `replicas` of the broker counts what is left, and `GET /api/partitions:reassign` " +
        "lists the moves. Nothing new is put on it. What no other broker can take stays."
      : "What has moved away stays away: `POST /api/partitions:reassign` with `rebalance` spreads the load again.",
    params,
    responses: { 202: { description: "The broker, as it is now", schema: brokerSchema } },
    errors: ["FORBIDDEN", "NOT_FOUND", "METADATA_CONFLICT", "METADATA_UNAVAILABLE"],
    handler: async ({ params: { nodeId } }) => {
      await administration.setDraining(nodeId, draining);
      return { status: 202, data: await shown(administration, nodeId) };
    },
  });
}

async function shown(administration: ClusterAdministration, nodeId: string): Promise<BrokerLoad> {
  const found = (await administration.brokers()).find((broker) => broker.nodeId === nodeId);
  if (found !== undefined) return found;
  throw new BrokerError("NOT_FOUND", `no broker ${nodeId} is known`, { nodeId });
}
