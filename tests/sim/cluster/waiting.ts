// Owns waiting in virtual time for what must come true, and asking again what brokers could not answer.
// Refuses to own what is waited for. Invariant: every wait has an end; one that comes too late is a violation.
import { BrokerError } from "../../../storage/broker_error.ts";
import { ConnectionLost } from "../incarnation.ts";
import { describeError, type RunWorld } from "../world.ts";

const LOOK_EVERY_MS = 100;
const MAX_ATTEMPTS = 300;

/** Resolves when `look` finds no problem; after `limitMs` that is a violation. */
export async function until(
  world: RunWorld,
  { what, limitMs }: { what: string; limitMs: number },
  look: () => readonly string[] | Promise<readonly string[]>,
): Promise<void> {
  const from = world.time.monotonic();
  while (world.violations.length === 0) {
    const problems = await look();
    if (problems.length === 0) return;
    if (world.time.monotonic() - from > limitMs) {
      return world.violation(`${what}: after ${limitMs} ms: ${problems.join("; ")}`);
    }
    await world.sleep(LOOK_EVERY_MS);
  }
}

/** Asks until there is an answer; null, and a violation, when there is none after all. */
export async function patiently<T>(
  world: RunWorld,
  who: string,
  ask: () => Promise<T>,
): Promise<T | null> {
  let last = "";
  for (let attempt = 0; attempt < MAX_ATTEMPTS && world.violations.length === 0; attempt++) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof BrokerError || error instanceof ConnectionLost)) throw error;
      last = describeError(error);
      world.note(who, last);
      await world.sleep(LOOK_EVERY_MS);
    }
  }
  world.violation(`${who} gets no answer: ${last}`);
  return null;
}
