// Owns what a seed decides before a run of several brokers: sizes, speeds, and which kinds of faults there are.
// Refuses to own when anything happens: the run draws that as it goes.
// Invariant: each kind of fault is in some seeds and not in others, so that none always hides behind another.
import type { SeededRandomness } from "../../support/seeded_randomness.ts";
import type { DiskLatencies } from "../world.ts";

export const CLUSTER_FAULTS = [
  "kill",
  "powerCut",
  "restart",
  "pause",
  "wipe",
  "failedSync",
  "slowSync",
  "wallJump",
  "cut",
  "cutOneWay",
  "isolate",
  "metadataCut",
  "metadataOutage",
  "metadataLoss",
  "connectionResets",
  "slowMessages",
] as const;
export type ClusterFault = (typeof CLUSTER_FAULTS)[number];

export interface ClusterPlan extends DiskLatencies {
  readonly brokers: number;
  /** Virtual time in which faults happen. */
  readonly faultPhaseMs: number;
  readonly faults: readonly ClusterFault[];
  /** Between two faults, on average. */
  readonly faultEveryMs: number;
  readonly maxNetworkMs: number;
  /** One in so many calls that may be repeated is. */
  readonly repeatOneIn: number;
  readonly maxMetadataMs: number;
  /** A replica that is behind for longer leaves the in-sync set. */
  readonly lagMaxMs: number;
  readonly topics: number;
  readonly partitions: number;
  /** Of one group; 0 for no group. */
  readonly members: number;
  /** An application copies by transactions. */
  readonly transforms: boolean;
  readonly producers: number;
  /** Between two sends of one producer, on average. */
  readonly sendEveryMs: number;
}

export function drawClusterPlan(chance: SeededRandomness): ClusterPlan {
  const swarm = CLUSTER_FAULTS.filter(() => chance.integer(3) === 0);
  return {
    brokers: chance.pick([3, 3, 3, 4]),
    faultPhaseMs: chance.pick([15_000, 30_000]),
    faults: swarm.length > 0 ? swarm : CLUSTER_FAULTS,
    faultEveryMs: chance.pick([1_000, 3_000]),
    maxDiskMs: chance.pick([0.1, 3]),
    maxSyncMs: chance.pick([1, 5, 30]),
    maxNetworkMs: chance.pick([0.5, 5, 40]),
    repeatOneIn: 3,
    maxMetadataMs: chance.pick([1, 10, 80]),
    lagMaxMs: chance.pick([1_500, 6_000]),
    topics: 1 + chance.integer(2),
    partitions: 1 + chance.integer(2),
    members: chance.integer(3),
    transforms: chance.integer(2) === 0,
    producers: 1 + chance.integer(2),
    sendEveryMs: chance.pick([50, 150, 400]),
  };
}
