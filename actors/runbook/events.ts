// Owns what can happen to an execution of a runbook: the journalled events, which are also its record.
// Refuses to own what they do (evolve.ts) and when they happen (decide.ts).
// Invariant: a journalled event never changes its meaning; a new meaning is a new version with an upcast from the old.
import { type EventVersions, upcast } from "../group/events.ts";
import type {
  Facts,
  RecoveryPoint,
  RunbookDefinition,
  RunbookMode,
  RunbookTarget,
  StepDefinition,
  StepError,
} from "./types.ts";

/** `at` is wall time in ms. */
interface Journalled {
  readonly v: 1;
  readonly at: number;
}

/** The steps are those that the runbook had then: a later release may have others. */
export interface ExecutionStarted extends Journalled {
  readonly type: "ExecutionStarted";
  readonly name: string;
  readonly target: RunbookTarget;
  readonly mode: RunbookMode;
  readonly reason: string;
  readonly by: string;
  readonly alertId: string | null;
  readonly faultAt: number;
  readonly parameters: Readonly<Record<string, string>>;
  readonly steps: readonly StepDefinition[];
  readonly cooldownMs: number;
  /** Left out by older releases: its target. */
  readonly holds?: readonly string[];
  readonly targets: RunbookDefinition["targets"];
  /** Whose the target is; left out: nobody's, or by an older release. */
  readonly tenant?: string;
}

/** What it does may have been done from here on. */
export interface StepStarted extends Journalled {
  readonly type: "StepStarted";
  readonly index: number;
}

/** Somebody has to say that it may go on with this step. */
export interface ApprovalAwaited extends Journalled {
  readonly type: "ApprovalAwaited";
  readonly index: number;
}

export interface ExecutionApproved extends Journalled {
  readonly type: "ExecutionApproved";
  readonly index: number;
  readonly by: string;
  readonly reason: string | null;
}

export interface StepDone extends Journalled {
  readonly type: "StepDone";
  readonly index: number;
  readonly detail: string;
  readonly facts: Facts;
  readonly holds: readonly string[];
  readonly rpo: RecoveryPoint | null;
  /** Users were served again, so long after the fault. */
  readonly servedAfterMs?: number;
}

/** It was not carried out, and `detail` says what it would have done. */
export interface StepSkipped extends Journalled {
  readonly type: "StepSkipped";
  readonly index: number;
  readonly detail: string;
}

export interface StepFailed extends Journalled {
  readonly type: "StepFailed";
  readonly index: number;
  readonly error: StepError;
}

/** Nothing goes on from here: what was done is taken back as far as that is possible. */
export interface UndoBegan extends Journalled {
  readonly type: "UndoBegan";
  readonly why: string;
}

/** With an error: it could not be taken back. */
export interface StepUndone extends Journalled {
  readonly type: "StepUndone";
  readonly index: number;
  readonly detail: string | null;
  readonly error: StepError | null;
}

export interface ExecutionEnded extends Journalled {
  readonly type: "ExecutionEnded";
  readonly state: "verified" | "partial" | "aborted";
  readonly outcome: string;
  /** From the fault until now. */
  readonly elapsedMs: number;
}

/** It ended long ago, and newer ones need the room. */
export interface ExecutionForgotten extends Journalled {
  readonly type: "ExecutionForgotten";
}

/** All that the events before this one amount to: a state as `decodeRunState` reads it. */
export interface ExecutionRecorded extends Journalled {
  readonly type: "ExecutionRecorded";
  readonly state: unknown;
}

/** Of no execution: from `fromOffset` on, the journal holds all that is known. */
export interface JournalCompleted extends Journalled {
  readonly type: "JournalCompleted";
  readonly fromOffset: number;
}

export type RunbookEvent =
  | ExecutionStarted
  | StepStarted
  | ApprovalAwaited
  | ExecutionApproved
  | StepDone
  | StepSkipped
  | StepFailed
  | UndoBegan
  | StepUndone
  | ExecutionEnded
  | ExecutionForgotten
  | ExecutionRecorded
  | JournalCompleted;

/** Known only while the process lives: how far the step under way is. */
export interface StepProgressed {
  readonly type: "StepProgressed";
  readonly index: number;
  readonly detail: string;
}

const CURRENT_VERSIONS: Readonly<Record<RunbookEvent["type"], number>> = Object.freeze({
  ExecutionStarted: 1,
  StepStarted: 1,
  ApprovalAwaited: 1,
  ExecutionApproved: 1,
  StepDone: 1,
  StepSkipped: 1,
  StepFailed: 1,
  UndoBegan: 1,
  StepUndone: 1,
  ExecutionEnded: 1,
  ExecutionForgotten: 1,
  ExecutionRecorded: 1,
  JournalCompleted: 1,
});

const RUNBOOK_EVENT_VERSIONS: EventVersions = { current: CURRENT_VERSIONS, upcasters: new Map() };

/** The event that `stored` (parsed JSON of the journal) is, in the version of today. Throws a plain Error when it is none. */
export function upcastRunbookEvent(stored: unknown): RunbookEvent {
  return upcast(stored, RUNBOOK_EVENT_VERSIONS) as unknown as RunbookEvent;
}
