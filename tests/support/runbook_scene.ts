// Owns a broker in memory with runbooks that tests make up, and a record of what their steps were asked to do.
// Refuses to own the runbooks of ops/. Invariant: a restart is a new broker over the same stores.
import type { Sample } from "../../actors/measurement/types.ts";
import { QuotaGate, type QuotaUsage } from "../../api/quota/gate.ts";
import type { RunbookPorts } from "../../ops/runbooks/definition.ts";
import type { LocalBroker } from "../../actors/local_broker.ts";
import type {
  Execution,
  ExecutionRequest,
  Runbook,
  RunbookDefinition,
  StepContext,
  StepKind,
  StepResult,
  StepWork,
} from "../../actors/runbook/types.ts";
import { type MemoryBrokerOptions, memoryBrokerStores } from "./memory_broker.ts";
import type { VirtualClock } from "./virtual_time.ts";

export interface ToyStep {
  readonly name: string;
  readonly kind: StepKind;
  readonly timeoutMs?: number;
  readonly run?: (context: StepContext) => Promise<StepResult> | StepResult;
  readonly plan?: (context: StepContext) => Promise<string>;
  readonly undo?: (context: StepContext) => Promise<string>;
}

/** A runbook of these steps; what they are asked to do goes to `did`. */
export function toyRunbook(
  name: string,
  steps: readonly ToyStep[],
  options: { did?: string[] } & Partial<RunbookDefinition> = {},
): Runbook {
  const { did = [], ...changed } = options;
  return {
    definition: {
      name,
      title: name,
      describes: `${name}, made up`,
      targetKinds: ["group", "broker", "none"],
      parameters: [{ name: "group", describes: "a group", required: false }],
      steps: steps.map(({ name, kind, timeoutMs = 10_000, undo }) => ({
        name,
        title: name,
        kind,
        timeoutMs,
        ...(undo === undefined ? {} : { undo: `takes ${name} back` }),
      })),
      cooldownMs: 600_000,
      targets: { rtoMs: 60_000, rpoMs: 0 },
      available: true,
      ...changed,
    },
    work: Object.fromEntries(steps.map((step) => [step.name, workOf(step, did)])),
  };
}

function workOf({ name, run, plan, undo }: ToyStep, did: string[]): StepWork {
  return {
    run: async (context) => {
      did.push(`run ${name}`);
      return await (run?.(context) ?? done(`${name} is done`));
    },
    ...(plan === undefined ? {} : { plan }),
    ...(undo === undefined ? {} : {
      undo: async (context: StepContext) => {
        did.push(`undo ${name}`);
        return await undo(context);
      },
    }),
  };
}

export function done(detail: string, more: Partial<StepResult> = {}): StepResult {
  return { outcome: "done", detail, ...more };
}

type MakeRunbooks = (ports: RunbookPorts) => readonly Runbook[];

/** What the broker is told that it has measured; a test says it. */
export interface Measured {
  samples: Sample[];
  usage: Partial<QuotaUsage>;
}

/** What runbooks of `broker` act with. */
export function portsOf(broker: LocalBroker, time: VirtualClock, measured: Measured): RunbookPorts {
  return {
    broker,
    clock: time,
    timers: time,
    samples: {
      latest: () => measured.samples.at(-1) ?? null,
      history: () => measured.samples,
      onSample: () => () => {},
    },
    quotaUsage: (tenant) => ({
      ...new QuotaGate({ broker, clock: time, timers: null }).usage(tenant),
      ...measured.usage,
    }),
  };
}

export async function runbookScene(
  made: readonly Runbook[] | MakeRunbooks,
  options: MemoryBrokerOptions = {},
) {
  const stores = memoryBrokerStores(options);
  const { time } = stores;
  let broker: LocalBroker = await stores.open();
  const measured: Measured = { samples: [], usage: {} };
  const use = () =>
    broker.runbooks.use(
      typeof made === "function" ? made(portsOf(broker, time, measured)) : made,
    );
  use();
  const execute = (name: string, more: Partial<ExecutionRequest> = {}) =>
    broker.runbooks.execute({
      name,
      target: { type: "group", name: "billing" },
      mode: "auto",
      reason: "a test",
      by: "ada",
      ...more,
    });
  /** Until it does not run any more, or waits; at most `ms` of virtual time. */
  const settled = async (executionId: string, ms = 120_000): Promise<Execution> => {
    for (let waited = 0;; waited += 100) {
      const execution = await broker.runbooks.execution(executionId);
      if (execution.state !== "running" || waited >= ms) return execution;
      await time.advance(100);
    }
  };
  const restart = async () => {
    const closing = broker.close();
    for (let turn = 0; turn < 100; turn++) await time.advance(100);
    await closing;
    broker = await stores.open();
    use();
    return broker;
  };
  return {
    ...stores,
    measured,
    get broker() {
      return broker;
    },
    execute,
    settled,
    restart,
    close: async () => {
      const closing = broker.close();
      for (let turn = 0; turn < 100; turn++) await time.advance(100);
      await closing;
    },
  };
}
