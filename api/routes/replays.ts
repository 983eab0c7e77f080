// Owns the routes of replay jobs, and those that show and steer every job.
// Refuses to own what a job does (actors/job) and redriving (redrive.ts).
// Invariant: every decision is the job's; a route only asks and shows.
import { z } from "zod";
import type { JobOrder, JobView } from "../../actors/job/types.ts";
import {
  groupName,
  label,
  partition,
  reason,
  refuseInternalGroup,
  refuseInternalTopic,
  topicName,
} from "../fields.ts";
import { seesJob, visibleJob } from "../job_access.ts";
import { heldToRights, jobOwnerOf, JobRights } from "../job_rights.ts";
import {
  JOB_ERRORS,
  place,
  ratePerSecond,
  REPEAT_HEADER,
  REPEATED_HEADER,
  submitJob,
} from "../job_request.ts";
import { nextCursor, pageOf, type PageOrder, pageQuery } from "../paging.ts";
import { type ApiDependencies, defineRoute, type Route } from "../route.ts";

const TAG = "Replay";
const JOB_PATH = "/api/replays/{jobId}";

const ms = z.int().meta({ description: "ms since the epoch" });
const count = z.int().min(0);

export const jobSchema = z.strictObject({
  jobId: label,
  kind: z.enum(["replay", "redrive"]),
  state: z.enum(["pending", "running", "paused", "completed", "failed", "cancelled"]),
  dryRun: z.boolean(),
  principal: z.string(),
  reason: z.string().nullable(),
  sources: z.array(z.strictObject({
    topic: z.string(),
    topicId: z.string(),
    partition: z.int(),
    from: z.int(),
    to: z.int(),
    next: z.int().meta({ description: "Where reading goes on." }),
  })),
  target: z.union([
    z.strictObject({ kind: z.literal("topic"), topic: z.string(), topicId: z.string() }),
    z.strictObject({ kind: z.literal("group"), group: z.string() }),
    z.strictObject({ kind: z.literal("origin") }),
  ]),
  filter: z.strictObject({
    code: z.string().optional(),
    reason: z.string().optional(),
    group: z.string().optional(),
    partition: z.int().optional(),
    offset: z.int().optional(),
  }).nullable(),
  ratePerSecond: z.number().nullable(),
  total: count.meta({
    description:
      "Messages to send. Of a dry run: that could be sent now, so none of open transactions.",
  }),
  totalExact: z.boolean()
    .meta({
      description:
        "false: the range is too long to count while you wait, or has open transactions; `total` is a bound.",
    }),
  done: count.meta({ description: "Messages sent." }),
  skipped: count.meta({ description: "Dead letters whose origin is gone or unknown." }),
  alreadyRedriven: count.meta({ description: "Dead letters that a job has redriven before." }),
  rate: z.number().meta({ description: "Messages a second while it ran." }),
  error: z.strictObject({ code: z.string(), detail: z.string() }).nullable()
    .meta({ description: "Why it failed, or what a running job waits for." }),
  createdAt: ms,
  startedAt: ms.nullable(),
  finishedAt: ms.nullable(),
  steps: z.array(z.strictObject({
    at: ms,
    action: z.enum([
      "created",
      "started",
      "paused",
      "resumed",
      "cancelled",
      "completed",
      "failed",
    ]),
    principal: z.string().nullable().meta({ description: "null: the broker itself." }),
    reason: z.string().nullable(),
  })),
}).meta({ id: "Job" });

const replaySchema = z.strictObject({
  topic: topicName,
  partition,
  from: place.meta({ description: "First message." }),
  to: place.meta({ description: "The message behind the last one." }),
  target: z.union([
    z.strictObject({ topic: topicName }),
    z.strictObject({ group: groupName }),
  ], { error: "must be { topic } or { group }" }).optional().meta({
    description: "Left out: the same topic and partition.",
  }),
  ratePerSecond: ratePerSecond.optional(),
  dryRun: z.boolean().default(false).meta({ description: "Only counts." }),
  reason: reason.optional(),
}).meta({ id: "NewReplay" });

const jobParams = z.strictObject({ jobId: label });

/** Routes of jobs. */
export function replayRoutes(dependencies: ApiDependencies): Route[] {
  const { broker } = dependencies;
  new JobRights({
    ...dependencies,
    onError: (error) => dependencies.onError(error, "job rights"),
  });
  return [
    submitRoute(dependencies),
    ...readingRoutes(dependencies),
    steeringRoute(dependencies, "pause", (order) => broker.jobs.pause(order)),
    steeringRoute(dependencies, "resume", (order) => broker.jobs.resume(order)),
    steeringRoute(dependencies, "cancel", (order) => broker.jobs.cancel(order)),
  ];
}

function submitRoute(dependencies: ApiDependencies): Route {
  return defineRoute({
    method: "POST",
    path: "/api/messages:replay",
    operationId: "replayMessages",
    tag: TAG,
    summary: "Append messages of a range again, or hand them to one group once more",
    description:
      "What is appended keeps its `idempotency-key`, which counts in another topic from " +
      "then on: a later publish with it there is answered with the replayed message. Keys never keep " +
      "a replay from appending. A group is handed the stored messages as they are, as deliveries " +
      "with `attempt` 2, the first of which was the one before: a nack then goes on counting.",
    body: replaySchema,
    bodyExample: { topic: "orders", partition: 0, from: 0, to: "latest", reason: "a lost index" },
    requestHeaders: REPEAT_HEADER,
    responses: {
      202: { description: "The job", schema: jobSchema, headers: REPEATED_HEADER },
    },
    errors: JOB_ERRORS,
    handler: (context) => {
      const { body } = context;
      const { topic, target = null } = body;
      refuseInternalTopic(topic);
      if (target !== null) {
        if ("topic" in target) refuseInternalTopic(target.topic);
        else refuseInternalGroup(target.group);
      }
      const replay = {
        ...body,
        kind: "replay" as const,
        target,
        reason: body.reason ?? null,
        ratePerSecond: body.ratePerSecond ?? null,
      };
      return submitJob(context, replay, dependencies);
    },
  });
}

function readingRoutes(dependencies: ApiDependencies): Route[] {
  const { broker, authorizer, limits } = dependencies;
  return [
    defineRoute({
      method: "GET",
      path: "/api/replays",
      operationId: "listReplays",
      tag: TAG,
      summary: "List replay and redrive jobs, newest first",
      query: pageQuery(limits),
      responses: {
        200: {
          description: "A page of jobs",
          schema: z.strictObject({ replays: z.array(jobSchema), nextCursor }),
        },
      },
      handler: async ({ query, access }) => {
        const jobs = await broker.jobs.list();
        const seen = jobs.filter((job) => seesJob(authorizer, access, job));
        const page = pageOf(seen, query, NEWEST_FIRST);
        return { data: { replays: page.entries, nextCursor: page.nextCursor } };
      },
    }),
    defineRoute({
      method: "GET",
      path: JOB_PATH,
      operationId: "getReplay",
      tag: TAG,
      summary: "How far a job is, and all that was done to it",
      params: jobParams,
      responses: { 200: { description: "The job", schema: jobSchema } },
      errors: ["NOT_FOUND"],
      handler: async ({ params: { jobId }, access }) => ({
        data: await visibleJob(dependencies, access, jobId),
      }),
    }),
  ];
}

/** `<createdAt>/<jobId>`: jobs of the same ms are in the order of their ids. */
const NEWEST_FIRST: PageOrder<JobView> = {
  keyOf: ({ createdAt, jobId }) => `${createdAt}/${jobId}`,
  isAfter: ({ createdAt, jobId }, key) => {
    const cut = key.indexOf("/");
    const at = Number(key.slice(0, cut));
    return createdAt < at || (createdAt === at && jobId > key.slice(cut + 1));
  },
};

const SUMMARIES = {
  pause: "Stop a job after the chunk under way",
  resume: "Go on with a job that was paused or has failed",
  cancel: "End a job after the chunk under way; what was sent stays",
} as const;

function steeringRoute(
  dependencies: ApiDependencies,
  action: keyof typeof SUMMARIES,
  steer: (order: JobOrder) => Promise<JobView>,
): Route {
  return defineRoute({
    method: "POST",
    path: `${JOB_PATH}:${action}`,
    operationId: `${action}Replay`,
    tag: TAG,
    summary: SUMMARIES[action],
    params: jobParams,
    body: z.strictObject({ reason: reason.optional() }),
    bodyOptional: true,
    responses: { 200: { description: "The job", schema: jobSchema } },
    errors: ["NOT_FOUND", "INVALID_JOB_STATE"],
    handler: async ({ params: { jobId }, body, principal, access, intend, audited }) => {
      const { state } = await visibleJob(dependencies, access, jobId);
      await intend();
      audited({ before: { state } });
      const owner = jobOwnerOf(access);
      const steered = await steer({ jobId, principal, owner, reason: body.reason ?? null });
      const job = action === "resume"
        ? await heldToRights(dependencies, { job: steered, owner })
        : steered;
      audited({ after: { state: job.state, done: job.done } });
      return { data: job };
    },
  });
}
