// Owns the vocabulary of thresholds and alerts, and the port through which the edges use them.
// Refuses to own what a threshold looks at (signals.ts), when an alert fires (decide.ts) and telling anybody (ops/alerting).
// Invariant: only plain data crosses the port; an alert's state goes pending, firing, resolved, and never back.
import type { Sample } from "../measurement/types.ts";

/** P1: somebody gets up at night. P2: today. P3: this week. */
export const SEVERITIES = Object.freeze(["P1", "P2", "P3"] as const);
export type Severity = (typeof SEVERITIES)[number];

/** How far a runbook may go by itself: looks only, acts once somebody approves, acts. */
export const RUNBOOK_MODES = Object.freeze(["observe", "approve", "auto"] as const);
export type RunbookMode = (typeof RUNBOOK_MODES)[number];

export const THRESHOLD_NAMES = Object.freeze(
  [
    "publish-failure-rate",
    "replication-delay",
    "under-replicated",
    "consumer-lag",
    "rebalance-rate",
    "dead-letter-rate",
    "retry-rate",
    "stalled-consumer",
    "hot-partition",
    "quota-breaches",
    "storage-budget",
    "disk-usage",
    "disk-slow",
    "broker-problem",
    "audit-broken",
    "canary-withdrawn",
  ] as const,
);
export type ThresholdName = (typeof THRESHOLD_NAMES)[number];

export type ThresholdUnit =
  | "ratio"
  | "seconds"
  | "milliseconds"
  | "messages"
  | "rebalances"
  | "partitions"
  | "requests"
  | "bytes"
  | "problems"
  | "faults"
  | "canaries";

/** What may be changed at run time. */
export interface ThresholdSettings {
  /** In the threshold's unit: a value above it breaches, a value at it does not. */
  readonly limit: number;
  /** How long a value has to stay above the limit before the alert fires; 0: at once. */
  readonly forSeconds: number;
  /** The value is made of the samples of this time; 0: of the newest alone. At most MAX_WINDOW_SECONDS. */
  readonly windowSeconds: number;
  readonly severity: Severity;
  readonly enabled: boolean;
  /** Started, with the alert's resource as its target, when an alert fires; null: none. */
  readonly runbook: string | null;
  readonly mode: RunbookMode;
  /** A firing alert is clear while its value is at most this; null: `limit`. Never above the limit. */
  readonly clearLimit: number | null;
  /** How long it has to stay clear before the alert is resolved. */
  readonly clearForSeconds: number;
  /** An alert that nobody acknowledges is told again, to the escalation's receivers too, each time this has passed; null: never. */
  readonly escalateAfterSeconds: number | null;
}

/** What a threshold is. */
export interface ThresholdDefinition {
  readonly name: ThresholdName;
  readonly describes: string;
  readonly unit: ThresholdUnit;
  readonly comparison: "above";
  /** What its resources are told apart by: one alert for each. */
  readonly labels: readonly string[];
}

export interface Threshold extends ThresholdDefinition, ThresholdSettings {
  /** Null: as it is by default. */
  readonly updatedAt: number | null;
  readonly updatedBy: string | null;
}

export interface NewThreshold {
  readonly name: ThresholdName;
  readonly settings: ThresholdSettings;
  readonly updatedBy: string;
}

/** What an alert is about. `name` is the group, `topic/partition`, the tenant, or the node's id. */
export interface AlertResource {
  readonly type: "broker" | "group" | "partition" | "tenant";
  readonly name: string;
  /** By the threshold's labels: group, topic, partition, tenant. */
  readonly labels: Readonly<Record<string, string>>;
}

export type AlertState = "pending" | "firing" | "resolved";

export interface AlertValue {
  /** Wall time, ms. */
  readonly at: number;
  readonly value: number;
}

export interface Alert {
  readonly alertId: string;
  /** Of the threshold. */
  readonly name: ThresholdName;
  readonly severity: Severity;
  readonly state: AlertState;
  readonly resource: AlertResource;
  /** Alerts that are told together: the threshold, and the resource without its further labels. */
  readonly groupKey: string;
  readonly unit: ThresholdUnit;
  /** Wall times, ms: when the value went above the limit, when it had been there for long enough, when it was clear again. */
  readonly since: number;
  readonly firedAt: number | null;
  readonly resolvedAt: number | null;
  /** The newest that was measured. */
  readonly value: number;
  /** Highest since it went above the limit. */
  readonly worst: number;
  readonly limit: number;
  /** What made it fire, oldest first; at most MAX_ALERT_SAMPLES, thinned out evenly. */
  readonly samples: readonly AlertValue[];
  /** In words, with what the value alone does not say: the hot key, the problems; null: nothing more. */
  readonly detail: string | null;
  readonly runbook: string | null;
  readonly mode: RunbookMode;
  readonly executionId: string | null;
  /** Why its runbook was not started when that was tried last; null: it was, or nothing keeps it from being. */
  readonly runbookProblem: string | null;
  readonly acknowledgedBy: string | null;
  readonly acknowledgedAt: number | null;
  /** Nobody is told, and nothing escalates, before; wall time, ms. */
  readonly silencedUntil: number | null;
  readonly silencedBy: string | null;
  /** Times it was told again since nobody had acknowledged it. */
  readonly escalations: number;
}

export interface AlertFilter {
  readonly state?: AlertState | undefined;
  readonly severity?: Severity | undefined;
  readonly name?: ThresholdName | undefined;
  /** Name of a resource, or `type:name`. */
  readonly resource?: string | undefined;
}

/** What happened to alerts that are told together. */
export interface AlertNews {
  readonly kind: "fired" | "escalated" | "resolved" | "acknowledged" | "silenced";
  readonly groupKey: string;
  readonly alerts: readonly Alert[];
}

/** What the samples do not say. */
export interface AlertSignals {
  /** Null: not looked at yet. `fault`: why the audit log is broken, null when it is intact. */
  readonly audit: { readonly fault: string | null } | null;
}

/** What a firing alert asks of the runbooks. */
export interface RunbookOrder {
  readonly runbook: string;
  readonly target: AlertResource;
  readonly mode: RunbookMode;
  readonly alertId: string;
  readonly reason: string;
}

/** Starts executions for alerts. */
export interface AlertRunbooks {
  /** Resolves to the execution's id, the same for the same alert; rejects where it cannot be started. */
  start(order: RunbookOrder): Promise<{ readonly executionId: string }>;
}

export interface AlertOrder {
  readonly alertId: string;
  readonly principal: string;
}

/** Thresholds and alerts of a broker. Rejections are BrokerErrors: those named here, METADATA_CONFLICT, OVERLOADED, SHUTTING_DOWN. */
export interface Alerts {
  /** Judges a sample. Synchronous; what follows from it is written down and told afterwards. */
  observe(sample: Sample, signals?: AlertSignals): void;
  /** Pending and firing first, newest first; from memory. */
  list(filter?: AlertFilter): readonly Alert[];
  find(alertId: string): Alert | null;
  /** Somebody looks after it: it escalates no more. NOT_FOUND, INVALID_ALERT_STATE of one that is not firing. */
  acknowledge(order: AlertOrder): Promise<Alert>;
  /** Nobody is told of this resource's alerts under this threshold before `until` (wall time, ms; in the past: told again), the next ones too. NOT_FOUND. */
  silence(order: AlertOrder & { readonly until: number }): Promise<Alert>;
  /** In the order of THRESHOLD_NAMES. */
  thresholds(): readonly Threshold[];
  threshold(name: ThresholdName): Threshold;
  /** Sets all of a threshold's settings; resolves when that is durable. */
  putThreshold(threshold: NewThreshold): Promise<Threshold>;
  /** Back to the default. */
  resetThreshold(name: ThresholdName): Promise<Threshold>;
  /** Calls back with what happened to alerts, pending ones apart, until the returned function is called. */
  onNews(listener: (news: AlertNews) => void): () => void;
  /** Calls back after any change of alerts or thresholds, at most once an observation. */
  onChanged(listener: () => void): () => void;
  /** Where executions are started from now on. Firing alerts of before that have none yet start theirs. */
  useRunbooks(runbooks: AlertRunbooks): void;
}

/** Bounds. */
export const MAX_WINDOW_SECONDS = 900;
export const MAX_FOR_SECONDS = 86_400;
export const MAX_ALERT_SAMPLES = 30;
/** Pending and firing of one threshold; beyond it resources that breach are not followed until others resolve. */
export const MAX_LIVE_ALERTS_PER_THRESHOLD = 250;
/** More of one threshold, for tenants that have fewer than so many: nobody's alerts crowd out those of others. */
export const RESERVED_LIVE_ALERTS = 50;
export const MAX_RESERVED_PER_TENANT = 5;
/** Resolved ones that are still shown. */
export const MAX_RESOLVED_ALERTS = 500;
