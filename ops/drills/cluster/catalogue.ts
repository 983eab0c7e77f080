// Owns which cluster drills there are, in the order in which `all` runs them.
// Refuses to own any of them. Invariant: names are unique, and never change once they are told.
import { acknowledgedEarly } from "./scenarios/acknowledged_early.ts";
import { brokerKilled } from "./scenarios/broker_killed.ts";
import {
  clockDayOff,
  diskWiped,
  slowDiskOnFollower,
  slowDiskOnLeader,
} from "./scenarios/disks_and_clocks.ts";
import {
  leaderCutFromEtcd,
  leaderCutFromFollowers,
  minorityIsolated,
  oneWayLink,
  zombieLeader,
} from "./scenarios/out_of_reach.ts";
import { allBrokersKilled, etcdLeaderKilled, rollingRestart } from "./scenarios/processes.ts";
import type { ClusterDrill } from "./types.ts";

export const CLUSTER_DRILLS: readonly ClusterDrill[] = Object.freeze([
  brokerKilled,
  zombieLeader,
  leaderCutFromEtcd,
  leaderCutFromFollowers,
  minorityIsolated,
  oneWayLink,
  etcdLeaderKilled,
  allBrokersKilled,
  rollingRestart,
  slowDiskOnFollower,
  slowDiskOnLeader,
  diskWiped,
  clockDayOff,
  acknowledgedEarly,
]);

/** The drill of that name; null where there is none. */
export function clusterDrillNamed(name: string): ClusterDrill | null {
  return CLUSTER_DRILLS.find((drill) => drill.name === name) ?? null;
}
