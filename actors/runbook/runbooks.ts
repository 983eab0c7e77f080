// Owns all executions of a broker: their actor over the internal topic `__runbooks`, and what is asked of them.
// Refuses to own decisions (decide.ts), what may begin (beginnings.ts), who carries it out (running.ts), and what runbooks
// do (ops/runbooks/).
// Invariant: what is told of an execution is durable.
import type { Randomness } from "../../storage/ports.ts";
import { JournaledActor, type JournaledActorPorts } from "../partition/journaled_actor.ts";
import type { Partition } from "../partition/partition.ts";
import type { RetainOptions } from "../runtime/journal_retention.ts";
import type { Revivable } from "../runtime/revived_actors.ts";
import type { RunbookOrder } from "../threshold/types.ts";
import { wantedRuns } from "./admission.ts";
import { Beginnings } from "./beginnings.ts";
import type { RunbookCommand, RunbookEffect } from "./decide.ts";
import { unknownExecution } from "./decide.ts";
import type { RunbookEvent, StepProgressed } from "./events.ts";
import { JOURNAL_WINDOW_MS, JOURNAL_WORDS, RUNBOOK_DECIDER } from "./keyed_runbook.ts";
import { checkedRequest, knownRunbook } from "./requests.ts";
import { RunningExecutions } from "./running.ts";
import { type Run, type RunState, shownExecution } from "./state.ts";
import {
  type ApprovalOrder,
  type Execution,
  type ExecutionFilter,
  type ExecutionOrder,
  type ExecutionRequest,
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

export class LocalRunbooks implements Runbooks {
  readonly #actor: RunbookActor;
  /** By name, in the order in which they were handed in. */
  #runbooks: ReadonlyMap<string, Runbook> = new Map();
  readonly #running: RunningExecutions;
  readonly #beginnings: Beginnings;
  readonly #listeners = new Set<(execution: Execution) => void>();
  #closing = false;

  private constructor(private readonly options: RunbooksOptions) {
    const { ports } = options;
    this.#actor = new JournaledActor({
      id: "runbooks/0",
      partition: options.partition,
      decider: RUNBOOK_DECIDER,
      words: JOURNAL_WORDS,
      windowMs: JOURNAL_WINDOW_MS,
      perform: (_, { run }) => this.#changed(run),
      ports,
    });
    this.#running = new RunningExecutions({
      ask: (executionId, command) => this.#commanded(executionId, command),
      runbook: (name) => this.#runbooks.get(name) ?? null,
      ports,
    });
    this.#beginnings = new Beginnings({
      ...options,
      actor: this.#actor,
      onBegin: (executionId) => this.#running.begins(executionId),
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
        for (const { run } of states) if (run !== null) this.#running.carryOut(run);
      })
      // The actor is down: it tells of every execution when it is up again.
      .catch(() => undefined);
  }

  async execute(request: ExecutionRequest): Promise<Execution> {
    const runbook = knownRunbook(this.#runbooks, request.name);
    const parameters = checkedRequest(runbook.definition, request);
    await runbook.check?.({ target: request.target, parameters });
    return shown(await this.#beginnings.byPerson(runbook, { ...request, parameters }));
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
    const checked = { ...request, parameters };
    return { executionId: await this.#beginnings.byAlert(runbook, checked, order.alertId) };
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
    const elapsedMs = this.#running.elapsedOf(executionId);
    return shown(
      await this.#actor.ask(executionId, { type: "Abort", principal, reason, elapsedMs }),
    );
  }

  async withdraw(executionId: string, why: string): Promise<Execution> {
    const elapsedMs = this.#running.elapsedOf(executionId);
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
    await this.#running.stop();
    await this.#actor.close();
  }

  /** A runner's command. What a step takes hold of is looked at first. */
  async #commanded(executionId: string, command: RunbookCommand): Promise<RunState> {
    const holds = command.type === "End" ? command.result.holds ?? [] : [];
    const state =
      await (holds.length === 0
        ? this.#actor.ask(executionId, command)
        : this.#beginnings.takingHold(executionId, holds, command));
    if (isTold(command, state)) this.options.onActed(state.run!, command.index);
    return state;
  }

  #changed(run: Run): void {
    if (this.#closing) return;
    this.#running.changed(run);
    if (this.#listeners.size === 0) return;
    const execution = shownExecution(run);
    for (const listener of this.#listeners) listener(execution);
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
