// Owns one life of a broker's process in a cluster: its own clock, skewed and drifting, and pauses in which it does nothing.
// Refuses to own what outlives the process (node_machine.ts).
// Invariant: while it is paused none of its timers runs and nothing reaches it; all of that comes when it goes on, in order.
import type { Cancel } from "../../../storage/ports.ts";
import { Incarnation } from "../incarnation.ts";
import type { RunWorld } from "../world.ts";

/** What a node's clock does wrong; outlives its processes. */
export interface ClockFault {
  /** How far the wall clock is ahead, ms. */
  wallErrorMs: number;
  /** Its ms in one of the world's; a multiple of 1/1024, so that sums stay exact. */
  readonly rate: number;
}

const GRID_PER_MS = 1_024;

export class NodeLife extends Incarnation {
  /** What waits for the process to go on; null while it runs. */
  #waiting: (() => void)[] | null = null;

  constructor(
    private readonly shared: RunWorld,
    number: number,
    private readonly clock: ClockFault,
  ) {
    super(shared, number);
  }

  get isPaused(): boolean {
    return this.#waiting !== null;
  }

  override now(): number {
    return Math.floor(this.shared.time.now() + this.clock.wallErrorMs);
  }

  override monotonic(): number {
    return super.monotonic() * this.clock.rate;
  }

  override after(delayMs: number, run: () => void): Cancel {
    let isCancelled = false;
    const cancel = super.after(
      this.#inWorldMs(Math.max(0, delayMs)),
      () =>
        this.#whenRunning(() => {
          if (!isCancelled) run();
        }),
    );
    return () => {
      isCancelled = true;
      cancel();
    };
  }

  /** Hands the process something from outside after `delayMs` of the world; never once it has ended. */
  deliver(delayMs: number, run: () => void): void {
    this.shared.time.after(delayMs, () => this.#whenRunning(run));
  }

  /** SIGSTOP. */
  pause(): void {
    this.#waiting ??= [];
  }

  /** SIGCONT. */
  resume(): void {
    const waiting = this.#waiting ?? [];
    this.#waiting = null;
    for (const run of waiting) this.deliver(0, run);
  }

  #whenRunning(run: () => void): void {
    if (!this.isAlive) return;
    if (this.#waiting === null) run();
    else this.#waiting.push(run);
  }

  /** Late rather than early: no timer may find that by its own clock it came too soon. */
  #inWorldMs(ownMs: number): number {
    let worldMs = Math.ceil((ownMs / this.clock.rate) * GRID_PER_MS) / GRID_PER_MS;
    while (worldMs * this.clock.rate < ownMs) worldMs += 1 / GRID_PER_MS;
    return worldMs;
  }
}
