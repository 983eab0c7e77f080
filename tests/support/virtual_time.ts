// Owns virtual time: a clock and timers that move only when a test says so.
// Refuses to own real IO: `advance` lets promises settle, but does not wait for a disk or a socket.
// Invariant: timers run in order of due time, then of creation; the monotonic clock never goes back, the wall clock may.
import { setImmediate } from "node:timers";
import type { Cancel, Clock, Timers } from "../../storage/ports.ts";

/** More timers than this in one `advance` mean a timer that re-arms itself without delay. */
export const MAX_TIMERS_PER_ADVANCE = 1_000_000;

/** Wall time at which virtual time starts when nothing is said: 2026-01-01T00:00:00Z. */
export const DEFAULT_WALL_START_MS = Date.UTC(2026, 0, 1);

interface PendingTimer {
  readonly due: number;
  readonly order: number;
  readonly run: () => void;
}

/** Resolves when every promise callback that can run now has run. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A clock with its timers in virtual time. Both clocks are in ms; the monotonic one starts at 0. */
export class VirtualClock implements Clock, Timers {
  #monotonicMs = 0;
  #wallOffsetMs: number;
  #created = 0;
  /** Latest first, so that the next timer is popped from the end. */
  #pending: PendingTimer[] = [];
  /** Called after each timer, when the promises that it has settled have run. */
  onStep: (() => void) | null = null;

  constructor(wallStartMs: number = DEFAULT_WALL_START_MS) {
    this.#wallOffsetMs = wallStartMs;
  }

  now(): number {
    return this.#monotonicMs + this.#wallOffsetMs;
  }

  monotonic(): number {
    return this.#monotonicMs;
  }

  /** Timers that have neither run nor been cancelled. */
  get pendingTimers(): number {
    return this.#pending.length;
  }

  /** Time until the next timer is due, null when there is none. */
  get nextTimerInMs(): number | null {
    const next = this.#pending.at(-1);
    return next === undefined ? null : next.due - this.#monotonicMs;
  }

  after(delayMs: number, run: () => void): Cancel {
    if (!Number.isFinite(delayMs)) throw new Error(`timer delay must be finite, not ${delayMs}`);
    const due = this.#monotonicMs + Math.max(0, delayMs);
    const timer = { due, order: this.#created++, run };
    this.#pending.splice(this.#placeOf(timer), 0, timer);
    return () => {
      const at = this.#placeOf(timer);
      if (this.#pending[at] === timer) this.#pending.splice(at, 1);
    };
  }

  /** Moves the wall clock alone, either way: what a clock that is set does to a process. */
  jumpWall(byMs: number): void {
    this.#wallOffsetMs += byMs;
  }

  /**
   * Moves both clocks on by `byMs`, running the timers that come due on the way, each at its own time.
   * Promises settle before the first, between any two and after the last. What a timer throws, `advance` rejects with.
   */
  async advance(byMs: number): Promise<void> {
    if (!(byMs >= 0) || !Number.isFinite(byMs)) {
      throw new Error(`time moves on by a finite number of ms, not ${byMs}`);
    }
    const target = this.#monotonicMs + byMs;
    await settle();
    for (let ran = 0;; ran++) {
      const next = this.#pending.at(-1);
      if (next === undefined || next.due > target) break;
      if (ran === MAX_TIMERS_PER_ADVANCE) throw new Error("timers re-arm themselves without end");
      this.#pending.pop();
      this.#monotonicMs = Math.max(this.#monotonicMs, next.due);
      next.run();
      await settle();
      this.onStep?.();
    }
    this.#monotonicMs = Math.max(this.#monotonicMs, target);
  }

  /** Index of `timer` in the pending list, or where it belongs. */
  #placeOf(timer: PendingTimer): number {
    let low = 0;
    let high = this.#pending.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (runsAfter(this.#pending[middle]!, timer)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function runsAfter(a: PendingTimer, b: PendingTimer): boolean {
  return a.due > b.due || (a.due === b.due && a.order > b.order);
}
