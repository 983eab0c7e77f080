// Owns what time it is for the retries of a group.
// Refuses to own clocks: commands carry their time.
// Invariant: within a life of the actor it goes on with the monotonic clock; over lives it never goes back.
import type { GroupState } from "../state.ts";
import type { At } from "../types.ts";
import type { RetryVolatileEvent } from "./events.ts";

/** Trusted wall time in whole ms. `started` is to be remembered with the decision: the clock was not running yet. */
export function trustedNow(
  { retry, volatile: { retries: { wallOffset } } }: GroupState,
  at: At,
): { readonly now: number; readonly started: readonly RetryVolatileEvent[] } {
  if (wallOffset !== null) return { now: Math.floor(at.monotonic + wallOffset), started: [] };
  const now = Math.max(Math.floor(at.wall), retry.latestAt);
  return { now, started: [{ type: "RetryClockStarted", wallOffset: now - at.monotonic }] };
}

/** Monotonic ms at which the next retry is due; null when none is, or nothing is delivered anyway. */
export function retryDeadline({ paused, volatile: { retries } }: GroupState): number | null {
  const { due, wallOffset } = retries;
  const first = due.chunks[0]?.[0];
  if (first === undefined || wallOffset === null || paused !== null) return null;
  return first - wallOffset;
}
