// Owns the state of one execution: its shape, its form in a snapshot, what comes next in it.
// Refuses to own how it changes (evolve.ts).
// Invariant: plain JSON, never changed in place; what comes next follows from the state alone, so that it is the same
// after a crash.
import type { Execution, StepDefinition } from "./types.ts";

/** An execution with what is not shown of it. */
export interface Run extends Execution {
  readonly definitions: readonly StepDefinition[];
  readonly cooldownMs: number;
  /** Why what was done is being taken back; null: it is not. */
  readonly undoing: string | null;
  /** Whose the target was as it began; left out: nobody's. */
  readonly tenant?: string;
}

export interface RunState {
  readonly executionId: string;
  readonly run: Run | null;
}

/** An execution of which nothing is known. */
export function initialRun(executionId: string): RunState {
  return { executionId, run: null };
}

export function hasEnded({ state }: Pick<Execution, "state">): boolean {
  return state === "verified" || state === "partial" || state === "aborted";
}

/** Whether an action of it was begun: something may have been changed. */
export function hasActed({ steps }: Pick<Execution, "steps">): boolean {
  return steps.some(isActed);
}

function isActed({ kind, startedAt, state }: Execution["steps"][number]): boolean {
  return kind === "action" && startedAt !== null && state !== "skipped" && state !== "waiting";
}

/**
 * What comes next. carryOut: the step's work. skip: only say what it would do. await: somebody must approve, and nobody was
 * asked yet. wait: for somebody who was asked. undo: take the step back.
 */
export type Move =
  | { readonly type: "ended" }
  | { readonly type: "carryOut" | "skip" | "await" | "wait" | "undo"; readonly index: number };

/** What comes next in `run`. */
export function nextMove(run: Run): Move {
  if (hasEnded(run)) return { type: "ended" };
  if (run.undoing !== null) {
    const index = nextUndo(run);
    return index < 0 ? { type: "ended" } : { type: "undo", index };
  }
  const index = currentStep(run);
  const step = run.steps[index];
  if (step === undefined) return { type: "ended" };
  if (run.mode === "observe" && step.kind !== "check") return { type: "skip", index };
  if (step.state === "waiting") return { type: "wait", index };
  if (needsApproval(run, index)) return { type: "await", index };
  return { type: "carryOut", index };
}

/** Index of the first step that has not come to an end; the number of steps when all have. */
export function currentStep({ steps }: Pick<Execution, "steps">): number {
  const index = steps.findIndex(({ state }) =>
    state === "pending" || state === "running" || state === "waiting"
  );
  return index < 0 ? steps.length : index;
}

function needsApproval(run: Run, index: number): boolean {
  const { kind, approvedBy } = run.steps[index]!;
  if (kind === "approval") return approvedBy === undefined;
  return kind === "action" && run.mode === "approve" && run.approvedBy === null;
}

/** The last action begun that can be taken back and was not tried to; -1 when there is none. */
export function nextUndo({ steps, definitions }: Run): number {
  return steps.findLastIndex((step, index) =>
    isActed(step) && definitions[index]!.undo !== undefined && !isUndoTried(step)
  );
}

function isUndoTried({ state, undone }: Execution["steps"][number]): boolean {
  return state === "undone" || undone !== undefined;
}

/** Whether all that was done is taken back. */
export function isAllUndone({ steps }: Pick<Execution, "steps">): boolean {
  return steps.every((step) => !isActed(step) || step.state === "undone");
}

/** The execution as it is shown. */
export function shownExecution(run: Run): Execution {
  const { definitions: _, cooldownMs: __, undoing: ___, tenant: ____, ...execution } = run;
  return execution;
}

/** Raised when the meaning of an encoded state changes; other snapshots are then as good as none. */
export const RUN_STATE_VERSION = 1;

/** Reads a state from a snapshot. Throws a plain Error for anything that is no state at all. */
export function decodeRunState(stored: unknown): RunState {
  const state = stored as RunState | null;
  if (typeof state !== "object" || state === null || typeof state.executionId !== "string") {
    throw new Error("a stored state of an execution is none");
  }
  return state;
}
