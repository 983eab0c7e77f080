// Owns which drills there are, in the order in which `all` runs them.
// Refuses to own any of them. Invariant: names are unique, and never change once they are told.
import { brokerCrash } from "./scenarios/broker_crash.ts";
import { clockJump } from "./scenarios/clock_jump.ts";
import { consumerBug } from "./scenarios/consumer_bug.ts";
import { deadLetterFlood } from "./scenarios/dead_letter_flood.ts";
import { diskFull } from "./scenarios/disk_full.ts";
import { mistakenCommit } from "./scenarios/mistaken_commit.ts";
import { noisyTenant } from "./scenarios/noisy_tenant.ts";
import { partitionActorDown } from "./scenarios/partition_actor_down.ts";
import { publishBurst } from "./scenarios/publish_burst.ts";
import { retryStorm } from "./scenarios/retry_storm.ts";
import { slowDisk } from "./scenarios/slow_disk.ts";
import type { Drill } from "./types.ts";

export const DRILLS: readonly Drill[] = Object.freeze([
  brokerCrash,
  mistakenCommit,
  consumerBug,
  retryStorm,
  deadLetterFlood,
  publishBurst,
  partitionActorDown,
  slowDisk,
  diskFull,
  noisyTenant,
  clockJump,
]);

/** The drill of that name; null where there is none. */
export function drillNamed(name: string): Drill | null {
  return DRILLS.find((drill) => drill.name === name) ?? null;
}
