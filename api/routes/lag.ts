// Owns the route that tells a group's lag.
// Refuses to own measuring it (group_lag.ts).
// Invariant: totalLag is the sum of the partitions told.
import { z } from "zod";
import { topicSight } from "../auth/topic_sight.ts";
import { groupName, groupParams } from "../fields.ts";
import { groupLag } from "../group_lag.ts";
import { type ApiDependencies, defineRoute, type Route } from "../route.ts";

export const lagSchema = z.strictObject({
  groupId: groupName,
  state: z.enum(["empty", "preparing", "stable"]),
  totalLag: z.int().meta({ description: "Messages to read on all partitions." }),
  partitions: z.array(z.strictObject({
    topic: z.string(),
    partition: z.int(),
    committedOffset: z.int().nullable()
      .meta({ description: "null: none; lag then counts from the log start." }),
    highWatermark: z.int(),
    lag: z.int().meta({
      description:
        "Messages to read, those of open transactions included. Far behind, where counting them would take long, " +
        "every offset counts as one: also those of aborted transactions, of markers, and that compaction has emptied.",
    }),
    lagSeconds: z.number().meta({ description: "Age of the first of them; 0 when there is none." }),
    memberId: z.string().nullable(),
    status: z.enum(["ok", "lagging", "stalled", "idle", "unassigned"]),
  })),
}).meta({ id: "GroupLag" });

/** Routes of lag. */
export function lagRoutes({ broker, authorizer, clock, limits }: ApiDependencies): Route[] {
  return [
    defineRoute({
      method: "GET",
      path: "/api/groups/{group}/lag",
      operationId: "getGroupLag",
      tag: "Groups",
      summary: "How far a group is behind, by partition",
      params: groupParams,
      responses: { 200: { description: "The lag", schema: lagSchema } },
      errors: ["UNKNOWN_GROUP"],
      handler: async ({ params: { group }, access }) => {
        const { maxDecompressedBytes } = limits;
        const isSeen = topicSight(authorizer, access);
        return { data: await groupLag({ broker, clock, maxDecompressedBytes, isSeen }, group) };
      },
    }),
  ];
}
