// Owns what a seed decides before a run: sizes, speeds, and which kinds of faults there are.
// Refuses to own when anything happens: the run draws that as it goes.
// Invariant: each kind of fault is in some seeds and not in others, so that none always hides behind another.
import type { SeededRandomness } from "../support/seeded_randomness.ts";

export const FAULT_KINDS = [
  "kill",
  "powerCut",
  "crashPoint",
  "crashInRecovery",
  "restart",
  "failedSync",
  "slowSync",
  "diskFull",
  "wallJump",
  "metadataFailure",
] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

export interface Plan {
  /** Virtual time in which faults happen. */
  readonly faultPhaseMs: number;
  readonly faults: readonly FaultKind[];
  /** Between two faults, on average. */
  readonly faultEveryMs: number;
  /** Latencies of the disk and of the metadata store, uniform up to these. */
  readonly maxDiskMs: number;
  readonly maxSyncMs: number;
  readonly maxMetadataMs: number;
  readonly topics: number;
  /** Whether one more topic has durability "os". */
  readonly weakTopic: boolean;
  readonly producers: number;
  /** Between two sends of one producer, on average. */
  readonly sendEveryMs: number;
  readonly maxValueBytes: number;
  readonly readers: number;
  readonly groups: number;
  readonly membersPerGroup: number;
  /** Whether topics come, go and grow. */
  readonly topicChanges: boolean;
  readonly maxPendingPublishBytes: number;
  readonly retentionIntervalMs: number;
  readonly checkpointBytes: number;
  readonly tailCacheBytes: number;
  /** Whether topics, internal ones too, are encrypted at rest. */
  readonly isEncrypted: boolean;
}

export function drawPlan(chance: SeededRandomness): Plan {
  const swarm = FAULT_KINDS.filter(() => chance.integer(2) === 0);
  return {
    faultPhaseMs: chance.pick([4_000, 8_000, 15_000]),
    faults: swarm.length > 0 ? swarm : FAULT_KINDS,
    faultEveryMs: chance.pick([300, 1_000, 3_000]),
    maxDiskMs: chance.pick([0.1, 0.5, 3]),
    maxSyncMs: chance.pick([1, 5, 30]),
    maxMetadataMs: chance.pick([1, 10]),
    topics: 1 + chance.integer(3),
    weakTopic: chance.integer(3) === 0,
    producers: 1 + chance.integer(4),
    sendEveryMs: chance.pick([10, 30, 80]),
    maxValueBytes: chance.pick([50, 400, 3_000]),
    readers: 1 + chance.integer(2),
    groups: chance.integer(3),
    membersPerGroup: 1 + chance.integer(4),
    topicChanges: chance.integer(2) === 0,
    maxPendingPublishBytes: chance.pick([16_384, 1_048_576]),
    retentionIntervalMs: chance.pick([700, 3_000]),
    checkpointBytes: chance.pick([2_000, 20_000, 64 * 1_048_576]),
    tailCacheBytes: chance.pick([0, 8_000, 1_048_576]),
    // Not drawn: other seeds run as they always have.
    isEncrypted: chance.seed % 4 === 1,
  };
}
