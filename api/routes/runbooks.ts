// Owns the routes of runbooks: list them, execute one, show executions, approve and abort one.
// Refuses to own what runbooks do (ops/runbooks/) and how executions go (actors/runbook/).
// Invariant: what is shown is what the journal says, but for how far a step under way is.
import { z } from "zod";
import {
  type ApprovalOrder,
  type Execution,
  type RunbookDefinition,
  TARGET_KINDS,
} from "../../actors/runbook/types.ts";
import { keySight, seenExecution } from "../auth/key_sight.ts";
import { label, MAX_REASON_CHARS, reason, timestampMs } from "../fields.ts";
import { nextCursor, pageOf, type PageOrder, pageQuery } from "../paging.ts";
import { type ApiDependencies, defineRoute, type Route } from "../route.ts";
import { runbookMode } from "./thresholds.ts";

const TAG = "Operations";
const PATH = "/api/runbooks";
const EXECUTIONS_PATH = `${PATH}/executions`;
const EXECUTION_PATH = `${EXECUTIONS_PATH}/{executionId}`;
const EXECUTION_STATES = ["running", "waiting", "verified", "partial", "aborted"] as const;
const STEP_STATES = [
  "pending",
  "running",
  "waiting",
  "done",
  "skipped",
  "failed",
  "undone",
] as const;
/** A topic's name and its partition. */
const MAX_TARGET_CHARS = 300;
const MAX_PARAMETERS = 20;

const params = z.strictObject({ executionId: label });
const durationMs = z.number().min(0);
const stepKind = z.enum(["check", "action", "approval", "verify"]);

const targetSchema = z.strictObject({
  type: z.enum(TARGET_KINDS),
  name: z.string().max(MAX_TARGET_CHARS).default("").meta({
    description: "The group, topic, `topic/partition`, tenant or node; empty for none.",
  }),
}).meta({ id: "RunbookTarget", examples: [{ type: "group", name: "billing" }] });

const recoverySchema = z.strictObject({
  rtoMs: durationMs.nullable(),
  rpoMs: durationMs.nullable(),
});

export const runbookSchema = z.strictObject({
  name: z.string(),
  title: z.string(),
  describes: z.string(),
  targetKinds: z.array(z.enum(TARGET_KINDS)),
  parameters: z.array(z.strictObject({
    name: z.string(),
    describes: z.string(),
    required: z.boolean(),
  })),
  steps: z.array(z.strictObject({
    name: z.string(),
    title: z.string(),
    kind: stepKind,
    timeoutMs: durationMs,
    undo: z.string().optional().meta({ description: "What takes it back." }),
  })),
  cooldownMs: durationMs,
  targets: recoverySchema.meta({ description: "What it is to keep; null: nothing was promised." }),
  available: z.boolean().meta({ description: "False: declared, and cannot be executed yet." }),
}).meta({ id: "Runbook" });

export const executionSchema = z.strictObject({
  executionId: z.string(),
  name: z.string().meta({ description: "Of the runbook." }),
  target: z.strictObject({ type: z.enum(TARGET_KINDS), name: z.string() }),
  mode: runbookMode,
  state: z.enum(EXECUTION_STATES),
  alertId: z.string().nullable(),
  startedAt: timestampMs,
  endedAt: timestampMs.nullable(),
  steps: z.array(z.strictObject({
    name: z.string(),
    title: z.string(),
    kind: stepKind,
    state: z.enum(STEP_STATES),
    startedAt: timestampMs.nullable(),
    endedAt: timestampMs.nullable(),
    detail: z.string().nullable(),
    error: z.strictObject({ code: z.string(), detail: z.string() }).optional(),
    approvedBy: z.string().optional(),
    undone: z.string().optional().meta({ description: "What taking it back did." }),
  })),
  parameters: z.record(z.string(), z.string()),
  facts: z.record(z.string(), z.unknown()).meta({
    description: "What its steps found; keys of messages only to whoever may read the topic.",
  }),
  holds: z.array(z.string()).meta({ description: "What nobody else repairs meanwhile." }),
  faultAt: timestampMs.meta({ description: "Since when the fault was there, by the alert." }),
  rtoMs: durationMs.nullable().meta({ description: "From the fault until it was verified." }),
  rpo: z.strictObject({ ms: durationMs, messages: z.number().min(0) }).nullable().meta({
    description:
      "How far before the fault the recovered state lies, and how many messages are lost.",
  }),
  targets: recoverySchema,
  outcome: z.string().nullable(),
  reason: z.string(),
  by: z.string(),
  approvedBy: z.string().nullable(),
}).meta({ id: "Execution" });

/** `<startedAt>/<executionId>`: those of the same ms are in the order of their ids. */
const NEWEST_FIRST: PageOrder<Execution> = {
  keyOf: ({ startedAt, executionId }) => `${startedAt}/${executionId}`,
  isAfter: ({ startedAt, executionId }, key) => {
    const cut = key.indexOf("/");
    const at = Number(key.slice(0, cut));
    return startedAt < at || (startedAt === at && executionId > key.slice(cut + 1));
  },
};

/** Routes of runbooks and their executions. */
export function runbookRoutes(dependencies: ApiDependencies): Route[] {
  const { runbooks } = dependencies.broker;
  return [
    listRoute(dependencies),
    executeRoute(dependencies),
    ...executionRoutes(dependencies),
    orderRoute(dependencies, "approve", (order) => runbooks.approve(order)),
    orderRoute(dependencies, "abort", (order) => runbooks.abort(order)),
  ];
}

function listRoute({ broker: { runbooks }, limits }: ApiDependencies): Route {
  return defineRoute({
    method: "GET",
    path: PATH,
    operationId: "listRunbooks",
    tag: TAG,
    summary: "List runbooks with their steps",
    query: pageQuery(limits),
    responses: {
      200: {
        description: "A page of runbooks",
        schema: z.strictObject({ runbooks: z.array(runbookSchema), nextCursor }),
      },
    },
    errors: ["FORBIDDEN"],
    handler: ({ query }) => {
      const all = runbooks.definitions();
      const placeOf = (wanted: string) => all.findIndex(({ name }) => name === wanted);
      const order: PageOrder<RunbookDefinition> = {
        keyOf: ({ name }) => name,
        isAfter: ({ name }, key) => placeOf(name) > placeOf(key),
      };
      const { entries, ...page } = pageOf(all, query, order);
      return { data: { runbooks: entries, ...page } };
    },
  });
}

function executeRoute({ broker: { runbooks }, authorizer }: ApiDependencies): Route {
  return defineRoute({
    method: "POST",
    path: `${PATH}/{name}:execute`,
    operationId: "executeRunbook",
    tag: TAG,
    summary: "Execute a runbook",
    description:
      "Mode observe carries out the checks alone and says what the other steps would do; approve waits for " +
      "`:approve` before the first action; auto goes on by itself. Steps of kind approval wait in every mode. " +
      "One target is repaired by one execution at a time.",
    params: z.strictObject({ name: label }),
    body: z.strictObject({
      target: targetSchema.default({ type: "none", name: "" }),
      mode: runbookMode,
      reason,
      parameters: z.record(label, z.string().max(MAX_REASON_CHARS))
        .refine((given) => Object.keys(given).length <= MAX_PARAMETERS, "too many").default({}),
    }),
    bodyExample: {
      target: { type: "group", name: "billing" },
      mode: "approve",
      reason: "release 42 loses invoices",
    },
    responses: { 202: { description: "The execution", schema: executionSchema } },
    errors: [
      "FORBIDDEN",
      "NOT_FOUND",
      "UNKNOWN_GROUP",
      "UNKNOWN_TOPIC",
      "UNKNOWN_PARTITION",
      "INTERNAL_TOPIC",
      "RUNBOOK_BUSY",
      "INVALID_EXECUTION_STATE",
      "OVERLOADED",
    ],
    handler: async ({ params: { name }, body, principal, access, audited }) => {
      const execution = await runbooks.execute({ name, ...body, by: principal });
      const { executionId, target, mode } = execution;
      audited({ after: { executionId, target, mode } });
      return { status: 202, data: seenExecution(execution, keySight(authorizer, access)) };
    },
  });
}

function executionRoutes({ broker: { runbooks }, limits, authorizer }: ApiDependencies): Route[] {
  return [
    defineRoute({
      method: "GET",
      path: EXECUTIONS_PATH,
      operationId: "listExecutions",
      tag: TAG,
      summary: "List executions of runbooks, newest first",
      query: pageQuery(limits).extend({
        name: label.optional(),
        state: z.enum(EXECUTION_STATES).optional(),
        target: z.string().max(2 * MAX_TARGET_CHARS).optional().meta({
          description: "Name of a target, or `type:name`.",
        }),
        alertId: label.optional(),
      }),
      responses: {
        200: {
          description: "A page of executions",
          schema: z.strictObject({ executions: z.array(executionSchema), nextCursor }),
        },
      },
      errors: ["FORBIDDEN"],
      handler: async ({ query: { limit, cursor, ...filter }, access }) => {
        const found = await runbooks.executions(filter);
        const { entries, ...page } = pageOf(found, { limit, cursor }, NEWEST_FIRST);
        const mayRead = keySight(authorizer, access);
        const executions = entries.map((one) => seenExecution(one, mayRead));
        return { data: { executions, ...page } };
      },
    }),
    defineRoute({
      method: "GET",
      path: EXECUTION_PATH,
      operationId: "getExecution",
      tag: TAG,
      summary: "Show an execution with its steps",
      params,
      responses: { 200: { description: "The execution", schema: executionSchema } },
      errors: ["FORBIDDEN", "NOT_FOUND"],
      handler: async ({ params: { executionId }, access }) => ({
        data: seenExecution(await runbooks.execution(executionId), keySight(authorizer, access)),
      }),
    }),
  ];
}

const SUMMARIES = {
  approve: "Let an execution go on that waits for somebody",
  abort: "Stop an execution, and take back what can be taken back",
} as const;

const DESCRIPTIONS = {
  approve:
    "Approves one step. `step` makes it exact: without it, whichever step waits as the request arrives is approved, " +
    "so that a request that is sent twice may approve two.",
  abort: "What was done is taken back as far as its steps say how.",
} as const;

type OrderBody = z.ZodType<
  { readonly reason?: string | undefined; readonly step?: string | undefined }
>;
const ORDER_BODIES: Readonly<Record<keyof typeof SUMMARIES, OrderBody>> = {
  approve: z.strictObject({
    reason: reason.optional(),
    step: label.optional().meta({
      description:
        "Name of the step that is approved; INVALID_EXECUTION_STATE where it is not the one that waits.",
    }),
  }),
  abort: z.strictObject({ reason: reason.optional() }),
};

function orderRoute(
  { authorizer }: ApiDependencies,
  action: keyof typeof SUMMARIES,
  order: (order: ApprovalOrder) => Promise<Execution>,
): Route {
  return defineRoute({
    method: "POST",
    path: `${EXECUTION_PATH}:${action}`,
    operationId: `${action}Execution`,
    tag: TAG,
    summary: SUMMARIES[action],
    description: DESCRIPTIONS[action],
    params,
    body: ORDER_BODIES[action],
    bodyOptional: true,
    responses: { 200: { description: "The execution", schema: executionSchema } },
    errors: ["FORBIDDEN", "NOT_FOUND", "INVALID_EXECUTION_STATE"],
    handler: async ({ params: { executionId }, body, principal, access, audited }) => {
      const { reason = null, step } = body;
      const execution = await order({ executionId, principal, reason, step });
      const { name, target, state } = execution;
      audited({ after: { name, target, state, ...(step === undefined ? {} : { step }) } });
      return { data: seenExecution(execution, keySight(authorizer, access)) };
    },
  });
}
