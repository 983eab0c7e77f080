// Owns the executions that this process carries out: who carries each out, and for how long it has been under way here.
// Refuses to own carrying one out (runner.ts) and whether it may take hold of something (beginnings.ts).
// Invariant: at most one runner an execution; none is started once it stops.
import type { Clock, Timers } from "../../storage/ports.ts";
import type { RunbookCommand } from "./decide.ts";
import { ExecutionRunner } from "./runner.ts";
import { hasEnded, type Run, type RunState } from "./state.ts";
import type { Runbook } from "./types.ts";

export interface RunningOptions {
  /** A runner's command to the execution's actor. */
  readonly ask: (executionId: string, command: RunbookCommand) => Promise<RunState>;
  /** What carries out the runbook of that name; null: not known yet. */
  readonly runbook: (name: string) => Runbook | null;
  readonly ports: {
    readonly clock: Clock;
    readonly timers: Timers;
    report(event: { level: "warning"; message: string; error?: unknown }): void;
  };
}

interface Running {
  readonly runner: ExecutionRunner;
  readonly ended: Promise<void>;
}

export class RunningExecutions {
  readonly #running = new Map<string, Running>();
  /** When executions of this process were started, monotonic ms. */
  readonly #startedMs = new Map<string, number>();
  #stopped = false;

  constructor(private readonly options: RunningOptions) {}

  /** Its time starts now. */
  begins(executionId: string): void {
    this.#startedMs.set(executionId, this.options.ports.clock.monotonic());
  }

  /** Since it was started, ms; null: an earlier process did that. */
  elapsedOf(executionId: string): number | null {
    const startedMs = this.#startedMs.get(executionId);
    return startedMs === undefined ? null : this.options.ports.clock.monotonic() - startedMs;
  }

  /** Somebody must carry it out: a runner does, once its runbook is known. */
  carryOut(run: Run): void {
    const { executionId, name } = run;
    if (this.#stopped || hasEnded(run) || this.#running.has(executionId)) return;
    const { ask, runbook, ports } = this.options;
    if (runbook(name) === null) return;
    const runner = new ExecutionRunner({
      ...ports,
      executionId,
      ask: (command) => ask(executionId, command),
      runbook,
      startedMs: this.#startedMs.get(executionId) ?? null,
      report: (event) => ports.report(event),
    });
    const ended = runner.run().finally(() => this.#running.delete(executionId));
    this.#running.set(executionId, { runner, ended });
  }

  /** An execution has changed, by whoever's word. */
  changed(run: Run): void {
    this.carryOut(run);
    this.#running.get(run.executionId)?.runner.wake(run.undoing !== null || hasEnded(run));
    if (hasEnded(run)) this.#startedMs.delete(run.executionId);
  }

  /** Stops what is under way; resolves when nothing is. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const { runner } of this.#running.values()) runner.stop();
    await Promise.all([...this.#running.values()].map(({ ended }) => ended));
  }
}
