// Owns which drills there are, in the order in which `all` runs them.
// Refuses to own any of them. Invariant: names are unique, and never change once they are told.
import { brokerCrash } from "./scenarios/broker_crash.ts";
import { consumerBug } from "./scenarios/consumer_bug.ts";
import { deadLetterFlood } from "./scenarios/dead_letter_flood.ts";
import { mistakenCommit } from "./scenarios/mistaken_commit.ts";
import { publishBurst } from "./scenarios/publish_burst.ts";
import { retryStorm } from "./scenarios/retry_storm.ts";
import type { Drill } from "./types.ts";

export const DRILLS: readonly Drill[] = Object.freeze([
  brokerCrash,
  mistakenCommit,
  consumerBug,
  retryStorm,
  deadLetterFlood,
  publishBurst,
]);

/** The drill of that name; null where there is none. */
export function drillNamed(name: string): Drill | null {
  return DRILLS.find((drill) => drill.name === name) ?? null;
}
