// Owns waiting, in virtual time, for what depends on real IO too.
// Refuses to sleep for a guessed time: it asks until the answer is yes, and gives up after a bound.
// Invariant: virtual time moves on by small steps, so that timers re-armed after IO come due.
import type { VirtualClock } from "../support/virtual_time.ts";

const STEP_MS = 250;
const MAX_STEPS = 2_000;

/** Resolves when `holds` does, moving `clock` on meanwhile; rejects after `MAX_STEPS`. */
export async function eventually(
  clock: VirtualClock,
  holds: () => boolean | Promise<boolean>,
): Promise<void> {
  for (let step = 0; step < MAX_STEPS; step++) {
    if (await holds()) return;
    await clock.advance(STEP_MS);
    // Virtual time alone would run away from the IO that a timer has started.
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  throw new Error(`did not come true in ${MAX_STEPS} steps of ${STEP_MS} ms`);
}
