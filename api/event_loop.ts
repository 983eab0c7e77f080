// Owns the one way in which the edge lets other work run amid a long computation.
// Refuses to own when that is needed: the callers count what they did.
// Invariant: what is waiting for IO or time has had its turn when the promise resolves.
import { setImmediate } from "node:timers";

/** Resolves after one turn of the event loop. */
export function yieldToEventLoop(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
