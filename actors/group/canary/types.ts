// Owns the vocabulary of canaries: a version of a group's consumers that gets a share of its partitions on trial.
// Refuses to own any decision, and the state (state.ts).
// Invariant: plain JSON data. Times are wall ms, rates are shares of 1.
import type { TopicPartition } from "../../broker.ts";
import type { PartitionMove } from "../types.ts";

/** When a canary is worse than the rest. */
export interface CanaryRules {
  /** What lies further back counts no more. */
  readonly windowMs: number;
  /** Messages that each side must have answered in the window before their rates are compared. */
  readonly minObservations: number;
  /** Worse is a rate of at least so many times that of the rest … */
  readonly factor: number;
  /** … that is at least so much above it, as a share of 1. */
  readonly margin: number;
  /** So many sessions of the canary that ended without a word are worse too, unless the rest loses as many; 0: never. */
  readonly maxLostSessions: number;
}

export const DEFAULT_CANARY_RULES: CanaryRules = Object.freeze({
  windowMs: 600_000,
  minObservations: 100,
  factor: 2,
  margin: 0.02,
  maxLostSessions: 5,
});

/**
 * Errors by command. All: UNKNOWN_GROUP. RemoveCanary, PromoteCanary, DescribeCanary: UNKNOWN_CANARY. PromoteCanary:
 * INVALID_CANARY_STATE (it is not running). SetCanary: INVALID_REQUEST.
 */
export type CanaryCommand =
  /** Begins a canary, or changes the one that runs; what was observed of the same version while it runs still counts. */
  | {
    readonly type: "SetCanary";
    readonly group: string;
    readonly version: string;
    /** 0 to 100. */
    readonly percent: number;
    readonly rules: CanaryRules;
    readonly reason: string | null;
    readonly principal: string;
    /** Nothing happens, and the answer is the same. */
    readonly dryRun: boolean;
  }
  /** No version is held back or favoured any more. */
  | {
    readonly type: "RemoveCanary";
    readonly group: string;
    readonly reason: string | null;
    readonly principal: string;
  }
  /** The trial is over, well: all versions share evenly. */
  | {
    readonly type: "PromoteCanary";
    readonly group: string;
    readonly reason: string | null;
    readonly principal: string;
  }
  | { readonly type: "DescribeCanary"; readonly group: string };

export type CanaryStatus = "running" | "withdrawn" | "promoted";

/** What became of the messages of one side. */
export interface SideCounts {
  /** Messages whose first delivery was answered: committed past, or nacked. */
  readonly answered: number;
  /** Of these, those that were nacked. */
  readonly nacked: number;
  readonly deadLettered: number;
  /** Sessions that ended without a leave: timed out, or a socket that did not come back. */
  readonly lostSessions: number;
}

export interface SideRates extends SideCounts {
  /** Null: nothing was answered. */
  readonly nackRate: number | null;
  readonly deadLetterRate: number | null;
}

export type CanaryMeasure = "nacks" | "dead letters" | "lost sessions";

/** `undecided`: there is too little to compare. `worse`: it is, or was, taken out for it. */
export interface CanaryVerdict {
  readonly state: "undecided" | "ok" | "worse";
  /** What it is worse in. */
  readonly measure: CanaryMeasure | null;
  /** For people. */
  readonly text: string;
}

export interface CanaryDescription {
  readonly version: string;
  readonly percent: number;
  readonly by: "partitions";
  readonly state: CanaryStatus;
  readonly rules: CanaryRules;
  /** When this version's trial began. */
  readonly since: number;
  /** When it was last changed, by whom, and why. */
  readonly changedAt: number;
  readonly changedBy: string;
  readonly reason: string | null;
  /** How many members have this version. */
  readonly members: number;
  /** What these get when partitions that move have moved. */
  readonly partitions: readonly TopicPartition[];
  /** Of so many partitions of the group. */
  readonly ofPartitions: number;
  /** What is not as `percent` says, and why; null: nothing. */
  readonly note: string | null;
  /** Over the window; as they were when it was taken out or promoted. */
  readonly canary: SideRates;
  readonly rest: SideRates;
  readonly verdict: CanaryVerdict;
}

export interface CanaryChange {
  readonly dryRun: boolean;
  readonly canary: CanaryDescription;
  /** Partitions that change hands because of it. */
  readonly moved: readonly PartitionMove[];
}

export type CanaryReply<C extends CanaryCommand> = C["type"] extends "SetCanary" ? CanaryChange
  : C["type"] extends "RemoveCanary" ? null
  : CanaryDescription;
