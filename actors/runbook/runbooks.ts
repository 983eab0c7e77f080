// Owns all executions of a broker: their actor over the internal topic `__runbooks`, who may begin, who carries them out.
// Refuses to own decisions (decide.ts, admission.ts), the work itself (runner.ts), and what runbooks do (ops/runbooks/).
// Invariant: what is looked at before something begins and its beginning are one piece, so that nothing is repaired twice
// at a time; at most one runner an execution.
import { BrokerError } from "../../storage/broker_error.ts";
import { Turn } from "../../storage/turns.ts";
import type { Randomness } from "../../storage/ports.ts";
import { JournaledActor, type JournaledActorPorts } from "../partition/journaled_actor.ts";
import type { Partition } from "../partition/partition.ts";
import type { RetainOptions } from "../runtime/journal_retention.ts";
import type { Revivable } from "../runtime/revived_actors.ts";
import type { RunbookOrder } from "../threshold/types.ts";
import {
  type Arrival,
  coolingUntil,
  endedBeyond,
  executionOfAlert,
  fullFor,
  holderOf,
  holdOf,
  underWay,
  wantedRuns,
} from "./admission.ts";
import type { RunbookCommand, RunbookEffect } from "./decide.ts";
import { unknownExecution } from "./decide.ts";
import type { RunbookEvent, StepProgressed } from "./events.ts";
import { JOURNAL_WINDOW_MS, JOURNAL_WORDS, RUNBOOK_DECIDER } from "./keyed_runbook.ts";
import { checkedRequest, knownRunbook } from "./requests.ts";
import { ExecutionRunner } from "./runner.ts";
import { hasEnded, type Run, type RunState, shownExecution } from "./state.ts";
import {
  type ApprovalOrder,
  type Execution,
  type ExecutionFilter,
  type ExecutionOrder,
  type ExecutionRequest,
  MAX_ENDED_EXECUTIONS,
  type Runbook,
  type RunbookDefinition,
  type Runbooks,
  type RunbookTarget,
} from "./types.ts";

/** The internal topic that holds the journal of all executions. */
export const RUNBOOKS_TOPIC = "__runbooks";

/** Who starts what alerts ask for. */
const ALERTS_PRINCIPAL = "system:alerts";

export interface RunbooksOptions {
  /** The partition of `__runbooks`. */
  readonly partition: Partition;
  /** Since when the fault of an alert is there, wall ms; null when nobody knows. */
  readonly faultSince: (alertId: string) => number | null;
  /** Whose the target is; null: nobody's, or nobody can tell now. */
  readonly tenantOf: (target: RunbookTarget) => Promise<string | null>;
  /** Hears how each action, and each taking back of one, ended. */
  readonly onActed: (run: Run, index: number) => void;
  readonly ports: JournaledActorPorts & { readonly randomness: Randomness };
}

type RunbookActor = JournaledActor<
  RunState,
  RunbookCommand,
  RunbookEvent,
  StepProgressed,
  RunbookEffect
>;

interface Running {
  readonly runner: ExecutionRunner;
  readonly ended: Promise<void>;
}

export class LocalRunbooks implements Runbooks {
  readonly #actor: RunbookActor;
  /** By name, in the order in which they were handed in. */
  #runbooks: ReadonlyMap<string, Runbook> = new Map();
  readonly #running = new Map<string, Running>();
  /** When executions of this process were started, monotonic ms. */
  readonly #startedMs = new Map<string, number>();
  readonly #listeners = new Set<(execution: Execution) => void>();
  /** Beginnings, one after the other. */
  readonly #admission = new Turn();
  #closing = false;

  private constructor(private readonly options: RunbooksOptions) {
    this.#actor = new JournaledActor({
      id: "runbooks/0",
      partition: options.partition,
      decider: RUNBOOK_DECIDER,
      words: JOURNAL_WORDS,
      windowMs: JOURNAL_WINDOW_MS,
      perform: (_, { run }) => this.#changed(run),
      ports: options.ports,
    });
  }

  /** Loads all executions; those under way go on when `use` has said how. */
  static async open(options: RunbooksOptions): Promise<LocalRunbooks> {
    const runbooks = new LocalRunbooks(options);
    await runbooks.#actor.start();
    return runbooks;
  }

  definitions(): readonly RunbookDefinition[] {
    return [...this.#runbooks.values()].map(({ definition }) => definition);
  }

  use(runbooks: readonly Runbook[]): void {
    this.#runbooks = new Map(runbooks.map((runbook) => [runbook.definition.name, runbook]));
    void this.#actor.query((states) => [...states.values()])
      .then((states) => {
        for (const { run } of states) if (run !== null) this.#carryOut(run);
      })
      // The actor is down: it tells of every execution when it is up again.
      .catch(() => undefined);
  }

  async execute(request: ExecutionRequest): Promise<Execution> {
    const runbook = knownRunbook(this.#runbooks, request.name);
    const parameters = checkedRequest(runbook.definition, request);
    await runbook.check?.({ target: request.target, parameters });
    return await this.#admission.run(async () => {
      await this.#refuseWhenHeld(holdOf(request, runbook));
      const faultAt = this.options.ports.clock.now();
      return await this.#begin(runbook, { ...request, parameters, alertId: null, faultAt });
    });
  }

  async start(order: RunbookOrder): Promise<{ readonly executionId: string }> {
    const runbook = knownRunbook(this.#runbooks, order.runbook);
    const { definition } = runbook;
    const { type, name, labels } = order.target;
    const known = definition.parameters.map(({ name }) => name);
    const request: ExecutionRequest = {
      ...order,
      name: order.runbook,
      target: { type, name },
      by: ALERTS_PRINCIPAL,
      parameters: Object.fromEntries(
        Object.entries(labels).filter(([label]) => known.includes(label)),
      ),
    };
    const parameters = checkedRequest(definition, request);
    await runbook.check?.({ target: request.target, parameters });
    return await this.#admission.run(async () => {
      const { alertId } = order;
      const now = this.options.ports.clock.now();
      const before = await this.#actor.query((states) =>
        executionOfAlert(states, alertId) ?? underWay(states, request)
      );
      if (before !== null) return { executionId: before };
      await this.#refuseWhenHeld(holdOf(request, runbook));
      const cooling = await this.#actor.query((states) => coolingUntil(states, request, now));
      if (cooling !== null) throw coolingDown(request.name, name, cooling);
      const faultAt = Math.min(now, this.options.faultSince(alertId) ?? now);
      const begun = { ...request, parameters, alertId, faultAt };
      const { executionId } = await this.#begin(runbook, begun);
      return { executionId };
    });
  }

  async execution(executionId: string): Promise<Execution> {
    return shown(await this.#actor.ask(executionId, { type: "Describe" }));
  }

  async executions(filter: ExecutionFilter = {}): Promise<readonly Execution[]> {
    return (await this.#actor.query((states) => wantedRuns(states, filter))).map(shownExecution);
  }

  async approve(
    { executionId, principal, reason, step }: ApprovalOrder,
  ): Promise<Execution> {
    const approval = { principal, reason, step: step ?? null };
    return shown(await this.#actor.ask(executionId, { type: "Approve", ...approval }));
  }

  async abort({ executionId, principal, reason }: ExecutionOrder): Promise<Execution> {
    const elapsedMs = this.#elapsedOf(executionId);
    return shown(
      await this.#actor.ask(executionId, { type: "Abort", principal, reason, elapsedMs }),
    );
  }

  async withdraw(executionId: string, why: string): Promise<Execution> {
    const elapsedMs = this.#elapsedOf(executionId);
    return shown(await this.#actor.ask(executionId, { type: "Withdraw", why, elapsedMs }));
  }

  onChanged(listener: (execution: Execution) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Keeps the journal to its window, as JournaledActor does. */
  applyRetention(
    now: number,
    options: Pick<RetainOptions, "minDroppableOffsets"> = {},
  ): Promise<void> {
    return this.#actor.applyRetention(now, options);
  }

  /** What keeps runbooks from being carried out, empty when nothing does. */
  problems(): string[] {
    return this.#actor.problems();
  }

  /** What keeps its actor running. */
  get actors(): readonly Revivable[] {
    return this.#actor.actors;
  }

  /** Stops what is under way; the next start goes on with it. */
  async close(): Promise<void> {
    this.#closing = true;
    for (const { runner } of this.#running.values()) runner.stop();
    await Promise.all([...this.#running.values()].map(({ ended }) => ended));
    await this.#actor.close();
  }

  async #begin(
    runbook: Runbook,
    { name, target, mode, reason, by, ...rest }: ExecutionRequest & {
      readonly parameters: Readonly<Record<string, string>>;
      readonly alertId: string | null;
      readonly faultAt: number;
    },
  ): Promise<Execution> {
    const { alertId, faultAt, parameters } = rest;
    const tenant = await this.options.tenantOf(target);
    await this.#refuseWhenFull({ name, target, alertId, tenant });
    const { steps, cooldownMs, targets } = runbook.definition;
    const hold = holdOf({ name, target, mode }, runbook);
    const { clock, randomness } = this.options.ports;
    const executionId = randomness.uuid();
    this.#startedMs.set(executionId, clock.monotonic());
    const state = await this.#actor.ask(executionId, {
      type: "Start",
      name,
      target: { type: target.type, name: target.name },
      mode,
      reason,
      by,
      alertId,
      faultAt,
      parameters,
      steps,
      cooldownMs,
      holds: hold === null ? [] : [hold],
      targets,
      ...(tenant === null ? {} : { tenant }),
    });
    void this.#forgetOldest();
    return shown(state);
  }

  async #refuseWhenHeld(hold: string | null, except = ""): Promise<void> {
    if (hold === null) return;
    const holder = await this.#actor.query((states) => holderOf(states, [hold], except));
    if (holder !== null) throw busy(holder);
  }

  async #refuseWhenFull(arrival: Arrival): Promise<void> {
    const full = await this.#actor.query((states) => fullFor(states, arrival));
    if (full === null) return;
    throw new BrokerError("OVERLOADED", `${full.why}, no more are started`, {
      maxOpenExecutions: full.bound,
    });
  }

  async #forgetOldest(): Promise<void> {
    const forgotten = await this.#actor.query((states) => endedBeyond(states, MAX_ENDED_EXECUTIONS))
      .catch(() => []);
    for (const executionId of forgotten) {
      await this.#actor.ask(executionId, { type: "Forget" }).catch(() => undefined);
    }
  }

  /** A runner's command. What a step takes hold of is looked at first. */
  async #commanded(executionId: string, command: RunbookCommand): Promise<RunState> {
    const holds = command.type === "End" ? command.result.holds ?? [] : [];
    const state =
      await (holds.length === 0
        ? this.#actor.ask(executionId, command)
        : this.#admission.run(async () => {
          const holder = await this.#actor.query((states) => holderOf(states, holds, executionId));
          if (holder !== null) throw busy(holder);
          return await this.#actor.ask(executionId, command);
        }));
    if (isTold(command, state)) this.options.onActed(state.run!, command.index);
    return state;
  }

  #changed(run: Run): void {
    if (this.#closing) return;
    this.#carryOut(run);
    this.#running.get(run.executionId)?.runner.wake(run.undoing !== null || hasEnded(run));
    if (hasEnded(run)) this.#startedMs.delete(run.executionId);
    if (this.#listeners.size === 0) return;
    const execution = shownExecution(run);
    for (const listener of this.#listeners) listener(execution);
  }

  /** Somebody must carry it out: a runner does. */
  #carryOut(run: Run): void {
    const { executionId, name } = run;
    if (this.#closing || hasEnded(run) || this.#running.has(executionId)) return;
    if (!this.#runbooks.has(name)) return;
    const runner = new ExecutionRunner({
      ...this.options.ports,
      executionId,
      ask: (command) => this.#commanded(executionId, command),
      runbook: (wanted) => this.#runbooks.get(wanted) ?? null,
      startedMs: this.#startedMs.get(executionId) ?? null,
      report: (event) => this.options.ports.report(event),
    });
    const ended = runner.run().finally(() => this.#running.delete(executionId));
    this.#running.set(executionId, { runner, ended });
  }

  #elapsedOf(executionId: string): number | null {
    const startedMs = this.#startedMs.get(executionId);
    return startedMs === undefined ? null : this.options.ports.clock.monotonic() - startedMs;
  }
}

type Telling = Extract<RunbookCommand, { type: "End" | "Fail" | "Undone" }>;

/** Whether the command ended, or took back, an action. */
function isTold(command: RunbookCommand, { run }: RunState): command is Telling {
  if (command.type !== "End" && command.type !== "Fail" && command.type !== "Undone") return false;
  const step = run?.steps[command.index];
  return step?.kind === "action" && (step.endedAt !== null || step.undone !== undefined);
}

function shown({ executionId, run }: RunState): Execution {
  if (run === null) throw unknownExecution(executionId);
  return shownExecution(run);
}

function busy({ executionId, hold }: { executionId: string; hold: string }): BrokerError {
  const message = `${hold.replace(":", " ")} is being repaired by execution ${executionId}`;
  return new BrokerError("RUNBOOK_BUSY", message, { executionId, hold });
}

function coolingDown(
  runbook: string,
  target: string,
  { executionId, until }: { executionId: string; until: number },
): BrokerError {
  const again = new Date(until).toISOString();
  const message =
    `runbook ${runbook} has just ended for ${target} (execution ${executionId}): not again before ${again}`;
  return new BrokerError("RUNBOOK_COOLING_DOWN", message, { executionId, until });
}
