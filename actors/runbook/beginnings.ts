// Owns the beginning of executions, and their taking hold of more: one after the other, beside all that are under way.
// Refuses to own the rules (admission.ts), what a request says (requests.ts), and carrying executions out (running.ts).
// Invariant: what is looked at before something begins and its beginning are one piece, so that nothing is repaired twice
// at a time.
import { BrokerError } from "../../storage/broker_error.ts";
import type { Clock, Randomness } from "../../storage/ports.ts";
import { Turn } from "../../storage/turns.ts";
import {
  coolingUntil,
  endedBeyond,
  executionOfAlert,
  fullFor,
  holderOf,
  holdOf,
  underWay,
} from "./admission.ts";
import type { RunbookCommand } from "./decide.ts";
import type { RunState } from "./state.ts";
import {
  type ExecutionRequest,
  MAX_ENDED_EXECUTIONS,
  type Runbook,
  type RunbookTarget,
} from "./types.ts";

export interface BeginningsOptions {
  readonly actor: {
    ask(executionId: string, command: RunbookCommand): Promise<RunState>;
    query<R>(project: (states: ReadonlyMap<string, RunState>) => R): Promise<R>;
  };
  /** Since when the fault of an alert is there, wall ms; null when nobody knows. */
  readonly faultSince: (alertId: string) => number | null;
  /** Whose the target is; null: nobody's, or nobody can tell now. */
  readonly tenantOf: (target: RunbookTarget) => Promise<string | null>;
  /** Hears of each before it is written down. */
  readonly onBegin: (executionId: string) => void;
  readonly ports: { readonly clock: Clock; readonly randomness: Randomness };
}

/** What was asked for, with parameters that were looked at. */
type CheckedRequest = ExecutionRequest & { readonly parameters: Readonly<Record<string, string>> };

interface Cause {
  /** Null: a person began it. */
  readonly alertId: string | null;
  /** Wall ms. */
  readonly faultAt: number;
}

export class Beginnings {
  readonly #turn = new Turn();

  constructor(private readonly options: BeginningsOptions) {}

  /** Rejects with RUNBOOK_BUSY, OVERLOADED, and what the actor rejects with. */
  byPerson(runbook: Runbook, request: CheckedRequest): Promise<RunState> {
    return this.#turn.run(async () => {
      await this.#refuseWhenHeld(holdOf(request, runbook));
      const faultAt = this.options.ports.clock.now();
      return await this.#begin(runbook, request, { alertId: null, faultAt });
    });
  }

  /**
   * The id of the execution: of one that there is already for the alert, or under way for its target, else of a new one.
   * Rejects with RUNBOOK_BUSY, RUNBOOK_COOLING_DOWN, OVERLOADED, and what the actor rejects with.
   */
  byAlert(runbook: Runbook, request: CheckedRequest, alertId: string): Promise<string> {
    const { actor, faultSince, ports: { clock } } = this.options;
    return this.#turn.run(async () => {
      const now = clock.now();
      const before = await actor.query((states) =>
        executionOfAlert(states, alertId) ?? underWay(states, request)
      );
      if (before !== null) return before;
      await this.#refuseWhenHeld(holdOf(request, runbook));
      const cooling = await actor.query((states) => coolingUntil(states, request, now));
      if (cooling !== null) throw coolingDown(request, cooling);
      const faultAt = Math.min(now, faultSince(alertId) ?? now);
      return (await this.#begin(runbook, request, { alertId, faultAt })).executionId;
    });
  }

  /** The command of an execution that takes hold of `holds` by it. Rejects with RUNBOOK_BUSY. */
  takingHold(
    executionId: string,
    holds: readonly string[],
    command: RunbookCommand,
  ): Promise<RunState> {
    const { actor } = this.options;
    return this.#turn.run(async () => {
      const holder = await actor.query((states) => holderOf(states, holds, executionId));
      if (holder !== null) throw busy(holder);
      return await actor.ask(executionId, command);
    });
  }

  async #begin(
    runbook: Runbook,
    { name, target, mode, reason, by, parameters }: CheckedRequest,
    { alertId, faultAt }: Cause,
  ): Promise<RunState> {
    const { actor, tenantOf, onBegin, ports: { randomness } } = this.options;
    const tenant = await tenantOf(target);
    const full = await actor.query((states) => fullFor(states, { name, target, alertId, tenant }));
    if (full !== null) throw overloaded(full);
    const { steps, cooldownMs, targets } = runbook.definition;
    const hold = holdOf({ name, target, mode }, runbook);
    const executionId = randomness.uuid();
    onBegin(executionId);
    const state = await actor.ask(executionId, {
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
    return state;
  }

  async #refuseWhenHeld(hold: string | null): Promise<void> {
    if (hold === null) return;
    const holder = await this.options.actor.query((states) => holderOf(states, [hold], ""));
    if (holder !== null) throw busy(holder);
  }

  async #forgetOldest(): Promise<void> {
    const { actor } = this.options;
    const forgotten = await actor.query((states) => endedBeyond(states, MAX_ENDED_EXECUTIONS))
      .catch(() => []);
    for (const executionId of forgotten) {
      await actor.ask(executionId, { type: "Forget" }).catch(() => undefined);
    }
  }
}

function overloaded({ why, bound }: { why: string; bound: number }): BrokerError {
  return new BrokerError("OVERLOADED", `${why}, no more are started`, {
    maxOpenExecutions: bound,
  });
}

function busy({ executionId, hold }: { executionId: string; hold: string }): BrokerError {
  const message = `${hold.replace(":", " ")} is being repaired by execution ${executionId}`;
  return new BrokerError("RUNBOOK_BUSY", message, { executionId, hold });
}

function coolingDown(
  { name, target }: Pick<ExecutionRequest, "name" | "target">,
  { executionId, until }: { executionId: string; until: number },
): BrokerError {
  const again = new Date(until).toISOString();
  const message =
    `runbook ${name} has just ended for ${target.name} (execution ${executionId}): not again before ${again}`;
  return new BrokerError("RUNBOOK_COOLING_DOWN", message, { executionId, until });
}
