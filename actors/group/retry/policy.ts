// Owns what a retry policy says of one failed attempt: when the next is due, or that there is none.
// Refuses to own where policies are kept (state.ts) and chance: the fraction is handed in.
// Invariant: pure; the wait is never above what the policy, or the member's own delay, allows.
import type { RetryPolicy } from "./types.ts";

/** The contract's: attempt n waits `2^min(n, 8) * 100 ms` and 0 to 99 ms, and the eighth is the last. */
export const DEFAULT_RETRY_POLICY: RetryPolicy = Object.freeze({
  maxAttempts: 8,
  baseMs: 100,
  maxMs: 25_600,
  jitterMs: 100,
  ordering: "skip",
  deadlineMs: null,
});

/** With this code a message is not tried again. */
export const NON_RETRYABLE = "NON_RETRYABLE";
/** Code of a dead letter whose retry would have come after the policy's deadline. */
export const DEADLINE_EXCEEDED = "RETRY_DEADLINE_EXCEEDED";

const MAX_EXPONENT = 8;

/** Wait after attempt `attempt` failed. `fraction` is in [0, 1). */
export function retryDelayMs(
  { baseMs, maxMs, jitterMs }: RetryPolicy,
  attempt: number,
  fraction: number,
): number {
  const backoffMs = Math.min(2 ** Math.min(attempt, MAX_EXPONENT) * baseMs, maxMs);
  return backoffMs + Math.floor(fraction * jitterMs);
}
