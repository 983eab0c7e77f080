// Owns the decision whether and when a failed actor is started again.
// Refuses to own starting it, time and timers (supervisor.ts): this is a pure function of what happened.
// Invariant: delays never exceed `maxBackoffMs`; more than `maxRestarts` counted failures in a window end it.
import { BrokerError } from "../../storage/broker_error.ts";

export interface RestartBounds {
  /** Delay before the first restart; doubled by each further failure in a row. */
  readonly initialBackoffMs: number;
  readonly maxBackoffMs: number;
  /** Counted failures within `restartWindowMs` that are followed by a restart; the next one is not. */
  readonly maxRestarts: number;
  readonly restartWindowMs: number;
  /** An actor that ran this long is well: what was before no longer counts. */
  readonly healthyAfterMs: number;
}

export const DEFAULT_RESTART_BOUNDS: RestartBounds = Object.freeze({
  initialBackoffMs: 100,
  maxBackoffMs: 10_000,
  maxRestarts: 8,
  restartWindowMs: 60_000,
  healthyAfterMs: 60_000,
});

export interface RestartHistory {
  /** Monotonic ms of the counted failures within the window. */
  readonly failuresAtMs: readonly number[];
  /** Failures since the actor was last well, counted or not. */
  readonly inARow: number;
}

export const NO_FAILURES: RestartHistory = Object.freeze({ failuresAtMs: [], inARow: 0 });

export interface Failure {
  readonly error: unknown;
  readonly nowMs: number;
  /** When the incarnation that failed began to run; null when it never did. */
  readonly runningSinceMs: number | null;
}

/**
 * What follows a failure. `restartAfterMs` null: stay down.
 * A retryable BrokerError is the surroundings' fault (a disk, another actor): it is waited out for as long as it lasts,
 * so that work goes on when it ends. Anything else is a fault of the actor or its data, which restarts do not mend.
 */
export function afterFailure(
  history: RestartHistory,
  failure: Failure,
  bounds: RestartBounds,
): { readonly history: RestartHistory; readonly restartAfterMs: number | null } {
  const { error, nowMs, runningSinceMs } = failure;
  const wasWell = runningSinceMs !== null && nowMs - runningSinceMs >= bounds.healthyAfterMs;
  const before = wasWell ? NO_FAILURES : history;
  const counted = !(error instanceof BrokerError && error.retryable);
  const failuresAtMs = before.failuresAtMs.filter((at) => nowMs - at < bounds.restartWindowMs);
  if (counted) failuresAtMs.push(nowMs);
  const after = { failuresAtMs, inARow: before.inARow + 1 };
  if (failuresAtMs.length > bounds.maxRestarts) return { history: after, restartAfterMs: null };
  const backoffMs = bounds.initialBackoffMs * 2 ** before.inARow;
  return { history: after, restartAfterMs: Math.min(backoffMs, bounds.maxBackoffMs) };
}
