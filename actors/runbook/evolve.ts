// Owns what each event does to an execution.
// Refuses to own whether it may happen (decide.ts).
// Invariant: total and pure; a step that has come to an end never runs again.
import type { ExecutionStarted, RunbookEvent, StepDone, StepProgressed } from "./events.ts";
import { decodeRunState, initialRun, type Run, type RunState } from "./state.ts";
import type { ExecutionStep } from "./types.ts";

/** Those that change an execution that is there. */
type StepEvent = Exclude<
  RunbookEvent | StepProgressed,
  { type: "ExecutionStarted" | "ExecutionForgotten" | "ExecutionRecorded" | "JournalCompleted" }
>;

/** The state after `event`. */
export function evolveRun(state: RunState, event: RunbookEvent | StepProgressed): RunState {
  switch (event.type) {
    case "ExecutionForgotten":
      return initialRun(state.executionId);
    case "ExecutionStarted":
      return { ...state, run: started(state.executionId, event) };
    case "ExecutionRecorded":
      return decodeRunState(event.state);
    case "JournalCompleted":
      return state;
    default:
      return state.run === null ? state : { ...state, run: evolved(state.run, event) };
  }
}

function started(executionId: string, event: ExecutionStarted): Run {
  const { at, name, target, mode, reason, by, alertId, faultAt, parameters } = event;
  return {
    executionId,
    name,
    target,
    mode,
    state: "running",
    alertId,
    startedAt: at,
    endedAt: null,
    steps: event.steps.map(({ name, title, kind }) => ({
      name,
      title,
      kind,
      state: "pending",
      startedAt: null,
      endedAt: null,
      detail: null,
    })),
    parameters,
    facts: {},
    holds: event.holds ?? (target.type === "none" ? [] : [`${target.type}:${target.name}`]),
    faultAt,
    rtoMs: null,
    rpo: null,
    targets: event.targets,
    outcome: null,
    reason,
    by,
    approvedBy: null,
    definitions: event.steps,
    cooldownMs: event.cooldownMs,
    undoing: null,
    ...(event.tenant === undefined ? {} : { tenant: event.tenant }),
  };
}

function evolved(run: Run, event: StepEvent): Run {
  switch (event.type) {
    case "StepStarted":
      return changed({ ...run, state: "running" }, event.index, (step) => ({
        state: "running",
        startedAt: step.startedAt ?? event.at,
      }));
    case "ApprovalAwaited":
      return changed({ ...run, state: "waiting" }, event.index, () => ({
        state: "waiting",
        // An action has not begun by waiting for leave to begin.
        startedAt: event.at,
      }));
    case "ExecutionApproved":
      return approved(run, event);
    case "StepProgressed":
      return changed(run, event.index, () => ({ detail: event.detail }));
    case "StepDone":
      return done(run, event);
    case "StepSkipped":
      return changed(run, event.index, () => ({
        state: "skipped",
        startedAt: event.at,
        endedAt: event.at,
        detail: event.detail,
      }));
    case "StepFailed":
      return changed(run, event.index, (step) => ({
        state: "failed",
        // What only waited for leave to begin has not begun.
        startedAt: step.state === "waiting" ? null : step.startedAt,
        endedAt: event.at,
        error: event.error,
      }));
    case "UndoBegan":
      return undoing(run, event);
    case "StepUndone":
      return changed(run, event.index, () => ({
        state: event.error === null ? "undone" : "failed",
        undone: event.error === null ? event.detail ?? "" : event.error.detail,
      }));
    case "ExecutionEnded":
      return {
        ...run,
        state: event.state,
        outcome: event.outcome,
        endedAt: event.at,
        rtoMs: run.rtoMs ?? (event.state === "verified" ? event.elapsedMs : null),
      };
  }
}

function approved(run: Run, { index, by, at }: { index: number; by: string; at: number }): Run {
  const isStep = run.steps[index]?.kind === "approval";
  return changed(
    { ...run, state: "running", approvedBy: run.approvedBy ?? by },
    index,
    () => ({
      approvedBy: by,
      ...(isStep
        ? { state: "done", endedAt: at, detail: `approved by ${by}` }
        : { state: "pending", startedAt: null, detail: null }),
    }),
  );
}

function done(run: Run, event: StepDone): Run {
  const { index, at, detail, facts, holds, rpo, servedAfterMs } = event;
  return changed(
    {
      ...run,
      state: "running",
      facts: { ...run.facts, ...facts },
      holds: [...new Set([...run.holds, ...holds])],
      rpo: rpo ?? run.rpo,
      rtoMs: servedAfterMs ?? run.rtoMs,
    },
    index,
    (step) => ({ state: "done", startedAt: step.startedAt ?? at, endedAt: at, detail }),
  );
}

/** What was under way was begun: it is taken back too. What only waited was not. */
function undoing(run: Run, { why, at }: { why: string; at: number }): Run {
  const steps = run.steps.map((step): ExecutionStep => {
    if (step.state === "waiting") return { ...step, state: "skipped", endedAt: at };
    return step.state === "running" ? { ...step, state: "failed", endedAt: at } : step;
  });
  return { ...run, steps, state: "running", undoing: why };
}

function changed(
  run: Run,
  index: number,
  change: (step: ExecutionStep) => Partial<ExecutionStep>,
): Run {
  const steps = run.steps.map((step, at) => at === index ? { ...step, ...change(step) } : step);
  return { ...run, steps };
}
