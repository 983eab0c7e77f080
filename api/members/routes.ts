// Owns the routes of members that poll over HTTP: join, poll, leave.
// Refuses to own what they do (registry.ts, member.ts) and committing (the offsets' routes).
// Invariant: an answer holds the messages of its lease, all of them or none.
import { z } from "zod";
import { version } from "../canary_view.ts";
import { groupName, label, topicName } from "../fields.ts";
import { JSON_TYPE } from "../media.ts";
import { messageFromRecord, messageJson, messageSchema } from "../message.ts";
import { type ApiDependencies, defineRoute, type Reply, type Route } from "../route.ts";
import { refuseInternalGroup } from "../fields.ts";
import type { DataWaiters } from "../stream/data_waiters.ts";
import { DEFAULT_SESSION_TIMEOUT_MS, STREAM_LIMITS } from "../stream/limits.ts";
import {
  assignorName,
  autoOffsetReset,
  clientId,
  instanceId,
  sessionTimeoutMs,
} from "../stream/query.ts";
import type { CommittedOffsets } from "../stream/start_offsets.ts";
import { existingTopic } from "../topic_lookup.ts";
import type { Timers } from "../../storage/ports.ts";
import { LeaseReader } from "./lease_reader.ts";
import { MEMBER_LIMITS, type MemberLimits } from "./limits.ts";
import type { PollAnswer } from "./polling.ts";
import { HttpMembers } from "./registry.ts";

const TAG = "Groups";
const MEMBERS_PATH = "/api/groups/{group}/members";
const MEMBER_PATH = `${MEMBERS_PATH}/{memberId}`;

export interface MembersOptions {
  readonly timers: Timers;
  /** Shared with the streams. */
  readonly waiters: DataWaiters;
  readonly committedOffsets: CommittedOffsets;
  readonly limits?: Partial<MemberLimits>;
}

const memberParams = z.strictObject({ group: groupName, memberId: label });
const topicPartition = z.strictObject({ topic: z.string(), partition: z.int() });
const leaseToken = z.string().min(1).max(128);

const joinBody = z.strictObject({
  topics: z.array(topicName).min(1).max(STREAM_LIMITS.maxTopics)
    .transform((topics) => [...new Set(topics)]),
  clientId: clientId.optional(),
  instanceId: instanceId.optional(),
  version: version.optional(),
  assignor: assignorName.optional(),
  sessionTimeoutMs: sessionTimeoutMs(STREAM_LIMITS).default(DEFAULT_SESSION_TIMEOUT_MS),
  autoOffsetReset,
});

const standing = {
  leaseToken: leaseToken.meta({ description: "To be handed in with the next poll." }),
  generation: z.int(),
  assignment: z.array(topicPartition).meta({ description: "What the member reads now." }),
  withdrawn: z.strictObject({ version: z.string(), reason: z.string() }).optional().meta({
    description:
      "There while the member gets nothing, since its version is a canary that was taken out.",
  }),
};
const joinedSchema = z.strictObject({ memberId: z.string(), ...standing })
  .meta({ id: "JoinedMember" });
const polledSchema = z.strictObject({
  ...standing,
  paused: z.strictObject({ reason: z.string() }).optional()
    .meta({ description: "There while the group is paused: nothing new comes." }),
  messages: z.array(messageSchema),
}).meta({ id: "Polled" });

/** The members of `dependencies.broker` and the routes that lead to them. */
export function createMembers(
  dependencies: ApiDependencies,
  options: MembersOptions,
): { readonly members: HttpMembers; readonly routes: readonly Route[] } {
  const { broker, yieldToEventLoop } = dependencies;
  const limits = { ...MEMBER_LIMITS, ...options.limits };
  const members = new HttpMembers({
    ...dependencies,
    ...options,
    limits,
    reader: new LeaseReader({ broker, yieldToEventLoop, limits }),
    onError: (error) => dependencies.onError(error, "members"),
  });
  const routes = [
    joinRoute(dependencies, members),
    pollRoute({ dependencies, members, limits }),
    leaveRoute(members),
  ];
  return { members, routes };
}

function joinRoute({ broker }: ApiDependencies, members: HttpMembers): Route {
  return defineRoute({
    method: "POST",
    path: MEMBERS_PATH,
    operationId: "joinGroup",
    tag: TAG,
    summary: "Join a group as a member that polls",
    description:
      "Answers when the group has been assigned, or after a few seconds without an assignment: polls tell it then. " +
      "The member has to poll, or commit, within its session timeout, or it is removed. It is its maker's: for other " +
      "principals there is no such member, and an `instanceId` of theirs is refused with FORBIDDEN.",
    params: z.strictObject({ group: groupName }),
    body: joinBody,
    bodyExample: { topics: ["orders"], clientId: "billing-1" },
    responses: { 200: { description: "A member", schema: joinedSchema } },
    errors: [
      "UNKNOWN_TOPIC",
      "INCONSISTENT_ASSIGNOR",
      "OVERLOADED",
      "SHUTTING_DOWN",
      "FORBIDDEN",
      "ACTOR_DOWN",
    ],
    handler: async ({ params: { group }, body, request, access }) => {
      refuseInternalGroup(group);
      for (const topic of body.topics) existingTopic(broker, topic);
      const { autoOffsetReset, ...join } = body;
      const { signal } = request;
      const joined = await members.join({ ...join, group, transport: "http" }, {
        autoOffsetReset,
        signal,
        access,
      });
      const { memberId, leaseToken, generation, assignment, withdrawn } = joined;
      const told = withdrawn === undefined ? {} : { withdrawn };
      return { data: { memberId, leaseToken, generation, assignment, ...told } };
    },
  });
}

function pollRoute(
  { dependencies, members, limits }: {
    dependencies: ApiDependencies;
    members: HttpMembers;
    limits: MemberLimits;
  },
): Route {
  const body = z.strictObject({
    maxMessages: z.int().min(1).max(limits.maxMessages).default(limits.defaultMessages),
    waitMs: z.int().min(0).max(limits.maxWaitMs).default(0)
      .meta({ description: "How long to wait when there is nothing yet." }),
    leaseToken: leaseToken.optional(),
  });
  return defineRoute({
    method: "POST",
    path: `${MEMBER_PATH}:poll`,
    operationId: "pollMember",
    tag: TAG,
    summary: "Poll for messages of the member's partitions",
    description: POLL_DESCRIPTION,
    params: memberParams,
    body,
    bodyOptional: true,
    bodyExample: { maxMessages: 100, waitMs: 5_000 },
    responses: { 200: { description: "Messages, perhaps none", schema: polledSchema } },
    errors: [
      "UNKNOWN_MEMBER",
      "STALE_LEASE",
      "CORRUPT_LOG",
      "STORAGE_FAILED",
      "ARCHIVE_UNAVAILABLE",
      "LEADER_NOT_AVAILABLE",
      "OVERLOADED",
      "SHUTTING_DOWN",
      "ACTOR_DOWN",
    ],
    handler: async ({ params, body, request, accept, access, hold }) => {
      const { signal } = request;
      const answer = await members.poll(params, { ...body, signal, hold }, access);
      return await pollReply(answer, { ...dependencies, json: accept === JSON_TYPE });
    },
  });
}

const POLL_DESCRIPTION =
  `A poll is a sign of life, and gives up what the member was told to give up. Every answer holds a \`leaseToken\` for the ` +
  `next poll. With the token of the last answer: the same messages again while any of them is uncommitted, new ones when all ` +
  `are committed, or nacked. With the token before it: the last answer was lost, and is given again. Without a token: new messages, ` +
  `whatever became of those before. Any other token is STALE_LEASE. Leases are kept in memory: after a restart of the broker ` +
  `the first poll starts again at the committed offsets, whatever its token.`;

function leaveRoute(members: HttpMembers): Route {
  return defineRoute({
    method: "DELETE",
    path: MEMBER_PATH,
    operationId: "leaveGroup",
    tag: TAG,
    summary: "Leave the group",
    params: memberParams,
    responses: { 204: { description: "No longer a member" } },
    errors: ["UNKNOWN_MEMBER", "ACTOR_DOWN"],
    handler: async ({ params, access }) => {
      await members.leave(params, access);
      return { status: 204 };
    },
  });
}

/** Messages that are rendered before other work gets its turn. */
const SLICE_MESSAGES = 500;

async function pollReply(
  { portions, ...answer }: PollAnswer,
  options: { json: boolean; yieldToEventLoop: () => Promise<void> },
): Promise<Reply> {
  const shown: unknown[] = [];
  const texts: string[] = [];
  let count = 0;
  for (const { topic, partition, records, attempt } of portions) {
    const place = attempt === undefined ? { topic, partition } : { topic, partition, attempt };
    for (const record of records) {
      if (options.json) texts.push(`${count === 0 ? "" : ","}${messageJson(record, place)}`);
      else shown.push(messageFromRecord(record, place));
      if (++count % SLICE_MESSAGES === 0) await options.yieldToEventLoop();
    }
  }
  if (!options.json) return { data: { ...answer, messages: shown } };
  // Values that are JSON go out as they came in.
  return { json: () => [`${JSON.stringify(answer).slice(0, -1)},"messages":[`, ...texts, "]}"] };
}
