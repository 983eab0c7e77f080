// Owns what can happen to alerts: the journalled events, and what is known only while the process lives.
// Refuses to own what they do (evolve.ts) and when they happen (decide.ts).
// Invariant: a journalled event never changes its meaning, and doing it twice is as good as once: one whose append was not
// confirmed is written again.
import { type EventVersions, upcast } from "../group/events.ts";
import type { Alert } from "./types.ts";

/** `at` is wall time in ms. */
interface Journalled {
  readonly v: 1;
  readonly at: number;
}

/** The alert as it then was; another one of the same resource is resolved by it. */
export interface AlertFired extends Journalled {
  readonly type: "AlertFired";
  readonly alert: Alert;
}

export interface AlertResolved extends Journalled {
  readonly type: "AlertResolved";
  readonly alertId: string;
  readonly value: number;
  /** Why, when not because the value was clear; null: because of that. */
  readonly reason: string | null;
}

export interface AlertAcknowledged extends Journalled {
  readonly type: "AlertAcknowledged";
  readonly alertId: string;
  readonly by: string;
}

/** Holds for the alerts of one resource under one threshold. */
export interface SeriesSilenced extends Journalled {
  readonly type: "SeriesSilenced";
  readonly series: string;
  readonly until: number;
  readonly by: string;
}

export interface AlertEscalated extends Journalled {
  readonly type: "AlertEscalated";
  readonly alertId: string;
  readonly escalations: number;
}

export interface AlertExecutionStarted extends Journalled {
  readonly type: "AlertExecutionStarted";
  readonly alertId: string;
  readonly executionId: string;
}

/** Its runbook was not started; it may be tried again. */
export interface AlertExecutionRefused extends Journalled {
  readonly type: "AlertExecutionRefused";
  readonly alertId: string;
  /** Why, in words. */
  readonly problem: string;
}

/** All that the events before this one made of an alert. */
export interface AlertRecorded extends Journalled {
  readonly type: "AlertRecorded";
  readonly alert: Alert;
}

/** From `fromOffset` on, the journal holds all that is known. */
export interface JournalCompleted extends Journalled {
  readonly type: "JournalCompleted";
  readonly fromOffset: number;
}

export type AlertEvent =
  | AlertFired
  | AlertResolved
  | AlertAcknowledged
  | SeriesSilenced
  | AlertEscalated
  | AlertExecutionStarted
  | AlertExecutionRefused
  | AlertRecorded
  | JournalCompleted;

/** How far a live alert has come; monotonic ms of this process. */
export interface Progress {
  /** Since when the value is above the limit; of a firing alert of an earlier process: unknown. */
  readonly aboveSince: number | null;
  /** Since when a firing alert is clear. */
  readonly clearSince: number | null;
  /** When somebody was told last; null: nobody was yet. */
  readonly toldAt: number | null;
  /** Samples seen while pending, and of how many one is kept. */
  readonly seen: number;
  readonly stride: number;
}

export const NO_PROGRESS: Progress = Object.freeze({
  aboveSince: null,
  clearSince: null,
  toldAt: null,
  seen: 0,
  stride: 1,
});

/** Known only while the process lives: a pending alert begins anew after a restart. */
export type AlertVolatile =
  | {
    readonly type: "Followed";
    readonly series: string;
    readonly alert: Alert;
    readonly progress: Progress;
  }
  | { readonly type: "PendingDropped"; readonly series: string };

const CURRENT_VERSIONS: Readonly<Record<AlertEvent["type"], number>> = Object.freeze({
  AlertFired: 1,
  AlertResolved: 1,
  AlertAcknowledged: 1,
  SeriesSilenced: 1,
  AlertEscalated: 1,
  AlertExecutionStarted: 1,
  AlertExecutionRefused: 1,
  AlertRecorded: 1,
  JournalCompleted: 1,
});

const ALERT_EVENT_VERSIONS: EventVersions = { current: CURRENT_VERSIONS, upcasters: new Map() };

/** The event that `stored` (parsed JSON of the journal) is, in the version of today. Throws a plain Error when it is none. */
export function upcastAlertEvent(stored: unknown): AlertEvent {
  return upcast(stored, ALERT_EVENT_VERSIONS) as unknown as AlertEvent;
}
