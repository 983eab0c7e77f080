// Owns a clock that jumps when it is told to.
// Refuses to own the clock below it. Invariant: between jumps it goes as the clock below does.
import type { Clock } from "../../storage/ports.ts";

export class FaultyClock implements Clock {
  #wallOffsetMs = 0;
  #monotonicOffsetMs = 0;

  constructor(private readonly clock: Clock) {}

  now(): number {
    return this.clock.now() + this.#wallOffsetMs;
  }

  monotonic(): number {
    return this.clock.monotonic() + this.#monotonicOffsetMs;
  }

  /** The wall clock goes `ms` forward, or back. */
  jumpWall(ms: number): void {
    this.#wallOffsetMs += ms;
  }

  /** What no monotonic clock does: a broker that measured durations by the wall clock would see this. */
  jumpMonotonic(ms: number): void {
    this.#monotonicOffsetMs += ms;
  }
}
