// Owns the real clock, timers and chance of this process, as the ports of storage/ports.ts.
// Refuses to own disk and network (storage/file_log/, api/), and any policy about delays.
// Invariant: a timer never runs before its delay has passed on the monotonic clock, however long the delay.
import type { Cancel, Clock, Randomness, Timers } from "../storage/ports.ts";

/** Largest delay `setTimeout` takes; a larger one would fire at once. */
export const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** Wall time of the system, and `performance.now()` as the monotonic clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
};

/** The platform's timers: what `systemTimers` stands on, so that a test can reach delays of weeks. */
export interface TimeoutSource {
  monotonic(): number;
  /** `delayMs` is a whole number up to `MAX_TIMEOUT_MS`. */
  timeout(run: () => void, delayMs: number): Cancel;
}

/**
 * Timers over `source`. Delays beyond `MAX_TIMEOUT_MS` are waited for in parts; negative ones count as 0.
 * A delay that is not a finite number throws.
 */
export function timersOver(source: TimeoutSource): Timers {
  return {
    after(delayMs: number, run: () => void): Cancel {
      if (!Number.isFinite(delayMs)) throw new Error(`timer delay must be finite, not ${delayMs}`);
      const due = source.monotonic() + Math.max(0, delayMs);
      let cancel: Cancel = () => {};
      const wait = () => {
        const remainingMs = Math.ceil(Math.max(0, due - source.monotonic()));
        cancel = source.timeout(elapsed, Math.min(remainingMs, MAX_TIMEOUT_MS));
      };
      // The platform may fire a little early, and always does at MAX_TIMEOUT_MS of a longer delay.
      const elapsed = () => {
        if (source.monotonic() < due) wait();
        else run();
      };
      wait();
      return () => cancel();
    },
  };
}

/** Real timers; a pending one keeps the process alive until it is cancelled. */
export const systemTimers: Timers = timersOver({
  monotonic: () => performance.now(),
  timeout(run, delayMs) {
    const id = setTimeout(run, delayMs);
    return () => clearTimeout(id);
  },
});

/** Random UUIDs from the system's generator. `fraction` is for jitter, not for secrets. */
export const systemRandomness: Randomness = {
  uuid: () => crypto.randomUUID(),
  fraction: () => Math.random(),
};
