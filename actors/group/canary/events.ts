// Owns what can happen to the canary of a group: the journalled events.
// Refuses to own what they do (evolve.ts) and when they happen (decide.ts, withdraw.ts).
// Invariant: a journalled event never changes its meaning; see ../events.ts.
import type { CanaryMeasure, CanaryRules, SideCounts } from "./types.ts";

/** `at` is wall time in ms. */
interface Journalled {
  readonly v: 1;
  readonly at: number;
  readonly tenant?: string;
}

export interface CanarySet extends Journalled {
  readonly type: "CanarySet";
  readonly version: string;
  readonly percent: number;
  readonly rules: CanaryRules;
  readonly reason: string | null;
  readonly principal: string;
}

export interface CanaryRemoved extends Journalled {
  readonly type: "CanaryRemoved";
  readonly version: string;
  readonly reason: string | null;
  readonly principal: string;
}

export interface CanaryPromoted extends Journalled {
  readonly type: "CanaryPromoted";
  readonly version: string;
  readonly reason: string | null;
  readonly principal: string;
}

/** Nobody asked for it: the canary was worse than the rest. */
export interface CanaryWithdrawn extends Journalled {
  readonly type: "CanaryWithdrawn";
  readonly version: string;
  readonly measure: CanaryMeasure;
  readonly reason: string;
  /** What both had done in the window. */
  readonly canary: SideCounts;
  readonly rest: SideCounts;
}

export type CanaryEvent = CanarySet | CanaryRemoved | CanaryPromoted | CanaryWithdrawn;

/** The versions written today. */
export const CANARY_EVENT_VERSIONS: Readonly<Record<CanaryEvent["type"], number>> = Object.freeze({
  CanarySet: 1,
  CanaryRemoved: 1,
  CanaryPromoted: 1,
  CanaryWithdrawn: 1,
});
