// Owns how long to wait before attempt n: exponential, with jitter, bounded.
// Refuses to own timers or the decision to try again.
// Invariant: the wait is never below what the broker asked for, and never above `maxMs` unless it asked for more.
import type { Randomness } from "../../storage/ports.ts";

export interface BackoffPolicy {
  /** Wait before the first retry, ms. */
  readonly baseMs: number;
  readonly maxMs: number;
}

export const DEFAULT_BACKOFF: BackoffPolicy = { baseMs: 50, maxMs: 5_000 };

/** A `Retry-After` beyond this is cut to it: a broker's slip of the clock must not park a client for a day. */
export const MAX_RETRY_AFTER_MS = 60_000;

/** What is known of the attempt that failed. `attempt` counts from 1. */
export interface FailedAttempt {
  readonly attempt: number;
  readonly retryAfterMs?: number | undefined;
}

/**
 * Wait in whole ms before the next attempt: half of `baseMs * 2^(attempt - 1)` fixed, half drawn, so that a fleet that
 * failed together does not come back together.
 */
export function backoffMs(
  failed: FailedAttempt,
  policy: BackoffPolicy,
  randomness: Randomness,
): number {
  const ceiling = Math.min(policy.maxMs, policy.baseMs * 2 ** Math.min(30, failed.attempt - 1));
  const drawn = ceiling / 2 + randomness.fraction() * (ceiling / 2);
  if (failed.retryAfterMs === undefined) return Math.ceil(drawn);
  const asked = Math.min(failed.retryAfterMs, MAX_RETRY_AFTER_MS);
  // Spread above what was asked: all who were refused in the same second would return in the same second.
  return Math.ceil(asked + randomness.fraction() * Math.min(asked, policy.baseMs * 2));
}
