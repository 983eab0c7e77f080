// Owns what every part of one simulated run shares: virtual time, the one generator, the trace, the violations found.
// Refuses to own the broker (machine.ts), the faults (faults.ts) and what is expected (ledgers/).
// Invariant: nothing in a run draws chance or waits but through here, so a seed decides all of it.
import { type SeededRandomness, seededRandomness } from "../support/seeded_randomness.ts";
import { VirtualClock } from "../support/virtual_time.ts";
import { drawPlan, type Plan } from "./plan.ts";
import { Trace } from "./trace.ts";

/** Violations kept; a broken broker breaks the same rule again and again. */
const MAX_VIOLATIONS = 20;

const STEPS_PER_MS = 1_024;

/** What the clients do: work and come and go; work and stay; no longer send; end. */
export type Phase = "faults" | "calm" | "draining" | "ended";

/** How long a simulated disk takes, uniform up to these. */
export interface DiskLatencies {
  readonly maxDiskMs: number;
  readonly maxSyncMs: number;
}

/** What runs share, whatever they simulate: `P` is what their seed decides before they start. */
export class RunWorld<P extends DiskLatencies = DiskLatencies> {
  readonly time = new VirtualClock();
  readonly chance: SeededRandomness;
  readonly trace = new Trace();
  readonly plan: P;
  readonly violations: string[] = [];
  phase: Phase = "faults";

  constructor(readonly seed: number, draw: (chance: SeededRandomness) => P) {
    this.chance = seededRandomness(seed);
    this.plan = draw(this.chance);
  }

  note(who: string, what: string): void {
    this.trace.note(this.time.monotonic(), who, what);
  }

  /** A rule was broken; the run ends soon after. */
  violation(text: string): void {
    this.note("VIOLATION", text);
    if (this.violations.length < MAX_VIOLATIONS) this.violations.push(text);
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.time.after(onGrid(ms), resolve);
    });
  }

  /** Uniform from `low` to `high`, on the grid of times. */
  between(low: number, high: number): number {
    return onGrid(low + (high - low) * this.chance.fraction());
  }

  /** Uniform integer in [low, high]. */
  integer(low: number, high: number): number {
    return low + this.chance.integer(high - low + 1);
  }

  /** True once in `n` times. */
  oneIn(n: number): boolean {
    return this.chance.integer(n) === 0;
  }

  /** Starts `run` beside everything else; that it fails is a fault of the simulation or a broken promise of a port. */
  start(who: string, run: () => Promise<void>): void {
    run().catch((error) => this.violation(`${who} ended: ${describeError(error)}`));
  }
}

/** The world of one broker. */
export class World extends RunWorld<Plan> {
  /** `adjust` changes the plan after it was drawn: for a mutant that only certain faults can catch. */
  constructor(seed: number, adjust: (plan: Plan) => Plan = (plan) => plan) {
    super(seed, (chance) => adjust(drawPlan(chance)));
  }
}

/**
 * `ms`, or the next time of a grid fine enough for any disk. On it sums and differences are exact, so that a timer never
 * finds that by its own clock it came too early.
 */
export function onGrid(ms: number): number {
  return Math.ceil(ms * STEPS_PER_MS) / STEPS_PER_MS;
}

/** One line about an error, with where it came from when it is no refusal. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = "code" in error ? ` ${error.code}` : "";
  const cause = error.cause === undefined ? "" : ` (${describeError(error.cause)})`;
  return `${error.name}${code}: ${error.message}${cause}`;
}
