// Owns how alerts are shown: with the silence of their resource, in which order, and which of them a filter means.
// Refuses to own their life (decide.ts). Pure.
// Invariant: the order is total and does not depend on anything that changes while an alert lives.
import { type AlertsState, seriesOf } from "./state.ts";
import type { Alert, AlertFilter } from "./types.ts";

/** Every alert, live ones first, newest first. `now` is wall time, ms. */
export function alertViews(state: AlertsState, now: number): Alert[] {
  const live = [...state.live.values()].map(({ alert }) => shown(state, alert, now));
  live.sort((a, b) => b.since - a.since || (a.alertId < b.alertId ? -1 : 1));
  return [...live, ...state.resolved.map((alert) => shown(state, alert, now))];
}

/** The alert as it is shown. */
export function shown(state: AlertsState, alert: Alert, now: number): Alert {
  // An earlier release wrote down none.
  const { runbookProblem = null } = alert as Partial<Alert>;
  const told = { ...alert, runbookProblem };
  const silence = state.silences.get(seriesOf(alert.name, alert.resource));
  if (silence === undefined || silence.until <= now) return told;
  return { ...told, silencedUntil: silence.until, silencedBy: silence.by };
}

/** Whether the filter means the alert. */
export function isWanted(alert: Alert, filter: AlertFilter): boolean {
  const { state, severity, name, resource } = filter;
  const { type, name: of } = alert.resource;
  return (state === undefined || alert.state === state) &&
    (severity === undefined || alert.severity === severity) &&
    (name === undefined || alert.name === name) &&
    (resource === undefined || resource === of || resource === `${type}:${of}`);
}
