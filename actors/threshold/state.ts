// Owns what is known of all alerts of a broker, and how events change it.
// Refuses to own when they happen (decide.ts).
// Invariant: never changed in place; at most one live alert a series; a silence ends by itself.
import { type AlertEvent, type AlertVolatile, NO_PROGRESS, type Progress } from "./events.ts";
import {
  type Alert,
  type AlertResource,
  MAX_RESOLVED_ALERTS,
  type ThresholdName,
} from "./types.ts";

/** Silences kept; the ones that end first go beyond it. */
const MAX_SILENCES = 5_000;

/** Pending or firing. */
export interface LiveAlert {
  readonly alert: Alert;
  readonly progress: Progress;
}

export interface Silence {
  /** Wall time, ms. */
  readonly until: number;
  readonly by: string;
}

export interface AlertsState {
  /** By series. */
  readonly live: ReadonlyMap<string, LiveAlert>;
  /** Newest first. */
  readonly resolved: readonly Alert[];
  /** By series. */
  readonly silences: ReadonlyMap<string, Silence>;
}

export const NO_ALERTS: AlertsState = Object.freeze({
  live: new Map(),
  resolved: [],
  silences: new Map(),
});

/** What one alert at a time is about: a threshold and a resource. */
export function seriesOf(name: ThresholdName, { type, name: of, labels }: AlertResource): string {
  const told = Object.keys(labels).sort().map((label) => `${label}=${labels[label]}`);
  return [name, `${type}:${of}`, ...told].join(" ");
}

/** The live alert of that id, or null. */
export function liveById(state: AlertsState, alertId: string): LiveAlert | null {
  for (const live of state.live.values()) if (live.alert.alertId === alertId) return live;
  return null;
}

interface Draft {
  readonly live: Map<string, LiveAlert>;
  resolved: Alert[];
  readonly silences: Map<string, Silence>;
}

/** What `events` make of `state`, in their order. Total. */
export function evolveAlerts(
  state: AlertsState,
  events: readonly (AlertEvent | AlertVolatile)[],
): AlertsState {
  if (events.length === 0) return state;
  const draft: Draft = {
    live: new Map(state.live),
    resolved: [...state.resolved],
    silences: new Map(state.silences),
  };
  for (const event of events) evolve(draft, event);
  draft.resolved.length = Math.min(draft.resolved.length, MAX_RESOLVED_ALERTS);
  return draft;
}

function evolve(draft: Draft, event: AlertEvent | AlertVolatile): void {
  switch (event.type) {
    case "Followed":
      draft.live.set(event.series, { alert: event.alert, progress: event.progress });
      return;
    case "PendingDropped":
      draft.live.delete(event.series);
      return;
    case "AlertFired":
      return fire(draft, event.alert, event.at);
    case "AlertRecorded":
      return record(draft, event.alert);
    case "AlertResolved":
      return resolve(draft, event.alertId, event);
    case "AlertAcknowledged":
      return change(draft, event.alertId, {
        acknowledgedBy: event.by,
        acknowledgedAt: event.at,
      });
    case "AlertEscalated":
      return change(draft, event.alertId, { escalations: event.escalations });
    case "AlertExecutionStarted":
      return change(draft, event.alertId, {
        executionId: event.executionId,
        runbookProblem: null,
      });
    case "AlertExecutionRefused":
      return change(draft, event.alertId, { runbookProblem: event.problem });
    case "SeriesSilenced":
      return silence(draft, event);
    case "JournalCompleted":
      return;
  }
}

function fire(draft: Draft, alert: Alert, at: number): void {
  const series = seriesOf(alert.name, alert.resource);
  const before = draft.live.get(series);
  const isOther = before !== undefined && before.alert.alertId !== alert.alertId;
  if (isOther && before.alert.state === "firing") resolve(draft, before.alert.alertId, { at });
  // It may have come to an end meanwhile, where an event is done twice.
  if (draft.resolved.some(({ alertId }) => alertId === alert.alertId)) return;
  const progress = before === undefined || isOther ? NO_PROGRESS : before.progress;
  draft.live.set(series, { alert, progress });
}

function record(draft: Draft, alert: Alert): void {
  draft.resolved = draft.resolved.filter(({ alertId }) => alertId !== alert.alertId);
  if (alert.state === "firing") return fire(draft, alert, alert.since);
  const ended = alert.resolvedAt ?? 0;
  const place = draft.resolved.findIndex(({ resolvedAt }) => (resolvedAt ?? 0) < ended);
  draft.resolved.splice(place < 0 ? draft.resolved.length : place, 0, alert);
}

function resolve(
  draft: Draft,
  alertId: string,
  { at, value, reason }: { at: number; value?: number; reason?: string | null },
): void {
  for (const [series, { alert }] of draft.live) {
    if (alert.alertId !== alertId) continue;
    draft.live.delete(series);
    draft.resolved.unshift({
      ...alert,
      state: "resolved",
      resolvedAt: at,
      value: value ?? alert.value,
      // What it said while it fired is over.
      detail: reason ?? (alert.detail === null ? null : `was: ${alert.detail}`),
    });
  }
}

function change(draft: Draft, alertId: string, changes: Partial<Alert>): void {
  for (const [series, live] of draft.live) {
    if (live.alert.alertId !== alertId) continue;
    draft.live.set(series, { ...live, alert: { ...live.alert, ...changes } });
    return;
  }
  draft.resolved = draft.resolved.map((alert) =>
    alert.alertId === alertId ? { ...alert, ...changes } : alert
  );
}

function silence(
  { silences }: Draft,
  { series, until, by, at }: { series: string; until: number; by: string; at: number },
): void {
  silences.delete(series);
  if (until > at) silences.set(series, { until, by });
  if (silences.size <= MAX_SILENCES) return;
  const [first] = [...silences].sort(([, a], [, b]) => a.until - b.until);
  silences.delete(first![0]);
}
