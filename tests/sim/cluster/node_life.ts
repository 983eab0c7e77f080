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
        this.hear(() => {
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
    this.shared.time.after(delayMs, () => this.hear(run));
  }

  /** Hands the process something from outside: now, when it goes on, or never once it has ended. */
  hear(run: () => void): void {
    if (!this.isAlive) return;
    if (this.#waiting === null) run();
    else this.#waiting.push(run);
  }

  /** SIGSTOP. */
  pause(): void {
    this.#waiting ??= [];
  }

  /** SIGCONT: what has waited comes one after the other, and what comes meanwhile after it. */
  resume(): void {
    this.shared.time.after(0, () => this.#goOn());
  }

  #goOn(): void {
    const next = this.#waiting?.shift();
    if (next === undefined) this.#waiting = null;
    if (next === undefined || !this.isAlive) return;
    next();
    this.shared.time.after(0, () => this.#goOn());
  }

  /** Late rather than early: no timer may find that by its own clock it came too soon. */
  #inWorldMs(ownMs: number): number {
    let worldMs = Math.ceil((ownMs / this.clock.rate) * GRID_PER_MS) / GRID_PER_MS;
    while (worldMs * this.clock.rate < ownMs) worldMs += 1 / GRID_PER_MS;
    return worldMs;
  }
}
