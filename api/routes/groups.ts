// Owns the routes that list, describe, pause, resume and delete consumer groups.
// Refuses to own membership (api/members/, api/stream/), offsets and lag.
// Invariant: every decision is the group's; a route only asks and shows.
import { z } from "zod";
import type { Access } from "../auth/access.ts";
import { seenGroup, topicSight } from "../auth/topic_sight.ts";
import { canarySchema, shownCanary } from "../canary_view.ts";
import { groupName, groupParams, reason, refuseInternalGroup } from "../fields.ts";
import {
  byName,
  matches,
  nextCursor,
  pageOf,
  type PageOrder,
  pageQuery,
  searchQuery,
} from "../paging.ts";
import { type ApiDependencies, defineRoute, type Route } from "../route.ts";

const TAG = "Groups";
const GROUP_PATH = "/api/groups/{group}";

const phase = z.enum(["empty", "preparing", "stable"]);
const generation = z.int().meta({ description: "Rises with every rebalance." });
export const topicPartition = z.strictObject({ topic: z.string(), partition: z.int() });
const ms = z.int().meta({ description: "ms since the epoch" });

export const groupSchema = z.strictObject({
  groupId: groupName,
  state: phase,
  generation,
  assignor: z.enum(["range", "roundrobin", "sticky"]),
  paused: z.strictObject({ reason: z.string(), since: ms }).nullable(),
  canary: canarySchema.nullable(),
  members: z.array(z.strictObject({
    memberId: z.string(),
    clientId: z.string().nullable(),
    instanceId: z.string().nullable().meta({ description: "A static member's lasting name." }),
    topics: z.array(z.string()),
    sessionTimeoutMs: z.int(),
    transport: z.enum(["websocket", "http"]),
    joinedAt: ms,
    principal: z.string().nullable().meta({ description: "Who made it, if that had to be said." }),
    version: z.string().nullable().meta({ description: "Of its program, if it said." }),
    assignment: z.array(topicPartition),
    revoking: z.array(topicPartition).meta({ description: "Still held, but to be given up." }),
    sessionEndsAt: ms.nullable().meta({
      description:
        "When it is taken for gone if nothing is heard of it until then, ms since the epoch: each sign of life puts it off.",
    }),
  })),
  assignment: z.array(z.strictObject({ ...topicPartition.shape, memberId: z.string() })),
  retries: z.strictObject({
    waiting: z.int().meta({ description: "Messages that wait to be delivered again." }),
    inHand: z.int().meta({ description: "Delivered again, neither committed past nor nacked." }),
    deadLettersToWrite: z.int(),
  }),
  offsets: z.array(z.strictObject({
    ...topicPartition.shape,
    offset: z.int(),
    metadata: z.string().nullable(),
    committedAt: ms,
  })),
  staged: z.array(topicPartition).meta({
    description: "Partitions whose offset an open transaction is about to commit.",
  }),
}).meta({ id: "Group" });

export const summarySchema = z.strictObject({
  groupId: groupName,
  state: phase,
  generation,
  members: z.int().meta({ description: "How many." }),
}).meta({ id: "GroupSummary" });

export const rebalanceSchema = z.strictObject({
  generation,
  at: ms,
  cause: z.string(),
  members: z.int(),
  moved: z.array(z.strictObject({
    ...topicPartition.shape,
    from: z.string().nullable(),
    to: z.string().nullable(),
  })),
}).meta({ id: "Rebalance" });

/** Routes of groups. */
export function groupRoutes(dependencies: ApiDependencies): Route[] {
  return [...readingRoutes(dependencies), ...changingRoutes(dependencies)];
}

function readingRoutes({ broker, authorizer, limits }: ApiDependencies): Route[] {
  const shown = groupShower({ broker, authorizer });
  return [
    defineRoute({
      method: "GET",
      path: "/api/groups",
      operationId: "listGroups",
      tag: TAG,
      summary: "List groups by name",
      query: searchQuery(limits),
      responses: {
        200: {
          description: "A page of groups",
          schema: z.strictObject({ groups: z.array(summarySchema), nextCursor }),
        },
      },
      errors: ["ACTOR_DOWN"],
      handler: async ({ query, access }) => {
        const order = byName((group: { groupId: string }) => group.groupId);
        const groups = (await broker.groups({ whole: true }))
          .filter(({ groupId }) =>
            matches(groupId, query.search) && authorizer.sees(access, "group", groupId)
          )
          .sort((a, b) => a.groupId < b.groupId ? -1 : 1);
        const page = pageOf(groups, query, order);
        const entries = page.entries.map(({ tenant: _tenant, ...shown }) => shown);
        return { data: { groups: entries, nextCursor: page.nextCursor } };
      },
    }),
    defineRoute({
      method: "GET",
      path: GROUP_PATH,
      operationId: "getGroup",
      tag: TAG,
      summary: "Describe a group: state, members, assignment, offsets",
      params: groupParams,
      responses: { 200: { description: "The group", schema: groupSchema } },
      errors: ["UNKNOWN_GROUP", "ACTOR_DOWN"],
      handler: async ({ params: { group }, access }) => ({ data: await shown(group, access) }),
    }),
    defineRoute({
      method: "GET",
      path: `${GROUP_PATH}/rebalances`,
      operationId: "listRebalances",
      tag: TAG,
      summary: "List a group's rebalances, newest first",
      params: groupParams,
      query: pageQuery(limits),
      responses: {
        200: {
          description: "A page of rebalances",
          schema: z.strictObject({ rebalances: z.array(rebalanceSchema), nextCursor }),
        },
      },
      errors: ["UNKNOWN_GROUP"],
      handler: async ({ params: { group }, query, access }) => {
        const description = await broker.group({ type: "Describe", group });
        const { rebalances } = seenGroup(description, topicSight(authorizer, access));
        const newestFirst = [...rebalances].sort((a, b) => b.generation - a.generation);
        const page = pageOf(newestFirst, query, BY_GENERATION);
        return { data: { rebalances: page.entries, nextCursor: page.nextCursor } };
      },
    }),
  ];
}

const BY_GENERATION: PageOrder<{ generation: number }> = {
  keyOf: ({ generation }) => String(generation),
  isAfter: ({ generation }, key) => generation < Number(key),
};

function changingRoutes({ broker, authorizer }: ApiDependencies): Route[] {
  const shown = groupShower({ broker, authorizer });
  /** What the audit log keeps of a group. */
  const stateOf = async (group: string) => {
    const { state, paused, offsets } = await broker.group({ type: "Describe", group });
    return { state, paused, offsets };
  };
  return [
    defineRoute({
      method: "DELETE",
      path: GROUP_PATH,
      operationId: "deleteGroup",
      tag: TAG,
      summary: "Delete an empty group with its offsets",
      params: groupParams,
      responses: { 204: { description: "It is gone" } },
      errors: ["UNKNOWN_GROUP", "GROUP_NOT_EMPTY", "CONCURRENT_TRANSACTIONS", "FORBIDDEN"],
      handler: async ({ params: { group }, principal, audited }) => {
        refuseInternalGroup(group);
        audited({ before: await stateOf(group) });
        await broker.group({ type: "DeleteGroup", group, principal });
        return { status: 204 };
      },
    }),
    defineRoute({
      method: "POST",
      path: `${GROUP_PATH}:pause`,
      operationId: "pauseGroup",
      tag: TAG,
      summary: "Stop delivering to a group",
      description: "Its members stay; commits go on.",
      params: groupParams,
      body: z.strictObject({ reason }),
      bodyExample: { reason: "maintenance window" },
      responses: { 200: { description: "The group", schema: groupSchema } },
      errors: ["UNKNOWN_GROUP", "FORBIDDEN"],
      handler: async ({ params: { group }, body, principal, access, audited }) => {
        refuseInternalGroup(group);
        audited({ before: await stateOf(group) });
        await broker.group({ type: "Pause", group, reason: body.reason, principal });
        audited({ after: await stateOf(group) });
        return { data: await shown(group, access) };
      },
    }),
    defineRoute({
      method: "POST",
      path: `${GROUP_PATH}:resume`,
      operationId: "resumeGroup",
      tag: TAG,
      summary: "Deliver to a paused group again",
      params: groupParams,
      body: z.strictObject({ reason: reason.optional() }),
      bodyOptional: true,
      responses: { 200: { description: "The group", schema: groupSchema } },
      errors: ["UNKNOWN_GROUP", "FORBIDDEN"],
      handler: async ({ params: { group }, principal, access, audited }) => {
        refuseInternalGroup(group);
        audited({ before: await stateOf(group) });
        await broker.group({ type: "Resume", group, principal });
        audited({ after: await stateOf(group) });
        return { data: await shown(group, access) };
      },
    }),
  ];
}

/** Describes a group to whoever asks, without rebalances, which have their own route and may be many. */
function groupShower({ broker, authorizer }: Pick<ApiDependencies, "broker" | "authorizer">) {
  return async (groupId: string, access: Access) => {
    const description = await broker.group({ type: "Describe", group: groupId });
    const isSeen = topicSight(authorizer, access);
    const { rebalances: _rebalances, canary, ...group } = seenGroup(description, isSeen);
    const assignment = group.members.flatMap(({ memberId, assignment }) =>
      assignment.map(({ topic, partition }) => ({ topic, partition, memberId }))
    );
    const members = group.members.map(({ owner, ...member }) => ({
      ...member,
      principal: owner?.principal ?? null,
      version: member.version ?? null,
    }));
    const shown = canary === null ? null : shownCanary(canary, isSeen);
    return { ...group, canary: shown, members, assignment };
  };
}
