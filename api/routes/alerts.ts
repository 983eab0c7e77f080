// Owns the routes of alerts: list them, show one, acknowledge one, silence one.
// Refuses to own when alerts fire (actors/threshold/) and thresholds (thresholds.ts).
// Invariant: what is listed is what the broker's newest sample came to.
import { z } from "zod";
import { BrokerError } from "../../storage/broker_error.ts";
import type { Alert } from "../../actors/threshold/types.ts";
import { keySight, seenAlert } from "../auth/key_sight.ts";
import { label, reason, timestampMs } from "../fields.ts";
import { nextCursor, pageOf, type PageOrder, pageQuery } from "../paging.ts";
import { type ApiDependencies, defineRoute, type Route } from "../route.ts";
import { runbookMode, severity, thresholdName } from "./thresholds.ts";

const TAG = "Operations";
const PATH = "/api/alerts";
const ALERT_PATH = `${PATH}/{alertId}`;
const STATES = ["pending", "firing", "resolved"] as const;
/** Thirty days: what is to be silent for longer is a threshold to be changed. */
const MAX_SILENCE_SECONDS = 30 * 86_400;

const params = z.strictObject({ alertId: label });

export const alertSchema = z.strictObject({
  alertId: z.string(),
  name: thresholdName,
  severity,
  state: z.enum(STATES),
  resource: z.strictObject({
    type: z.enum(["broker", "group", "partition", "tenant"]),
    name: z.string(),
    labels: z.record(z.string(), z.string()),
  }),
  groupKey: z.string().meta({ description: "Alerts with the same one are told together." }),
  unit: z.string(),
  since: timestampMs.meta({ description: "When the value went above the limit." }),
  firedAt: timestampMs.nullable(),
  resolvedAt: timestampMs.nullable(),
  value: z.number().meta({ description: "The newest." }),
  worst: z.number(),
  limit: z.number(),
  samples: z.array(z.strictObject({ at: timestampMs, value: z.number() })).meta({
    description: "What made it fire, oldest first, thinned out.",
  }),
  detail: z.string().nullable().meta({
    description:
      "What the value does not say: the hot key (to whoever may read the topic), the problems.",
  }),
  runbook: z.string().nullable(),
  mode: runbookMode,
  executionId: z.string().nullable().meta({ description: "Of the runbook that it started." }),
  runbookProblem: z.string().nullable().meta({
    description: "Why its runbook was not started when that was tried last.",
  }),
  acknowledgedBy: z.string().nullable(),
  acknowledgedAt: timestampMs.nullable(),
  silencedUntil: timestampMs.nullable(),
  silencedBy: z.string().nullable(),
  escalations: z.int(),
}).meta({ id: "Alert" });

/** Live ones first, then newest first: by when it began, or for those that are over by when it ended. */
const placeOf = ({ state, since, resolvedAt, alertId }: Alert) => {
  const isLive = state !== "resolved";
  const time = String(Number.MAX_SAFE_INTEGER - (isLive ? since : resolvedAt ?? 0)).padStart(
    16,
    "0",
  );
  return `${isLive ? 0 : 1} ${time} ${alertId}`;
};
const order: PageOrder<Alert> = {
  keyOf: placeOf,
  isAfter: (alert, place) => placeOf(alert) > place,
};

/** Routes of alerts. */
export function alertRoutes(dependencies: ApiDependencies): Route[] {
  return [...readRoutes(dependencies), ...changeRoutes(dependencies)];
}

function readRoutes({ broker: { alerts }, limits, authorizer }: ApiDependencies): Route[] {
  return [
    defineRoute({
      method: "GET",
      path: PATH,
      operationId: "listAlerts",
      tag: TAG,
      summary: "List alerts: pending and firing ones first, newest first",
      description: "Of resolved ones the last 500 are shown.",
      query: pageQuery(limits).extend({
        state: z.enum(STATES).optional(),
        severity: severity.optional(),
        name: thresholdName.optional(),
        resource: z.string().max(600).optional().meta({
          description: "Name of a resource, or `type:name`.",
          examples: ["group:billing"],
        }),
      }),
      responses: {
        200: {
          description: "A page of alerts",
          schema: z.strictObject({ alerts: z.array(alertSchema), nextCursor }),
        },
      },
      errors: ["FORBIDDEN"],
      handler: ({ query: { limit, cursor, ...filter }, access }) => {
        const found = alerts.list(filter).toSorted((a, b) => placeOf(a) < placeOf(b) ? -1 : 1);
        const { entries, ...page } = pageOf(found, { limit, cursor }, order);
        const mayRead = keySight(authorizer, access);
        return { data: { alerts: entries.map((alert) => seenAlert(alert, mayRead)), ...page } };
      },
    }),
    defineRoute({
      method: "GET",
      path: ALERT_PATH,
      operationId: "getAlert",
      tag: TAG,
      summary: "Show an alert",
      params,
      responses: { 200: { description: "The alert", schema: alertSchema } },
      errors: ["FORBIDDEN", "NOT_FOUND"],
      handler: ({ params: { alertId }, access }) => {
        const alert = alerts.find(alertId);
        if (alert !== null) return { data: seenAlert(alert, keySight(authorizer, access)) };
        throw new BrokerError("NOT_FOUND", `there is no alert ${alertId}`, { alertId });
      },
    }),
  ];
}

function changeRoutes({ broker: { alerts }, clock, authorizer }: ApiDependencies): Route[] {
  return [
    defineRoute({
      method: "POST",
      path: `${ALERT_PATH}:acknowledge`,
      operationId: "acknowledgeAlert",
      tag: TAG,
      summary: "Say that somebody looks after a firing alert",
      description: "It escalates no more. Again, by the same, changes nothing.",
      params,
      body: z.strictObject({ reason: reason.optional() }),
      bodyExample: { reason: "looking into it" },
      responses: { 200: { description: "The alert", schema: alertSchema } },
      errors: ["FORBIDDEN", "NOT_FOUND", "INVALID_ALERT_STATE"],
      handler: async ({ params: { alertId }, principal, access, audited }) => {
        const alert = await alerts.acknowledge({ alertId, principal });
        audited({ after: { name: alert.name, resource: alert.resource } });
        return { data: seenAlert(alert, keySight(authorizer, access)) };
      },
    }),
    defineRoute({
      method: "POST",
      path: `${ALERT_PATH}:silence`,
      operationId: "silenceAlert",
      tag: TAG,
      summary: "Tell nobody of an alert for a while",
      description:
        "Holds for this resource under this threshold, also when the alert ends and fires again meanwhile. " +
        "It is listed all the same, and its runbook is started. 0 seconds end a silence.",
      params,
      body: z.strictObject({
        seconds: z.int().min(0).max(MAX_SILENCE_SECONDS),
        reason: reason.optional(),
      }),
      bodyExample: { seconds: 3_600, reason: "maintenance window" },
      responses: { 200: { description: "The alert", schema: alertSchema } },
      errors: ["FORBIDDEN", "NOT_FOUND"],
      handler: async ({ params: { alertId }, body, principal, access, audited }) => {
        const until = Math.floor(clock.now()) + body.seconds * 1_000;
        const alert = await alerts.silence({ alertId, principal, until });
        audited({ after: { name: alert.name, resource: alert.resource, until } });
        return { data: seenAlert(alert, keySight(authorizer, access)) };
      },
    }),
  ];
}
