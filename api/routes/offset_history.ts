// Owns the routes that show a group's offset ledger: history and snapshots, and taking one.
// Refuses to own the ledger (actors/group/ledger/) and moving offsets (offset_moves.ts).
// Invariant: what is shown is what the ledger says, page by page, newest first.
import { z } from "zod";
import { type TopicSight, topicSight } from "../auth/topic_sight.ts";
import { groupParams, integerText, partition, refuseInternalGroup, topicName } from "../fields.ts";
import { nextCursor, pageQuery } from "../paging.ts";
import { type ApiDependencies, defineRoute, type Route } from "../route.ts";

const TAG = "Groups";
const PATH = "/api/groups/{group}";

const ms = z.int().meta({ description: "ms since the epoch" });
const action = z.enum([
  "commit",
  "rewind",
  "rollback",
  "reset",
  "dropped",
  "deleted",
  "refused",
]).meta({
  description:
    "A commit; a commit that went back; an operator's rollback or reset; the topic, its partition or the group is gone. `refused`, told only when asked for: a commit that would have gone back (OFFSET_ROLLBACK), ten a minute at most.",
});

export const entrySchema = z.strictObject({
  at: ms,
  action,
  topic: z.string(),
  partition: z.int(),
  previous: z.int().nullable().meta({ description: "Offset before; null: none." }),
  offset: z.int().nullable().meta({ description: "Offset after; null: none any more." }),
  principal: z.string().nullable().meta({ description: "Who; null: the broker itself." }),
  memberId: z.string().nullable().meta({ description: "null: not a member." }),
  generation: z.int().nullable(),
  reason: z.string().nullable(),
  cause: z.string().nullable().meta({ description: "Of a rollback or reset: where to." }),
}).meta({ id: "OffsetHistoryEntry" });

export const snapshotSchema = z.strictObject({
  snapshotId: z.string(),
  at: ms,
  automatic: z.boolean().meta({ description: "Taken by the broker, not asked for." }),
  principal: z.string().nullable(),
  offsets: z.array(z.strictObject({ topic: z.string(), partition: z.int(), offset: z.int() })),
}).meta({ id: "OffsetsSnapshot" });

/** Routes of history and snapshots. */
export function offsetHistoryRoutes({ broker, authorizer, limits }: ApiDependencies): Route[] {
  const page = pageQuery(limits).shape;
  return [
    defineRoute({
      method: "GET",
      path: `${PATH}/offsets/history`,
      operationId: "listOffsetHistory",
      tag: TAG,
      summary: "Every change of a group's offsets, newest first",
      description:
        "Who, when, from where to where and why. It is kept as long as the broker keeps the history of groups, also when the group is deleted. A page may hold less than `limit` and still have a `nextCursor`.",
      params: groupParams,
      query: z.strictObject({
        topic: topicName.optional(),
        partition: integerText(partition).optional(),
        action: action.optional().meta({
          description: "Only these: `rewind` and `refused` tell of members that lost their place.",
        }),
        ...page,
      }),
      responses: {
        200: {
          description: "A page of changes",
          schema: z.strictObject({ history: z.array(entrySchema), nextCursor }),
        },
      },
      errors: ["UNKNOWN_GROUP", "CORRUPT_LOG", "STORAGE_FAILED", "LEADER_NOT_AVAILABLE"],
      handler: async ({ params: { group }, query: { action, ...query }, access }) => {
        const actions = action === undefined ? {} : { actions: [action] };
        const found = await broker.ledger.history(group, { ...defined(query), ...actions });
        const history = found.entries.filter(topicSight(authorizer, access));
        return { data: { history, ...cursorOf(found.next) } };
      },
    }),
    defineRoute({
      method: "GET",
      path: `${PATH}/offsets/snapshots`,
      operationId: "listOffsetSnapshots",
      tag: TAG,
      summary: "Snapshots of a group's offsets, newest first",
      params: groupParams,
      query: z.strictObject(page),
      responses: {
        200: {
          description: "A page of snapshots",
          schema: z.strictObject({ snapshots: z.array(snapshotSchema), nextCursor }),
        },
      },
      errors: ["UNKNOWN_GROUP", "CORRUPT_LOG", "STORAGE_FAILED", "LEADER_NOT_AVAILABLE"],
      handler: async ({ params: { group }, query, access }) => {
        const found = await broker.ledger.snapshots(group, defined(query));
        const isSeen = topicSight(authorizer, access);
        const snapshots = found.snapshots.map((one) => seenOffsets(one, isSeen));
        return { data: { snapshots, ...cursorOf(found.next) } };
      },
    }),
    defineRoute({
      method: "POST",
      path: `${PATH}/offsets:snapshot`,
      operationId: "snapshotOffsets",
      tag: TAG,
      summary: "Write a group's offsets down, to roll back to",
      params: groupParams,
      body: z.strictObject({}),
      bodyOptional: true,
      responses: { 201: { description: "The snapshot", schema: snapshotSchema } },
      errors: ["UNKNOWN_GROUP", "FORBIDDEN"],
      handler: async ({ params: { group }, principal, access, audited }) => {
        refuseInternalGroup(group);
        const data = await broker.group({ type: "SnapshotOffsets", group, principal });
        audited({ after: { snapshotId: data.snapshotId } });
        return { status: 201, data: seenOffsets(data, topicSight(authorizer, access)) };
      },
    }),
  ];
}

/** The snapshot as far as its topics may be told. */
function seenOffsets<Snapshot extends { readonly offsets: readonly { readonly topic: string }[] }>(
  snapshot: Snapshot,
  isSeen: TopicSight,
): Snapshot {
  return { ...snapshot, offsets: snapshot.offsets.filter(isSeen) };
}

type Defined<T> = { [K in keyof T]: Exclude<T[K], undefined> };

/** Without the fields that were not given. */
function defined<T extends object>(fields: T): Defined<T> {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given) as Defined<T>;
}

function cursorOf(next: string | null): { nextCursor?: string } {
  return next === null ? {} : { nextCursor: next };
}
