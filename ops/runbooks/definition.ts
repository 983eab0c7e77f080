// Owns the few words that runbooks are written in, and what their steps may use.
// Refuses to own any runbook. Invariant: a step and what carries it out are written in one place, and share their name.
import type { Broker } from "../../actors/broker.ts";
import type {
  Runbook,
  RunbookDefinition,
  StepDefinition,
  StepResult,
  StepWork,
} from "../../actors/runbook/types.ts";
import type { Clock } from "../../storage/ports.ts";

/** What runbooks act with. */
export interface RunbookPorts {
  readonly broker: Broker;
  readonly clock: Clock;
}

export const MINUTE_MS = 60_000;

/** A step, and what carries it out. `work.undo` is there where `undo` says what it does. */
export interface Step extends StepDefinition {
  readonly work: StepWork;
}

/** A runbook of `steps`. What is left out: no parameters, ten minutes of cooldown, nothing promised. */
export function runbook(
  described: Pick<RunbookDefinition, "name" | "title" | "describes" | "targetKinds">,
  steps: readonly Step[],
  more: Partial<RunbookDefinition> = {},
): Runbook {
  for (const { name, undo, work } of steps) {
    if ((undo === undefined) !== (work.undo === undefined)) {
      throw new Error(`step ${name} of ${described.name} does not say what takes it back`);
    }
  }
  return {
    definition: Object.freeze({
      parameters: [],
      cooldownMs: 10 * MINUTE_MS,
      targets: { rtoMs: null, rpoMs: null },
      available: true,
      ...described,
      ...more,
      steps: steps.map(({ work: _, ...step }) => step),
    }),
    work: Object.fromEntries(steps.map(({ name, work }) => [name, work])),
  };
}

export function done(detail: string, more: Partial<StepResult> = {}): StepResult {
  return { outcome: "done", detail, ...more };
}

export function again(detail: string): StepResult {
  return { outcome: "again", detail };
}
