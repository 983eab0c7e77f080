// Owns the routes of thresholds: list them, show one, set one, put one back to its default.
// Refuses to own what thresholds look at (actors/threshold/) and the alerts they raise (alerts.ts).
// Invariant: what is shown is what the next sample is judged by.
import { z } from "zod";
import { BrokerError } from "../../storage/broker_error.ts";
import type { RunbookDefinition } from "../../actors/runbook/types.ts";
import {
  isThresholdName,
  KNOWN_THRESHOLDS,
  resourceTypesOf,
} from "../../actors/threshold/defaults.ts";
import {
  MAX_FOR_SECONDS,
  MAX_WINDOW_SECONDS,
  RUNBOOK_MODES,
  SEVERITIES,
  type Threshold,
  THRESHOLD_NAMES,
  type ThresholdName,
  type ThresholdSettings,
} from "../../actors/threshold/types.ts";
import { label, timestampMs } from "../fields.ts";
import { nextCursor, pageOf, type PageOrder, pageQuery } from "../paging.ts";
import { invalidRequest } from "../plain_data.ts";
import { type ApiDependencies, defineRoute, type Route } from "../route.ts";

const TAG = "Operations";
const PATH = "/api/thresholds";
const NAME_PATH = `${PATH}/{name}`;
/** A day: who wants to wait longer wants no escalation. */
const MAX_ESCALATE_SECONDS = 86_400;

export const thresholdName = z.enum(THRESHOLD_NAMES).meta({ examples: ["consumer-lag"] });
export const severity = z.enum(SEVERITIES).meta({
  description: "P1: somebody gets up at night. P2: today. P3: this week.",
});
export const runbookMode = z.enum(RUNBOOK_MODES).meta({
  description:
    "observe: the runbook looks and proposes; approve: it acts once somebody approves; auto: it acts.",
});
/** Any name: one that is unknown is NOT_FOUND, as with every other resource. */
const params = z.strictObject({ name: label });

const limit = z.number().min(0).max(Number.MAX_SAFE_INTEGER);
const escalateAfterSeconds = z.int().min(1).max(MAX_ESCALATE_SECONDS).nullable();

const settingsFields = {
  limit: limit.meta({
    description: "A value above it breaches, one at it does not.",
    examples: [100_000],
  }),
  forSeconds: z.int().min(0).max(MAX_FOR_SECONDS).meta({
    description: "How long a value has to stay above before the alert fires; 0: at once.",
  }),
  windowSeconds: z.int().min(0).max(MAX_WINDOW_SECONDS).meta({
    description:
      "The value is made of the samples of this time: counts are added up, of what is measured it is the mean; " +
      "0: the newest sample alone.",
  }),
  severity,
  enabled: z.boolean(),
  runbook: label.nullable().meta({
    description:
      "Started when an alert fires, with the alert's resource as its target; one that can be executed for such.",
  }),
  mode: runbookMode,
  clearLimit: limit.nullable().meta({
    description: "A firing alert is clear at this value and below; null: at the limit.",
  }),
  clearForSeconds: z.int().min(0).max(MAX_FOR_SECONDS).meta({
    description: "How long it has to stay clear before it is resolved.",
  }),
  escalateAfterSeconds: escalateAfterSeconds.meta({
    description:
      "An alert that nobody acknowledges is told again each time this has passed; null: never.",
  }),
};

export const thresholdSchema = z.strictObject({
  name: thresholdName,
  describes: z.string(),
  unit: z.string(),
  comparison: z.literal("above"),
  labels: z.array(z.string()).meta({ description: "There is an alert for each of these." }),
  ...settingsFields,
  updatedAt: timestampMs.nullable().meta({ description: "Null: as it is by default." }),
  updatedBy: z.string().nullable(),
}).meta({ id: "Threshold" });

export const bodySchema = z.strictObject({
  limit: settingsFields.limit,
  forSeconds: settingsFields.forSeconds.optional(),
  windowSeconds: settingsFields.windowSeconds.optional(),
  severity,
  enabled: settingsFields.enabled,
  runbook: settingsFields.runbook.optional(),
  mode: runbookMode,
  clearLimit: settingsFields.clearLimit.default(null),
  clearForSeconds: settingsFields.clearForSeconds.optional(),
  escalateAfterSeconds: escalateAfterSeconds.optional(),
}).meta({ id: "ThresholdSettings" });

const order: PageOrder<Threshold> = {
  keyOf: ({ name }) => name,
  isAfter: ({ name }, key) =>
    THRESHOLD_NAMES.indexOf(name) > (THRESHOLD_NAMES as readonly string[]).indexOf(key),
};

/** Routes of thresholds. */
export function thresholdRoutes({ broker, limits }: ApiDependencies): Route[] {
  const { alerts } = broker;
  return [
    defineRoute({
      method: "GET",
      path: PATH,
      operationId: "listThresholds",
      tag: TAG,
      summary: "List all thresholds",
      query: pageQuery(limits),
      responses: {
        200: {
          description: "A page of thresholds",
          schema: z.strictObject({ thresholds: z.array(thresholdSchema), nextCursor }),
        },
      },
      errors: ["FORBIDDEN"],
      handler: ({ query }) => {
        const { entries, ...page } = pageOf(alerts.thresholds(), query, order);
        return { data: { thresholds: entries, ...page } };
      },
    }),
    defineRoute({
      method: "GET",
      path: NAME_PATH,
      operationId: "getThreshold",
      tag: TAG,
      summary: "Show a threshold",
      params,
      responses: { 200: { description: "The threshold", schema: thresholdSchema } },
      errors: ["FORBIDDEN", "NOT_FOUND"],
      handler: ({ params: { name } }) => ({ data: alerts.threshold(known(name)) }),
    }),
    putRoute({ broker }),
    defineRoute({
      method: "DELETE",
      path: NAME_PATH,
      operationId: "resetThreshold",
      tag: TAG,
      summary: "Put a threshold back to its default",
      params,
      responses: { 204: { description: "It is as by default" } },
      errors: ["FORBIDDEN", "NOT_FOUND", "METADATA_CONFLICT"],
      handler: async ({ params: { name }, audited }) => {
        audited({ before: settingsOf(alerts.threshold(known(name))) });
        audited({ after: settingsOf(await alerts.resetThreshold(known(name))) });
        return { status: 204 };
      },
    }),
  ];
}

function putRoute({ broker: { alerts, runbooks } }: Pick<ApiDependencies, "broker">): Route {
  return defineRoute({
    method: "PUT",
    path: NAME_PATH,
    operationId: "putThreshold",
    tag: TAG,
    summary: "Set a threshold",
    description:
      "It holds from the next sample on, for alerts that are pending or firing too. What is left out is as by " +
      "default, but for `clearLimit`: that is the limit then. Switched off, its alerts end.",
    params,
    body: bodySchema,
    bodyExample: { limit: 100_000, forSeconds: 60, severity: "P2", enabled: true, mode: "approve" },
    responses: { 200: { description: "The threshold", schema: thresholdSchema } },
    errors: ["FORBIDDEN", "NOT_FOUND", "METADATA_CONFLICT"],
    handler: async ({ params: { name }, body, principal, audited }) => {
      const settings = settingsFrom(known(name), body);
      refuseUnfitRunbook(known(name), settings.runbook, runbooks.definitions());
      audited({ before: settingsOf(alerts.threshold(known(name))) });
      const put = await alerts.putThreshold({ name: known(name), settings, updatedBy: principal });
      audited({ after: settingsOf(put) });
      return { data: put };
    },
  });
}

function known(name: string): ThresholdName {
  if (isThresholdName(name)) return name;
  throw new BrokerError("NOT_FOUND", `there is no threshold ${name}`, { name });
}

/** An alert would ask for it in vain, when it is needed. */
function refuseUnfitRunbook(
  name: ThresholdName,
  runbook: string | null,
  definitions: readonly RunbookDefinition[],
): void {
  if (runbook === null) return;
  const found = definitions.find((definition) => definition.name === runbook);
  if (found === undefined && DEFAULT_RUNBOOKS.has(runbook)) return;
  const message = faultOf(name, runbook, found);
  if (message !== null) throw invalidRequest([{ path: "runbook", message }]);
}

function faultOf(
  name: ThresholdName,
  runbook: string,
  found: RunbookDefinition | undefined,
): string | null {
  if (found === undefined) return `there is no runbook ${runbook}`;
  if (!found.available) return `runbook ${runbook} is declared only and cannot be executed yet`;
  const types = resourceTypesOf(name);
  if (types.some((type) => found.targetKinds.includes(type))) return null;
  return `runbook ${runbook} is for a target of type ${found.targetKinds.join(" or ")}, ` +
    `alerts of ${name} are about a ${types.join(" or ")}`;
}

/** Those that thresholds have by default: each is there as soon as runbooks are. */
const DEFAULT_RUNBOOKS: ReadonlySet<string | null> = new Set(
  [...KNOWN_THRESHOLDS.values()].map(({ defaults: { runbook } }) => runbook),
);

function settingsFrom(name: ThresholdName, body: z.output<typeof bodySchema>): ThresholdSettings {
  const { definition, defaults } = KNOWN_THRESHOLDS.get(name)!;
  if (definition.unit === "ratio" && body.limit > 1) {
    throw invalidRequest([{ path: "limit", message: "is a ratio: at most 1" }]);
  }
  if (body.clearLimit !== null && body.clearLimit > body.limit) {
    throw invalidRequest([{ path: "clearLimit", message: "must not be above the limit" }]);
  }
  const given = Object.entries(body).filter(([, value]) => value !== undefined);
  return { ...defaults, ...Object.fromEntries(given) };
}

/** What the audit log keeps of a threshold. */
function settingsOf(threshold: Threshold): ThresholdSettings {
  return Object.fromEntries(
    Object.keys(settingsFields).map((name) => [name, threshold[name as keyof ThresholdSettings]]),
  ) as unknown as ThresholdSettings;
}
