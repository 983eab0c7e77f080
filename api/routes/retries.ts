// Owns the routes of retries: one message that failed, and a group's retry policies.
// Refuses to own what becomes of a message that failed: its group decides.
// Invariant: an answer says what is durable.
import { z } from "zod";
import { DEFAULT_RETRY_POLICY } from "../../actors/group/retry/policy.ts";
import type { RetryPoliciesReply } from "../../actors/group/retry/types.ts";
import { askedBy } from "../auth/asker.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import {
  groupName,
  groupParams,
  label,
  offset,
  partition,
  refuseInternalGroup,
  refuseInternalTopic,
  topicName,
} from "../fields.ts";
import { endForNack } from "../nacked_message.ts";
import { type ApiDependencies, defineRoute, type Route } from "../route.ts";
import { STREAM_LIMITS } from "../stream/limits.ts";
import { existingTopic, refuseUnknownPartition } from "../topic_lookup.ts";

const TAG = "Retries and dead letters";
const POLICY_PATH = "/api/groups/{group}/retry-policy";
const DAY_MS = 24 * 3_600_000;
const MAX_ATTEMPTS = 1_000;

const failureCode = z.string().min(1).max(100)
  .meta({ description: "`NON_RETRYABLE` makes it a dead letter at once.", examples: ["TIMEOUT"] });

const nackSchema = z.strictObject({
  groupId: groupName,
  memberId: label.optional().meta({ description: "Refused when it is no longer a member." }),
  generation: z.int().min(0).optional().meta({ description: "Refused when it is older." }),
  topic: topicName,
  partition,
  offset,
  code: failureCode.optional(),
  reason: z.string().max(1_000).optional(),
  delayMs: z.int().min(0).max(STREAM_LIMITS.maxRedeliveryDelayMs).optional()
    .meta({ description: "Wait this long instead of what the policy says." }),
  attempt: z.int().min(1).max(MAX_ATTEMPTS).optional().meta({
    description:
      "The message's `attempt` (1 when it has none): a repeat of this request then counts once.",
  }),
}).meta({ id: "Nack" });

const nackedSchema = z.strictObject({
  attempt: z.int().meta({ description: "The attempt that failed." }),
  nextAttemptAt: z.int().optional().meta({ description: "ms since the epoch" }),
  deadLettered: z.literal(true).optional(),
}).meta({ id: "Nacked" });

const policyFields = {
  maxAttempts: z.int().min(1).max(MAX_ATTEMPTS).default(DEFAULT_RETRY_POLICY.maxAttempts)
    .meta({ description: "Deliveries; the nack of the last makes a dead letter." }),
  baseMs: z.int().min(0).max(DAY_MS).default(DEFAULT_RETRY_POLICY.baseMs),
  maxMs: z.int().min(0).max(DAY_MS).default(DEFAULT_RETRY_POLICY.maxMs)
    .meta({ description: "After attempt n: min(2^min(n, 8) * baseMs, maxMs), and jitter." }),
  jitterMs: z.int().min(0).max(DAY_MS).default(DEFAULT_RETRY_POLICY.jitterMs),
  ordering: z.enum(["skip", "blockKey", "blockPartition"]).default(DEFAULT_RETRY_POLICY.ordering)
    .meta({
      description:
        "What waits with a message: nothing, later messages of its key, or all of its partition. What was delivered " +
        "before the nack is with the member already.",
    }),
  deadlineMs: z.int().min(0).max(365 * DAY_MS).nullable().default(DEFAULT_RETRY_POLICY.deadlineMs)
    .meta({ description: "No retry later than this after the first nack; null: no deadline." }),
};
const setPolicySchema = z.strictObject({
  topic: topicName.optional().meta({ description: "Left out: for all topics without their own." }),
  ...policyFields,
}).superRefine(({ baseMs, maxMs }, context) => {
  // One that was left out, and has its default, gives way to the other.
  const isNamed = baseMs !== DEFAULT_RETRY_POLICY.baseMs && maxMs !== DEFAULT_RETRY_POLICY.maxMs;
  if (!isNamed || maxMs >= baseMs) return;
  context.addIssue({ code: "custom", path: ["maxMs"], message: `is below baseMs, ${baseMs}` });
}).meta({ id: "SetRetryPolicy", description: "What is left out has its default." });
const policySchema = z.strictObject({
  groupId: groupName,
  topic: topicName.optional(),
  ...policyFields,
  topics: z.array(z.strictObject({ topic: topicName, ...policyFields }))
    .meta({ description: "Those with a policy of their own." }),
}).meta({ id: "RetryPolicy" });

/** Routes of retries. */
export function retryRoutes(dependencies: ApiDependencies): Route[] {
  return [nackRoute(dependencies), ...policyRoutes(dependencies)];
}

function nackRoute({ broker, randomness }: ApiDependencies): Route {
  return defineRoute({
    method: "POST",
    path: "/api/messages:nack",
    operationId: "nackMessage",
    tag: TAG,
    summary: "Say that a message failed: it comes again later, or becomes a dead letter",
    description:
      "The same as the `nack` frame of a stream. A commit may pass a message that waits for its retry. " +
      "The group has to exist: a member, a commit or a retry policy makes one.",
    body: nackSchema,
    bodyExample: {
      groupId: "billing",
      topic: "orders",
      partition: 0,
      offset: 42,
      code: "TIMEOUT",
      reason: "the ledger did not answer",
    },
    responses: { 200: { description: "It is durable", schema: nackedSchema } },
    errors: [
      "OFFSET_OUT_OF_RANGE",
      "UNKNOWN_TOPIC",
      "UNKNOWN_PARTITION",
      "UNKNOWN_GROUP",
      "UNKNOWN_MEMBER",
      "STALE_GENERATION",
      "FORBIDDEN",
      "OVERLOADED",
    ],
    statuses: { OFFSET_OUT_OF_RANGE: 400 },
    handler: async ({ body, principal, access }) => {
      const { groupId, memberId, generation, topic, partition, ...more } = body;
      refuseInternalGroup(groupId);
      refuseUnknownPartition(existingTopic(broker, topic), partition, "partition");
      const endOffset = await endForNack(broker, { topic, partition, offset: body.offset });
      const { offset, code, reason, delayMs, attempt } = more;
      const { results } = await broker.group({
        type: "Nack",
        group: groupId,
        ...(memberId === undefined ? {} : { memberId }),
        ...(generation === undefined ? {} : { generation }),
        principal,
        ...askedBy(access),
        fromOutside: true,
        nacks: [{
          topic,
          partition,
          offset,
          endOffset,
          fraction: randomness.fraction(),
          ...(code === undefined ? {} : { code }),
          ...(reason === undefined ? {} : { reason }),
          ...(delayMs === undefined ? {} : { delayMs }),
          ...(attempt === undefined ? {} : { attempt }),
        }],
      });
      const { attempt: failed, nextAttemptAt, deadLettered } = results[0]!;
      return { data: { attempt: failed, nextAttemptAt, deadLettered } };
    },
  });
}

function policyRoutes({ broker }: ApiDependencies): Route[] {
  /** Null for a group that is made by this. */
  const policiesBefore = async (group: string): Promise<RetryPoliciesReply | null> => {
    try {
      return await broker.group({ type: "RetryPolicies", group });
    } catch (error) {
      if (error instanceof BrokerError && error.code === "UNKNOWN_GROUP") return null;
      throw error;
    }
  };
  return [
    defineRoute({
      method: "PUT",
      path: POLICY_PATH,
      operationId: "setRetryPolicy",
      tag: TAG,
      summary: "Set how a group tries messages again, for one topic or for all others",
      params: groupParams,
      body: setPolicySchema,
      bodyExample: { topic: "orders", maxAttempts: 5, ordering: "blockKey" },
      responses: { 200: { description: "The policy is set", schema: policySchema } },
      errors: ["UNKNOWN_TOPIC", "INTERNAL_TOPIC", "FORBIDDEN"],
      handler: async ({ params: { group }, body, principal, access, audited }) => {
        const { topic, ...policy } = body;
        refuseInternalGroup(group);
        if (topic !== undefined) {
          refuseInternalTopic(topic);
          existingTopic(broker, topic);
        }
        const named = topic === undefined ? {} : { topic };
        const by = { principal, ...askedBy(access) };
        const command = { type: "SetRetryPolicy" as const, group, policy, ...by, ...named };
        audited({ before: await policiesBefore(group) });
        const set = await broker.group(command);
        audited({ after: set });
        return { data: shown(set, { groupId: group, ...named }) };
      },
    }),
    defineRoute({
      method: "GET",
      path: POLICY_PATH,
      operationId: "getRetryPolicy",
      tag: TAG,
      summary: "How a group tries messages again",
      params: groupParams,
      query: z.strictObject({
        topic: topicName.optional().meta({ description: "The policy that this topic has." }),
      }),
      responses: { 200: { description: "The policy", schema: policySchema } },
      errors: ["UNKNOWN_GROUP", "UNKNOWN_TOPIC"],
      handler: async ({ params: { group }, query: { topic } }) => {
        if (topic !== undefined) existingTopic(broker, topic);
        const named = topic === undefined ? {} : { topic };
        const reply = await broker.group({ type: "RetryPolicies", group });
        return { data: shown(reply, { groupId: group, ...named }) };
      },
    }),
  ];
}

function shown({ policy, topics }: RetryPoliciesReply, at: { groupId: string; topic?: string }) {
  const own = topics.find(({ topic }) => topic === at.topic)?.policy;
  return {
    ...at,
    ...(own ?? policy),
    topics: topics.map(({ topic, policy }) => ({ topic, ...policy })),
  };
}
