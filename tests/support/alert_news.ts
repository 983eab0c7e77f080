// Owns samples of alerts and of news of them. Refuses to own what is done with them.
// Invariant: two with the same arguments are the same.
import type { Alert, AlertNews } from "../../actors/threshold/types.ts";

export function alertOf(alertId: string, group = "billing"): Alert {
  return {
    alertId,
    name: "consumer-lag",
    severity: "P1",
    state: "firing",
    resource: {
      type: "group",
      name: group,
      labels: { group, topic: "orders", partition: alertId },
    },
    groupKey: `consumer-lag/group:${group}`,
    unit: "messages",
    since: 1,
    firedAt: 2,
    resolvedAt: null,
    value: 11,
    worst: 11,
    limit: 10,
    samples: [],
    detail: null,
    runbook: null,
    mode: "observe",
    executionId: null,
    runbookProblem: null,
    acknowledgedBy: null,
    acknowledgedAt: null,
    silencedUntil: null,
    silencedBy: null,
    escalations: 0,
  };
}

export function newsOf(
  kind: AlertNews["kind"],
  ids: readonly string[],
  group = "billing",
): AlertNews {
  const alerts = ids.map((id) => alertOf(id, group));
  return { kind, groupKey: `consumer-lag/group:${group}`, alerts };
}
