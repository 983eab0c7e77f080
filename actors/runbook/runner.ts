// Owns carrying out one execution: step by step, within each step's time, from wherever the journal says it stands.
// Refuses to own decisions (decide.ts) and which executions there are (runbooks.ts).
// Invariant: a step's work is begun only when the journal says so, durably, and its end is written down before the next.
import { asBrokerError, BrokerError } from "../../storage/broker_error.ts";
import type { Clock, Timers } from "../../storage/ports.ts";
import { Attempts } from "./attempt.ts";
import type { RunbookCommand } from "./decide.ts";
import { type Move, nextMove, type Run, type RunState } from "./state.ts";
import type { Runbook, StepContext, StepError, StepResult, StepWork } from "./types.ts";

/** Between two looks of a step that is not there yet. */
const POLL_MS = 1_000;
/** Before something that failed and may pass is tried again. */
const RETRY_MS = 1_000;
/** How long an action waits for leave to begin, in mode approve. */
const LEAVE_TIMEOUT_MS = 30 * 60_000;
/** Of saying what a step would do. */
const PLAN_TIMEOUT_MS = 10_000;

export interface RunnerOptions {
  readonly executionId: string;
  /** One command to the execution's actor. */
  readonly ask: (command: RunbookCommand) => Promise<RunState>;
  /** What carries out the runbook of that name; null: not known yet. */
  readonly runbook: (name: string) => Runbook | null;
  readonly clock: Clock;
  readonly timers: Timers;
  /** Monotonic ms at which the execution was started; null: an earlier process did that. */
  readonly startedMs: number | null;
  report(event: { level: "warning"; message: string; error?: unknown }): void;
}

type StepMove = Exclude<Move, { type: "ended" }>;

export class ExecutionRunner {
  readonly #attempts: Attempts;
  #stopped = false;
  #wakeUp: (() => void) | null = null;
  /** How often others have changed the execution, and how often they stopped it: so that none of it is missed. */
  #changes = 0;
  #interrupts = 0;

  constructor(private readonly options: RunnerOptions) {
    this.#attempts = new Attempts(options.timers);
  }

  /** Resolves when there is nothing more to do for the execution, or when stopped. Never rejects. */
  async run(): Promise<void> {
    while (!this.#stopped) {
      try {
        if (await this.#move()) return;
      } catch (error) {
        const { retryable } = asBrokerError(error);
        if (!retryable || this.#stopped) {
          const message = `execution ${this.options.executionId} of a runbook cannot go on`;
          if (!retryable) this.options.report({ level: "warning", message, error });
          return;
        }
        await this.#sleep(RETRY_MS);
      }
    }
  }

  /** The execution has changed by somebody else's word: waits end, and so does work that is no longer wanted. */
  wake(isStopped: boolean): void {
    this.#changes++;
    if (isStopped) this.#interrupts++;
    if (isStopped) this.#attempts.interrupt();
    this.#wakeUp?.();
  }

  /** Starts nothing more; what is under way is told to stop, and is carried out once more after the next start. */
  stop(): void {
    this.#stopped = true;
    this.wake(true);
  }

  /** Does what comes next; true when there is nothing. */
  async #move(): Promise<boolean> {
    const { ask } = this.options;
    const interrupts = this.#interrupts;
    const { run } = await ask({ type: "Describe" });
    const move = run === null ? null : nextMove(run);
    if (run === null || move === null || move.type === "ended") return true;
    const runbook = this.options.runbook(run.name);
    if (runbook === null) return true;
    const { index } = move;
    const work = runbook.work[run.steps[index]!.name];
    if (work === undefined) {
      await this.#unknownStep(run, move);
    } else if (move.type === "skip") {
      const detail = await this.#plan(run, { index, work });
      await ask({ type: "Skip", index, detail, ...this.#elapsed() });
    } else if (move.type === "await") {
      await ask({ type: "Await", index });
    } else if (move.type === "wait") {
      await this.#wait(run, { index, work });
    } else if (move.type === "undo") {
      await this.#undo(run, { index, work });
    } else {
      await this.#carryOut(run, { index, work, interrupts });
    }
    return false;
  }

  async #unknownStep(run: Run, { type, index }: StepMove): Promise<void> {
    const detail = `this release has no step ${run.steps[index]!.name} in runbook ${run.name}`;
    const error = { code: "NOT_FOUND", detail };
    const { ask } = this.options;
    await (type === "undo"
      ? ask({ type: "Undone", index, detail: null, error, ...this.#elapsed() })
      : ask({ type: "Fail", index, error, ...this.#elapsed() }));
  }

  async #plan(run: Run, { index, work }: { index: number; work: StepWork }): Promise<string> {
    const { plan } = work;
    if (plan === undefined) return "not carried out: it was only to look";
    const planned = await this.#attempts.make(
      PLAN_TIMEOUT_MS,
      (signal) => plan(this.#context(run, index, signal)),
    );
    return planned.type === "settled"
      ? planned.value
      : "not carried out, and what it would do is not known";
  }

  /** Until somebody approves, it is given by itself, or the time is over. */
  async #wait(run: Run, { index, work }: { index: number; work: StepWork }): Promise<void> {
    const { clock } = this.options;
    const isStep = run.steps[index]!.kind === "approval";
    const timeoutMs = isStep ? run.definitions[index]!.timeoutMs : LEAVE_TIMEOUT_MS;
    const untilMs = clock.monotonic() + timeoutMs;
    const isGiven = isStep && run.mode === "auto";
    const isFollowed = isGiven || work.awaits !== undefined;
    let told = "";
    while (!this.#stopped) {
      const changes = this.#changes;
      if (!await this.#stillWaits(index)) return;
      const leftMs = untilMs - clock.monotonic();
      if (leftMs <= 0) return await this.#fail(index, timedOut("nobody approved", timeoutMs));
      if (isGiven) {
        const tried = await this.#attempts.make(
          leftMs,
          (signal) => work.run(this.#context(run, index, signal)),
        );
        if (tried.type === "settled") {
          if (tried.value.outcome !== "again") return await this.#end(index, tried.value);
          told = await this.#tell(index, told, tried.value.detail);
        }
      } else if (isFollowed || told === "") {
        told = await this.#tell(index, told, await this.#awaited(run, { index, work }));
      }
      await this.#sleep(isFollowed ? Math.min(POLL_MS, leftMs) : leftMs, changes);
    }
  }

  /** What somebody is asked to approve, in words: what the checks before found, and what comes of it. */
  async #awaited(run: Run, { index, work }: { index: number; work: StepWork }): Promise<string> {
    const { steps } = run;
    const { kind, title } = steps[index]!;
    const found = steps.slice(0, index)
      .filter(({ kind, state, detail }) => kind === "check" && state === "done" && detail !== null)
      .map(({ detail }) => detail!);
    const { awaits, plan } = work;
    const say = kind === "approval" ? awaits : plan;
    const said = say === undefined ? null : await this.#attempts.make(
      PLAN_TIMEOUT_MS,
      (signal) => say(this.#context(run, index, signal)),
    );
    const next = said?.type === "settled" ? said.value : title;
    return ["waits until somebody approves it", ...found, next].join("; ");
  }

  async #stillWaits(index: number): Promise<boolean> {
    const { run } = await this.options.ask({ type: "Describe" });
    const move = run === null ? null : nextMove(run);
    return move?.type === "wait" && move.index === index;
  }

  async #carryOut(
    run: Run,
    { index, work, interrupts }: { index: number; work: StepWork; interrupts: number },
  ): Promise<void> {
    const { ask, clock } = this.options;
    const { timeoutMs } = run.definitions[index]!;
    const untilMs = clock.monotonic() + timeoutMs;
    const begun = (await ask({ type: "Begin", index })).run;
    if (begun === null || nextMove(begun).type !== "carryOut") return;
    let told = "";
    while (!this.#stopped && this.#interrupts === interrupts) {
      const leftMs = Math.max(0, untilMs - clock.monotonic());
      const tried = await this.#attempts.make(
        leftMs,
        (signal) => work.run(this.#context(begun, index, signal)),
      );
      if (tried.type === "interrupted") return;
      const isOver = tried.type === "timedOut" || clock.monotonic() >= untilMs;
      if (tried.type === "settled" && tried.value.outcome !== "again") {
        // Who only looks keeps nobody from repairing what it found.
        const { holds, ...looked } = tried.value;
        const isOnlyLook = begun.mode === "observe" || holds === undefined;
        return await this.#end(index, isOnlyLook ? looked : { ...looked, holds });
      }
      if (tried.type === "failed" && !(tried.error.retryable && !isOver)) {
        return await this.#fail(index, errorOf(tried.error));
      }
      const detail = tried.type === "settled"
        ? tried.value.detail
        : tried.type === "failed"
        ? `${tried.error.message}: tried again`
        : told;
      if (isOver) return await this.#fail(index, timedOut(detail, timeoutMs));
      told = await this.#tell(index, told, detail);
      await this.#sleep(Math.min(POLL_MS, Math.max(0, untilMs - clock.monotonic())));
      if (!await this.#stillUnderWay(index)) return;
    }
  }

  async #stillUnderWay(index: number): Promise<boolean> {
    const { run } = await this.options.ask({ type: "Describe" });
    const move = run === null ? null : nextMove(run);
    return move?.type === "carryOut" && move.index === index;
  }

  async #undo(run: Run, { index, work }: { index: number; work: StepWork }): Promise<void> {
    const { ask, clock } = this.options;
    const { timeoutMs } = run.definitions[index]!;
    const untilMs = clock.monotonic() + timeoutMs;
    const undo = work.undo ?? (() => Promise.resolve("nothing to take back"));
    while (!this.#stopped) {
      const tried = await this.#attempts.make(
        Math.max(0, untilMs - clock.monotonic()),
        (signal) => undo(this.#context(run, index, signal)),
      );
      if (tried.type === "settled") {
        await ask({ type: "Undone", index, detail: tried.value, error: null, ...this.#elapsed() });
        return;
      }
      // Nobody may keep it from being taken back; only a shutdown puts it off.
      if (tried.type === "interrupted") continue;
      const isOver = tried.type === "timedOut" || clock.monotonic() >= untilMs;
      if (isOver || !tried.error.retryable) {
        const error = tried.type === "failed"
          ? errorOf(tried.error)
          : timedOut("not taken back", timeoutMs);
        await ask({ type: "Undone", index, detail: null, error, ...this.#elapsed() });
        return;
      }
      await this.#sleep(RETRY_MS);
    }
  }

  async #end(index: number, result: StepResult): Promise<void> {
    try {
      await this.options.ask({ type: "End", index, result, ...this.#elapsed() });
    } catch (error) {
      const known = asBrokerError(error);
      if (known.retryable && known.code !== "RUNBOOK_BUSY") throw error;
      await this.#fail(index, errorOf(known));
    }
  }

  async #fail(index: number, error: StepError): Promise<void> {
    await this.options.ask({ type: "Fail", index, error, ...this.#elapsed() });
  }

  /** Says what it waits for, once; resolves to what was said. */
  async #tell(index: number, told: string, detail: string): Promise<string> {
    if (detail === told) return told;
    await this.options.ask({ type: "Progress", index, detail });
    return detail;
  }

  #context(run: Run, index: number, signal: AbortSignal): StepContext {
    const { executionId, name, target, mode, parameters, facts, faultAt, startedAt, reason } = run;
    return {
      executionId,
      target,
      mode,
      parameters,
      facts,
      faultAt,
      startedAt,
      stepStartedAt: run.steps[index]!.startedAt ?? this.options.clock.now(),
      principal: `runbook:${name}`,
      reason: `runbook ${name}, execution ${executionId}: ${reason}`,
      signal,
    };
  }

  #elapsed(): { elapsedMs: number | null } {
    const { startedMs, clock } = this.options;
    return { elapsedMs: startedMs === null ? null : clock.monotonic() - startedMs };
  }

  /** Ends early when the execution is changed; at once when that has happened since `changes` were counted. */
  async #sleep(delayMs: number, changes = this.#changes): Promise<void> {
    if (this.#stopped || changes !== this.#changes) return;
    const woken = Promise.withResolvers<void>();
    const cancel = this.options.timers.after(delayMs, woken.resolve);
    this.#wakeUp = woken.resolve;
    await woken.promise;
    this.#wakeUp = null;
    cancel();
  }
}

function errorOf({ code, message }: BrokerError): StepError {
  return { code, detail: message };
}

function timedOut(detail: string, timeoutMs: number): StepError {
  const said = detail === "" ? "" : `: ${detail}`;
  return { code: "TIMED_OUT", detail: `not done within ${timeoutMs / 1_000} s${said}` };
}
