// Owns how long to wait before connecting once more.
// Refuses to own connecting. Invariant: pure; doubles up to a bound, and two pages that lost the same broker differ.

export const FIRST_DELAY_MS = 500;
export const MAX_DELAY_MS = 15_000;

/** Delay before attempt `attempt` (1: the first after a loss); `chance` is from 0 to 1. */
export function reconnectDelayMs(attempt: number, chance: number): number {
  const full = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(attempt - 1, 10));
  // Half of it is fixed, so that nobody asks at once; half is chance, so that all do not ask together.
  return full / 2 + chance * full / 2;
}
