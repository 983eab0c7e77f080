// Owns the routes of partitions' replicas: where they lie and how far they are behind, moving them, following and
// cancelling moves.
// Refuses to own plans and moves themselves (actors/cluster/).
// Invariant: a dry run answers the plan that the same request without it would begin, and changes nothing.
import { z } from "zod";
import type {
  ClusterAdministration,
  PartitionPlacement,
} from "../../actors/cluster/administration.ts";
import { MAX_PLANNED_MOVES } from "../../actors/cluster/decide_reassign.ts";
import type { MoveProgress } from "../../actors/cluster/reassign.ts";
import type { FollowerLag } from "../../actors/replication/follower_lags.ts";
import { integerText, label, partition, topicName } from "../fields.ts";
import { matches, nextCursor, pageOf, type PageOrder, searchQuery } from "../paging.ts";
import { type ApiDependencies, defineRoute, type Route, type RouteModule } from "../route.ts";

const TAG = "Operations";
const PATH = "/api/partitions";
const REASSIGN = `${PATH}:reassign`;
/** More brokers than any partition has replicas. */
const MAX_NAMED_REPLICAS = 100;
const count = z.int().min(0);
const nodeIds = z.array(z.string());

const replicaSchema = z.strictObject({
  nodeId: z.string(),
  inSync: z.boolean(),
  lagMessages: count.nullable().meta({
    description: "Offsets of the leader's log that it has not synced; null: nobody knows.",
  }),
  behindMs: z.number().min(0).nullable().meta({
    description: "Since when the leader has had what it has not; 0: it has all.",
  }),
});

export const partitionSchema = z.strictObject({
  topic: z.string(),
  partition: z.int(),
  state: z.enum(["online", "offline"]),
  underReplicated: z.boolean(),
  leader: z.string().nullable(),
  leaderEpoch: z.int(),
  replicas: z.array(replicaSchema).meta({ description: "The preferred leader first." }),
  target: nodeIds.nullable().meta({ description: "Of a move under way." }),
}).meta({ id: "PartitionReplicas" });

const plannedFields = { topic: z.string(), partition: z.int(), from: nodeIds, to: nodeIds };
export const moveSchema = z.strictObject({
  ...plannedFields,
  missing: nodeIds.meta({ description: "Of `to`, those that are not in sync yet." }),
  lagMessages: count.nullable().meta({
    description: "What the missing ones lack in all; null: nobody knows.",
  }),
}).meta({ id: "Move" });

const throttle = z.int().min(1).max(Number.MAX_SAFE_INTEGER).nullable();

const reassignSchema = z.strictObject({
  moves: z.union([
    z.literal("rebalance"),
    z.array(z.strictObject({
      topic: topicName,
      partition,
      replicas: z.array(label).min(1).max(MAX_NAMED_REPLICAS).meta({
        description: "Node ids, the preferred leader first.",
      }),
    })).min(1).max(MAX_PLANNED_MOVES),
  ]),
  dryRun: z.boolean().default(false),
  throttleBytesPerSecond: throttle.optional().meta({
    description:
      "How fast each broker may give each other one what its replicas that are not in sync lack; kept for " +
      "later moves and for brokers that come back; null: as fast as it goes, which is so until it is set.",
  }),
});

type Placed = Pick<PartitionPlacement, "topic" | "partition">;
const placeOf = ({ topic, partition }: Placed) => `${topic}/${String(partition).padStart(10, "0")}`;
const byPlace: PageOrder<Placed> = {
  keyOf: placeOf,
  isAfter: (one, key) => placeOf(one) > key,
};
const inOrder = (a: Placed, b: Placed) => placeOf(a) < placeOf(b) ? -1 : 1;

/** Routes of partitions' replicas; on a broker that is alone `administration` is that of one. */
export function partitionRoutes(administration: ClusterAdministration): RouteModule {
  return (dependencies: ApiDependencies): Route[] => [
    listRoute(administration, dependencies),
    reassignRoute(administration),
    movesRoute(administration, dependencies),
    cancelRoute(administration),
  ];
}

function listRoute(administration: ClusterAdministration, { limits }: ApiDependencies): Route {
  return defineRoute({
    method: "GET",
    path: PATH,
    operationId: "listPartitions",
    tag: TAG,
    summary: "List partitions with their replicas, and how far these are behind",
    query: searchQuery(limits).extend({
      broker: label.optional().meta({ description: "Only those that it is a replica of." }),
      state: z.enum(["under-replicated", "offline", "moving"]).optional(),
    }),
    responses: {
      200: {
        description: "A page of partitions, by topic",
        schema: z.strictObject({ partitions: z.array(partitionSchema), nextCursor }),
      },
    },
    errors: ["FORBIDDEN"],
    handler: async ({ query: { search, broker, state, ...query } }) => {
      const wanted = (await administration.placements()).filter((one) =>
        matches(one.topic, search) && (broker === undefined || one.replicas.includes(broker)) &&
        isIn(one, state)
      ).sort(inOrder);
      const { entries, ...page } = pageOf<PartitionPlacement>(
        wanted,
        query,
        byPlace as PageOrder<PartitionPlacement>,
      );
      const lags = await administration.lags(entries);
      const partitions = entries.map((one, index) => shown(one, lags[index] ?? null));
      return { data: { partitions, ...page } };
    },
  });
}

function isIn(
  { state, underReplicated, target }: PartitionPlacement,
  wanted: "under-replicated" | "offline" | "moving" | undefined,
): boolean {
  if (wanted === undefined) return true;
  if (wanted === "moving") return target !== null;
  return wanted === "offline" ? state === "offline" : underReplicated;
}

function shown(placement: PartitionPlacement, lags: readonly FollowerLag[] | null) {
  const { topic, partition, state, underReplicated, leader, leaderEpoch, target } = placement;
  const replicas = placement.replicas.map((nodeId) => {
    const inSync = placement.isr.includes(nodeId);
    if (nodeId === leader) return { nodeId, inSync, lagMessages: 0, behindMs: 0 };
    const { lagMessages = null, behindMs = null } = lags?.find((lag) => lag.nodeId === nodeId) ??
      {};
    return { nodeId, inSync, lagMessages, behindMs };
  });
  return { topic, partition, state, underReplicated, leader, leaderEpoch, replicas, target };
}

function reassignRoute(administration: ClusterAdministration): Route {
  return defineRoute({
    method: "POST",
    path: REASSIGN,
    operationId: "reassignPartitions",
    tag: TAG,
    summary: "Move replicas of partitions to other brokers",
    description:
      "`rebalance` plans the moves that spread replicas and leaders evenly over brokers, and never over fewer zones. The plan is " +
      "allowed as a whole or refused. A partition goes on being served while it moves: those of before are let go of when all " +
      "of `to` are in sync. Moves go on whoever dies; `GET` on the same path lists those under way, `DELETE` cancels them.",
    body: reassignSchema,
    bodyExample: {
      moves: [{ topic: "orders", partition: 0, replicas: ["2", "3", "1"] }],
      dryRun: true,
    },
    responses: {
      200: { description: "The plan of a dry run", schema: planSchema },
      202: {
        description: "The moves have begun",
        schema: planSchema,
        headers: { location: "Where they can be followed." },
      },
    },
    errors: [
      "FORBIDDEN",
      "UNKNOWN_TOPIC",
      "UNKNOWN_PARTITION",
      "INVALID_REPLICATION_FACTOR",
      "METADATA_CONFLICT",
      "METADATA_UNAVAILABLE",
    ],
    handler: async ({ body: { moves, dryRun, throttleBytesPerSecond }, audited }) => {
      const planned = await administration.reassign(moves, {
        dryRun,
        ...(throttleBytesPerSecond === undefined ? {} : { throttleBytesPerSecond }),
      });
      const plan = {
        dryRun,
        moves: planned.map(({ topic, partition, from, to }) => ({ topic, partition, from, to })),
        throttleBytesPerSecond: dryRun && throttleBytesPerSecond !== undefined
          ? throttleBytesPerSecond
          : administration.throttleBytesPerSecond(),
      };
      if (dryRun) return { data: plan };
      audited({ after: plan });
      return { status: 202, data: plan, headers: { location: REASSIGN } };
    },
  });
}

export const planSchema = z.strictObject({
  dryRun: z.boolean(),
  moves: z.array(z.strictObject(plannedFields)),
  throttleBytesPerSecond: throttle,
}).meta({ id: "ReassignPlan" });

function movesRoute(administration: ClusterAdministration, { limits }: ApiDependencies): Route {
  return defineRoute({
    method: "GET",
    path: REASSIGN,
    operationId: "listMoves",
    tag: TAG,
    summary: "List the moves of replicas that are under way",
    description: "Those of brokers that are drained, and of other replication factors, too.",
    query: searchQuery(limits),
    responses: {
      200: {
        description: "A page of moves, by topic",
        schema: z.strictObject({
          moves: z.array(moveSchema),
          total: count.meta({ description: "Over all pages." }),
          throttleBytesPerSecond: throttle,
          nextCursor,
        }),
      },
    },
    errors: ["FORBIDDEN"],
    handler: async ({ query: { search, ...query } }) => {
      const all = administration.moves().filter(({ topic }) => matches(topic, search)).sort(
        inOrder,
      );
      const { entries, ...page } = pageOf<MoveProgress>(
        all,
        query,
        byPlace as PageOrder<MoveProgress>,
      );
      const lags = await administration.lags(entries);
      const moves = entries.map(({ topic, partition, from, to, missing }, index) => ({
        ...{ topic, partition, from, to, missing },
        lagMessages: lackOf(missing, lags[index] ?? null),
      }));
      const throttleBytesPerSecond = administration.throttleBytesPerSecond();
      return { data: { moves, total: all.length, throttleBytesPerSecond, ...page } };
    },
  });
}

function lackOf(missing: readonly string[], lags: readonly FollowerLag[] | null): number | null {
  if (lags === null) return null;
  let total = 0;
  for (const nodeId of missing) {
    const lag = lags.find((one) => one.nodeId === nodeId)?.lagMessages ?? null;
    if (lag === null) return null;
    total += lag;
  }
  return total;
}

function cancelRoute(administration: ClusterAdministration): Route {
  return defineRoute({
    method: "DELETE",
    path: REASSIGN,
    operationId: "cancelMoves",
    tag: TAG,
    summary: "Cancel moves that are under way",
    description:
      "The one of a partition, or all. The replicas of before are those of after; where they have fallen behind meanwhile, it " +
      "is moved back. What is drained begins to move again by itself: undrain it first.",
    query: z.strictObject({
      topic: topicName.optional(),
      partition: integerText(partition).optional(),
    }).refine(({ topic, partition }) => (topic === undefined) === (partition === undefined), {
      message: "topic and partition are given together, or neither",
    }),
    responses: {
      202: {
        description: "The moves that are cancelled",
        schema: z.strictObject({ moves: z.array(z.strictObject(plannedFields)) }),
      },
    },
    errors: ["FORBIDDEN", "METADATA_CONFLICT", "METADATA_UNAVAILABLE"],
    handler: async ({ query, audited }) => {
      const { topic, partition } = query;
      const place = topic === undefined || partition === undefined ? null : { topic, partition };
      const cancelled = (await administration.cancel(place)).map((
        { topic, partition, from, to },
      ) => ({ topic, partition, from, to }));
      audited({ before: cancelled });
      return { status: 202, data: { moves: cancelled } };
    },
  });
}
