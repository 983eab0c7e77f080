// Owns the route that describes the cluster; of one node when that is alone.
// Refuses to own membership and leadership.
// Invariant: partitions are told as offline or under-replicated exactly as their topics describe them.
import { z } from "zod";
import type { PartitionPlacement } from "../../actors/cluster/administration.ts";
import type { ClusterDescription } from "../../actors/cluster/describe_cluster.ts";
import { placementsAlone } from "../alone.ts";
import { type ApiDependencies, defineRoute, type Route, type RouteModule } from "../route.ts";

/** Where clients reach this node. */
export interface SelfDescription {
  readonly host: string;
  readonly port: number;
  readonly zone: string | null;
}

const topicPartition = z.strictObject({ topic: z.string(), partition: z.int() });

export const clusterSchema = z.strictObject({
  clusterId: z.string(),
  controller: z.strictObject({ nodeId: z.string(), epoch: z.int() }).nullable().meta({
    description: "null while none is elected",
  }),
  brokers: z.array(z.strictObject({
    nodeId: z.string(),
    host: z.string().nullable().meta({ description: "null of a broker that is offline" }),
    port: z.int().nullable(),
    zone: z.string().nullable(),
    state: z.enum(["online", "fenced", "draining", "offline"]),
  })),
  offlinePartitions: z.array(topicPartition),
  underReplicatedPartitions: z.array(topicPartition),
}).meta({ id: "Cluster" });

/** Routes of the cluster; `self` is asked on each request, and so is `cluster`, which a broker that is alone has none of. */
export function clusterRoutes(
  self: () => SelfDescription,
  cluster: (() => ClusterDescription) | null,
): RouteModule {
  return ({ broker }: ApiDependencies): Route[] => [
    defineRoute({
      method: "GET",
      path: "/api/cluster",
      operationId: "getCluster",
      tag: "Operations",
      summary: "Describe the cluster",
      responses: { 200: { description: "The cluster", schema: clusterSchema } },
      handler: async () => {
        const described = cluster === null ? await describedAlone(broker, self()) : cluster();
        return { data: { clusterId: broker.clusterId, ...described } };
      },
    }),
  ];
}

/** A broker alone is its own controller, elected once. */
async function describedAlone(
  broker: ApiDependencies["broker"],
  self: SelfDescription,
): Promise<ClusterDescription> {
  const all = await placementsAlone(broker);
  const shown = ({ topic, partition }: PartitionPlacement) => ({ topic, partition });
  return {
    controller: { nodeId: broker.nodeId, epoch: 1 },
    brokers: [{ nodeId: broker.nodeId, ...self, state: "online" }],
    offlinePartitions: all.filter(({ state }) => state === "offline").map(shown),
    underReplicatedPartitions: all.filter(({ underReplicated }) => underReplicated).map(shown),
  };
}
