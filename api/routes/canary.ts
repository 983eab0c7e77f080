// Owns the routes of a group's canary: look, set, promote, remove.
// Refuses to own what a canary does, and when it is taken out: the group decides.
// Invariant: a route only asks and shows; a dry run changes nothing.
import { z } from "zod";
import { DEFAULT_CANARY_RULES } from "../../actors/group/canary/types.ts";
import type { Access } from "../auth/access.ts";
import { topicSight } from "../auth/topic_sight.ts";
import { canaryFields, shownCanary, version } from "../canary_view.ts";
import { groupName, groupParams, reason, refuseInternalGroup } from "../fields.ts";
import { type ApiDependencies, defineRoute, type Route } from "../route.ts";

const TAG = "Canaries";
const CANARY_PATH = "/api/groups/{group}/canary";
const DAY_SECONDS = 86_400;
const MAX_COUNT = 1_000_000_000;

const setSchema = z.strictObject({
  version,
  percent: z.number().min(0).max(100).meta({
    description:
      "Share of the group's partitions, of all topics that both the canary and others subscribe to: at least one and " +
      "never all, but for 0 and 100.",
  }),
  by: z.literal("partitions").optional().meta({
    description:
      "A partition has one owner and one committed offset, so its keys cannot be shared between two members. Messages " +
      "with a key go to partitions by its hash: a share of the partitions is a share of the keys.",
  }),
  windowSeconds: z.number().min(1).max(DAY_SECONDS).default(DEFAULT_CANARY_RULES.windowMs / 1_000)
    .meta({ description: "Over which the canary is compared with the rest." }),
  minObservations: z.int().min(1).max(MAX_COUNT).default(DEFAULT_CANARY_RULES.minObservations)
    .meta({ description: "Messages that each side must have answered in the window." }),
  factor: z.number().min(1).max(1_000).default(DEFAULT_CANARY_RULES.factor)
    .meta({ description: "Worse is a rate at least so many times that of the rest …" }),
  margin: z.number().min(0).max(1).default(DEFAULT_CANARY_RULES.margin)
    .meta({ description: "… and at least so much above it, as a share of 1." }),
  maxLostSessions: z.int().min(0).max(MAX_COUNT).default(DEFAULT_CANARY_RULES.maxLostSessions)
    .meta({
      description:
        "So many sessions of the canary that end without a leave are worse too, unless the rest loses about as " +
        "many; 0: never.",
    }),
  reason: reason.optional(),
  dryRun: z.boolean().default(false),
}).meta({ id: "SetCanary", description: "What is left out has its default." });

const shownFields = { groupId: groupName, ...canaryFields };
export const groupCanarySchema = z.strictObject(shownFields).meta({ id: "GroupCanary" });
export const changeSchema = z.strictObject({
  dryRun: z.boolean(),
  ...shownFields,
  moved: z.array(z.strictObject({
    topic: z.string(),
    partition: z.int(),
    from: z.string().nullable(),
    to: z.string().nullable(),
  })).meta({ description: "Partitions that change hands because of it." }),
}).meta({ id: "CanaryChange" });

/** Routes of canaries. */
export function canaryRoutes(dependencies: ApiDependencies): Route[] {
  return [
    getRoute(dependencies),
    setRoute(dependencies),
    promoteRoute(dependencies),
    removeRoute(dependencies),
  ];
}

function getRoute({ broker, authorizer }: ApiDependencies): Route {
  return defineRoute({
    method: "GET",
    path: CANARY_PATH,
    operationId: "getCanary",
    tag: TAG,
    summary: "Show a group's canary: its share, its rates beside those of the rest",
    params: groupParams,
    responses: { 200: { description: "The canary", schema: groupCanarySchema } },
    errors: ["UNKNOWN_GROUP", "UNKNOWN_CANARY", "ACTOR_DOWN"],
    handler: async ({ params: { group }, access }) => {
      const canary = await broker.group({ type: "DescribeCanary", group });
      const isSeen = topicSight(authorizer, access);
      return { data: { groupId: group, ...shownCanary(canary, isSeen) } };
    },
  });
}

function setRoute({ broker, authorizer }: ApiDependencies): Route {
  const before = auditedState(broker);
  return defineRoute({
    method: "PUT",
    path: CANARY_PATH,
    operationId: "setCanary",
    tag: TAG,
    summary: "Give a version of a group's consumers a share of the partitions, on trial",
    description:
      "Members say their `version` when they join. The canary's partitions are chosen by the hash of their names: they stay " +
      "the same while members come and go, and a higher percentage only adds to them. When members of this version " +
      "nack, or make dead letters of, a share of messages that is worse than the rest's, as `factor` and `margin` say and " +
      "as chance hardly explains (one-sided two-proportion z-test, p < 0.001), the canary is withdrawn by itself: its " +
      "partitions go to the others and its members get nothing, until it is removed or set anew. The same version set again " +
      "while it runs keeps what was observed of it.",
    params: groupParams,
    body: setSchema,
    bodyExample: { version: "2.1.0", percent: 10, reason: "release 2.1" },
    responses: {
      200: { description: "The canary as it is now, or would be", schema: changeSchema },
    },
    errors: ["UNKNOWN_GROUP", "FORBIDDEN", "ACTOR_DOWN"],
    handler: async ({ params: { group }, body, principal, access, audited }) => {
      refuseInternalGroup(group);
      const { version, percent, windowSeconds, reason, dryRun, by: _, ...rules } = body;
      audited({ before: await before(group) });
      const { canary, moved } = await broker.group({
        type: "SetCanary",
        group,
        version,
        percent,
        rules: { ...rules, windowMs: windowSeconds * 1_000 },
        reason: reason ?? null,
        principal,
        dryRun,
      });
      const isSeen = topicSight(authorizer, access);
      if (!dryRun) audited({ after: await before(group) });
      const shown = { groupId: group, ...shownCanary(canary, isSeen) };
      return { data: { dryRun, ...shown, moved: moved.filter(isSeen) } };
    },
  });
}

const whySchema = z.strictObject({ reason: reason.optional() });

function promoteRoute({ broker, authorizer }: ApiDependencies): Route {
  const before = auditedState(broker);
  return defineRoute({
    method: "POST",
    path: `${CANARY_PATH}:promote`,
    operationId: "promoteCanary",
    tag: TAG,
    summary: "End a trial well: all versions share the partitions evenly again",
    description:
      "Members of other versions keep their share until they leave, so that they can be replaced one by one. To give them " +
      "nothing while they live, set the canary to 100 percent first.",
    params: groupParams,
    body: whySchema,
    bodyOptional: true,
    responses: { 200: { description: "The canary", schema: groupCanarySchema } },
    errors: ["UNKNOWN_GROUP", "UNKNOWN_CANARY", "INVALID_CANARY_STATE", "FORBIDDEN", "ACTOR_DOWN"],
    handler: async ({ params: { group }, body, principal, access, audited }) => {
      refuseInternalGroup(group);
      audited({ before: await before(group) });
      const reason = body?.reason ?? null;
      const canary = await broker.group({ type: "PromoteCanary", group, reason, principal });
      audited({ after: await before(group) });
      return { data: { groupId: group, ...shown(canary, access) } };
    },
  });

  function shown(canary: Parameters<typeof shownCanary>[0], access: Access) {
    return shownCanary(canary, topicSight(authorizer, access));
  }
}

function removeRoute({ broker }: ApiDependencies): Route {
  const before = auditedState(broker);
  return defineRoute({
    method: "DELETE",
    path: CANARY_PATH,
    operationId: "removeCanary",
    tag: TAG,
    summary: "Remove a group's canary: no version is favoured or held back",
    params: groupParams,
    query: whySchema,
    responses: { 204: { description: "It is gone" } },
    errors: ["UNKNOWN_GROUP", "UNKNOWN_CANARY", "FORBIDDEN", "ACTOR_DOWN"],
    handler: async ({ params: { group }, query, principal, audited }) => {
      refuseInternalGroup(group);
      audited({ before: await before(group) });
      const reason = query.reason ?? null;
      await broker.group({ type: "RemoveCanary", group, reason, principal });
      return { status: 204 };
    },
  });
}

/** What the audit log keeps of a canary; null: there is none. */
function auditedState(broker: ApiDependencies["broker"]) {
  return async (group: string) => {
    const { canary } = await broker.group({ type: "Describe", group });
    if (canary === null) return { canary: null };
    const { version, percent, state, rules, reason } = canary;
    return { canary: { version, percent, state, ...rules, reason } };
  };
}
