// Owns what may be done to an execution: that its steps follow each other, who lets it go on, how it ends.
// Refuses to own carrying out (runner.ts), who else repairs the same (admission.ts), time and the journal.
// Invariant: pure; a step is begun when the one before is done, ends at most once, and an action is begun only where the
// mode lets it: never in observe, in approve only once somebody has approved.
import { BrokerError } from "../../storage/broker_error.ts";
import type { At, Decision } from "../runtime/keyed_decider.ts";
import type { ExecutionStarted, RunbookEvent, StepProgressed } from "./events.ts";
import { evolveRun } from "./evolve.ts";
import {
  currentStep,
  hasActed,
  hasEnded,
  isAllUndone,
  nextMove,
  nextUndo,
  type Run,
  type RunState,
} from "./state.ts";
import { MAX_DETAIL_CHARS, MAX_FACTS_BYTES, type StepError, type StepResult } from "./types.ts";

interface Order {
  readonly principal: string;
  readonly reason: string | null;
}

/** Ms since the execution was started, by the clock that does not jump; null: it was started by an earlier process. */
type Elapsed = { readonly elapsedMs: number | null };

/**
 * Errors: NOT_FOUND of all but Start; Approve, Abort INVALID_EXECUTION_STATE; End INVALID_REQUEST (facts beyond their
 * bound). What comes too late is ignored. The reply is always the state that the command left behind.
 */
export type RunbookCommand =
  | Omit<ExecutionStarted, "v" | "at" | "type"> & { readonly type: "Start" }
  | { readonly type: "Begin"; readonly index: number }
  | { readonly type: "Await"; readonly index: number }
  | { readonly type: "Progress"; readonly index: number; readonly detail: string }
  | Elapsed & { readonly type: "End"; readonly index: number; readonly result: StepResult }
  | Elapsed & { readonly type: "Skip"; readonly index: number; readonly detail: string }
  | Elapsed & { readonly type: "Fail"; readonly index: number; readonly error: StepError }
  | Elapsed & {
    readonly type: "Undone";
    readonly index: number;
    readonly detail: string | null;
    readonly error: StepError | null;
  }
  | Order & { readonly type: "Approve"; readonly step: string | null }
  /** Of what only waits for approval: nobody needs it any more. */
  | Elapsed & { readonly type: "Withdraw"; readonly why: string }
  | Order & Elapsed & { readonly type: "Abort" }
  | { readonly type: "Describe" }
  | { readonly type: "Forget" }
  /** Writes the whole state down, so that no event before it is needed any more. Made by the journal's retention. */
  | { readonly type: "RecordState" }
  /** Says that the journal holds all there is from `fromOffset` on. Sent to no execution, by the journal's retention. */
  | { readonly type: "CompleteJournal"; readonly fromOffset: number }
  | { readonly type: "Recovered" };

/** What leaves an execution's actor: that it has changed, and whether somebody must carry it out. */
export interface RunbookEffect {
  readonly type: "changed";
  readonly run: Run;
}

export type RunbookDecision = Decision<RunbookEvent, StepProgressed, RunbookEffect>;

type Now = { readonly v: 1; readonly at: number };
export const MANUAL = "partial: manual intervention required";

/** What `command` leads to in `state`. Throws BrokerError to refuse it. */
export function decideRun(
  state: RunState,
  command: RunbookCommand,
  { at }: { readonly at: At },
): RunbookDecision {
  const now = { v: 1, at: at.wall } as const;
  const { executionId } = state;
  switch (command.type) {
    case "Recovered":
      return { ...nothing(state), effects: changedEffect(state) };
    case "CompleteJournal":
      return recorded(state, { ...now, type: "JournalCompleted", fromOffset: command.fromOffset });
    case "RecordState":
      if (state.run === null) return nothing(state);
      return recorded(state, { ...now, type: "ExecutionRecorded", state });
    case "Start": {
      if (state.run !== null) return nothing(state);
      return decided(state, [{ ...now, ...command, type: "ExecutionStarted" }]);
    }
  }
  const { run } = state;
  if (run === null) throw unknownExecution(executionId);
  switch (command.type) {
    case "Describe":
      return nothing(state);
    case "Forget":
      if (!hasEnded(run)) return nothing(state);
      return decided(state, [{ ...now, type: "ExecutionForgotten" }]);
    case "Approve":
      return decided(state, approve(run, command, now));
    case "Abort":
      return decided(state, abort(run, command, now));
    case "Withdraw":
      return decided(state, withdraw(run, command, now));
    case "Undone":
      return decided(state, undone(state, run, { command, now }));
    case "Progress":
      return progress(state, run, command);
    default:
      return decided(state, step(state, run, { command, now }));
  }
}

type StepCommand = Extract<
  RunbookCommand,
  { type: "Begin" | "Await" | "End" | "Skip" | "Fail" }
>;

function step(
  state: RunState,
  run: Run,
  { command, now }: { command: StepCommand; now: Now },
): RunbookEvent[] {
  const { index } = command;
  const move = nextMove(run);
  // Of a step that has ended meanwhile, or was taken from whoever carries it out.
  if (move.type === "ended" || move.type === "undo" || move.index !== index) return [];
  switch (command.type) {
    case "Begin":
      if (move.type !== "carryOut" || run.steps[index]!.state === "running") return [];
      return [{ ...now, type: "StepStarted", index }];
    case "Await":
      return move.type === "await" ? [{ ...now, type: "ApprovalAwaited", index }] : [];
    case "Skip": {
      if (move.type !== "skip") return [];
      const detail = bounded(command.detail);
      return ending(state, [{ ...now, type: "StepSkipped", index, detail }], { command, now });
    }
    case "Fail":
      return failed(run, { ...command, now });
    case "End":
      if (move.type !== "carryOut" && move.type !== "wait") return [];
      return ended(state, run, { command, now });
  }
}

function ended(
  state: RunState,
  run: Run,
  { command, now }: { command: Extract<RunbookCommand, { type: "End" }>; now: Now },
): RunbookEvent[] {
  const { index, result: { outcome, facts = {}, holds = [], rpo = null, served } } = command;
  // Whoever carries it out asks again by itself.
  if (outcome === "again") return [];
  refuseTooManyFacts(run, facts);
  const detail = bounded(command.result.detail);
  const done: RunbookEvent[] = [
    {
      ...now,
      type: "StepDone",
      index,
      detail,
      facts,
      holds,
      rpo,
      ...(served && { servedAfterMs: sinceFault(run, { ...command, now }) }),
    },
  ];
  if (outcome === "nothing") {
    return stopped(run, `nothing to repair: ${detail}`, { events: done, ...command, now });
  }
  if (outcome === "manual") {
    return [...done, end(run, ["partial", `${MANUAL}: ${detail}`], { ...command, now })];
  }
  return ending(state, done, { command, now });
}

/** `events`, and the end when they were the last step's. */
function ending(
  state: RunState,
  events: readonly RunbookEvent[],
  { command, now }: { command: Elapsed; now: Now },
): RunbookEvent[] {
  const run = events.reduce<RunState>(evolveRun, state).run!;
  if (currentStep(run) < run.steps.length) return [...events];
  if (run.mode === "observe") {
    const outcome = "partial: observed, nothing was changed";
    return [...events, end(run, ["partial", outcome], { ...command, now })];
  }
  return [...events, end(run, ["verified", "verified"], { ...command, now })];
}

function failed(
  run: Run,
  { index, error, now, elapsedMs }: Elapsed & { index: number; error: StepError; now: Now },
): RunbookEvent[] {
  const { kind, title } = run.steps[index]!;
  const events: RunbookEvent[] = [{ ...now, type: "StepFailed", index, error }];
  const why = bounded(`${title}: ${error.detail}`);
  if (kind === "verify") {
    return [...events, end(run, ["partial", `${MANUAL}: ${why}`], { elapsedMs, now })];
  }
  return stopped(run, why, { events, elapsedMs, now });
}

function abort(
  run: Run,
  { principal, reason, elapsedMs }: Order & Elapsed,
  now: Now,
): RunbookEvent[] {
  if (hasEnded(run)) throw wrongState(run, "aborted: it has ended");
  if (run.undoing !== null) return [];
  const because = reason === null ? "" : `: ${reason}`;
  return stopped(run, bounded(`aborted by ${principal}${because}`), {
    events: [],
    elapsedMs,
    now,
  });
}

function withdraw(
  run: Run,
  { why, elapsedMs }: Elapsed & { why: string },
  now: Now,
): RunbookEvent[] {
  const { type } = nextMove(run);
  // What has begun to change something is nobody's to drop half way.
  if ((type !== "wait" && type !== "await") || hasActed(run)) return [];
  return stopped(run, bounded(why), { events: [], elapsedMs, now });
}

/** Goes no further: ends, or takes back what was done first. */
function stopped(
  run: Run,
  why: string,
  { events, elapsedMs, now }: Elapsed & { events: readonly RunbookEvent[]; now: Now },
): RunbookEvent[] {
  const began: RunbookEvent = { ...now, type: "UndoBegan", why };
  const state = { executionId: run.executionId, run };
  const after = [...events, began].reduce<RunState>(evolveRun, state).run!;
  if (nextUndo(after) >= 0) return [...events, began];
  return [...events, began, endOfUndo(after, why, { elapsedMs, now })];
}

function undone(
  state: RunState,
  run: Run,
  { command, now }: { command: Extract<RunbookCommand, { type: "Undone" }>; now: Now },
): RunbookEvent[] {
  const { index, detail, error, elapsedMs } = command;
  if (hasEnded(run) || run.undoing === null || nextUndo(run) !== index) return [];
  const event: RunbookEvent = { ...now, type: "StepUndone", index, detail, error };
  const after = evolveRun(state, event).run!;
  if (nextUndo(after) >= 0) return [event];
  return [event, endOfUndo(after, run.undoing, { elapsedMs, now })];
}

/** Nothing more can be taken back: as it was before, or somebody has to see to the rest. */
function endOfUndo(run: Run, why: string, timing: Elapsed & { now: Now }): RunbookEvent {
  if (!isAllUndone(run)) {
    const left = run.steps.filter(({ kind, state, startedAt }) =>
      kind === "action" && startedAt !== null && (state === "done" || state === "failed")
    ).map(({ title }) => title);
    const outcome = `${MANUAL}: ${why}; not taken back: ${left.join(", ")}`;
    return end(run, ["partial", bounded(outcome)], timing);
  }
  const tail = hasActed(run) ? "; what was done was taken back" : "";
  return end(run, ["aborted", `aborted: ${why.replace(/^aborted /, "")}${tail}`], timing);
}

function end(
  run: Run,
  [state, outcome]: readonly ["verified" | "partial" | "aborted", string],
  { elapsedMs, now }: Elapsed & { now: Now },
): RunbookEvent {
  const sinceFaultMs = sinceFault(run, { elapsedMs, now });
  return { ...now, type: "ExecutionEnded", state, outcome, elapsedMs: sinceFaultMs };
}

function sinceFault(run: Run, { elapsedMs, now }: Elapsed & { now: Now }): number {
  const until = Math.max(0, run.startedAt - run.faultAt);
  return Math.round(until + Math.max(0, elapsedMs ?? now.at - run.startedAt));
}

function approve(
  run: Run,
  { principal, reason, step }: Order & { step: string | null },
  now: Now,
): RunbookEvent[] {
  const move = nextMove(run);
  // It may not have been asked for yet where it is about to be.
  if (move.type !== "wait" && move.type !== "await") {
    throw wrongState(run, "approved: it does not wait");
  }
  const { index } = move;
  const waiting = run.steps[index]!.name;
  if (step !== null && step !== waiting) throw otherStep(run, { step, waiting });
  const approved: RunbookEvent = {
    ...now,
    type: "ExecutionApproved",
    index,
    by: principal,
    reason,
  };
  const state = { executionId: run.executionId, run };
  return ending(state, [approved], { command: { elapsedMs: null }, now });
}

function progress(
  state: RunState,
  run: Run,
  { index, detail }: { index: number; detail: string },
): RunbookDecision {
  const { state: of } = run.steps[index] ?? {};
  if (of !== "running" && of !== "waiting") return nothing(state);
  const event = { type: "StepProgressed" as const, index, detail: bounded(detail) };
  const after = evolveRun(state, event);
  return { ...nothing(after), volatile: [event], effects: changedEffect(after) };
}

function refuseTooManyFacts(run: Run, facts: StepResult["facts"]): void {
  const bytes = JSON.stringify({ ...run.facts, ...facts }).length;
  if (bytes <= MAX_FACTS_BYTES) return;
  throw new BrokerError("INVALID_REQUEST", `a step found ${bytes} bytes of facts`, {
    maxFactsBytes: MAX_FACTS_BYTES,
  });
}

function decided(state: RunState, events: readonly RunbookEvent[]): RunbookDecision {
  const after = events.reduce<RunState>(evolveRun, state);
  return {
    events,
    volatile: [],
    effects: events.length === 0 ? [] : changedEffect(after),
    reply: after,
  };
}

function recorded(state: RunState, event: RunbookEvent): RunbookDecision {
  return { events: [event], volatile: [], effects: [], reply: state, large: true };
}

function nothing(state: RunState): RunbookDecision {
  return { events: [], volatile: [], effects: [], reply: state };
}

function changedEffect({ run }: RunState): RunbookEffect[] {
  return run === null ? [] : [{ type: "changed", run }];
}

function bounded(text: string): string {
  return text.length <= MAX_DETAIL_CHARS ? text : `${text.slice(0, MAX_DETAIL_CHARS - 1)}…`;
}

function wrongState({ executionId, state }: Run, what: string): BrokerError {
  const message = `execution ${executionId} is ${state} and cannot be ${what}`;
  return new BrokerError("INVALID_EXECUTION_STATE", message, { executionId, state });
}

function otherStep(
  { executionId, state }: Run,
  { step, waiting }: { step: string; waiting: string },
): BrokerError {
  const message = `execution ${executionId} waits for approval of step ${waiting}, not of ${step}`;
  return new BrokerError("INVALID_EXECUTION_STATE", message, { executionId, state, step: waiting });
}

/** NOT_FOUND, to be thrown. */
export function unknownExecution(executionId: string): BrokerError {
  return new BrokerError("NOT_FOUND", `there is no execution ${executionId}`, { executionId });
}
