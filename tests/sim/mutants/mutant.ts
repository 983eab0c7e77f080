// Owns what a mutant is: a broker that is known to be bad, because one of its ports breaks a promise.
// Refuses to change production code. Invariant: but for its one fault, a mutant is the broker itself.
import type { Broker } from "../../../actors/broker.ts";
import type { LogStore } from "../../../storage/log.ts";
import type { Clock, Disk } from "../../../storage/ports.ts";
import type { SnapshotStore } from "../../../storage/snapshots.ts";
import type { Incarnation } from "../incarnation.ts";
import type { Machine } from "../machine.ts";
import type { FaultKind, Plan } from "../plan.ts";

export interface Mutant {
  readonly name: string;
  /** Which promise it breaks. */
  readonly fault: string;
  /** The rule whose violation must give it away. */
  readonly broken: RegExp;
  /** What a run needs so that the fault can matter. */
  readonly plan?: (plan: Plan) => Plan;
  /** Changes the machine once, before its first process. */
  /** An application that transforms by transactions takes part. */
  readonly transforms?: boolean;
  readonly machine?: (machine: Machine) => void;
  readonly onPowerCut?: (machine: Machine) => void;
  /** The rest wraps a port of each process. */
  readonly disk?: (disk: Disk) => Disk;
  readonly clock?: (life: Incarnation) => Clock;
  readonly logs?: (logs: LogStore) => LogStore;
  readonly snapshots?: (snapshots: SnapshotStore) => SnapshotStore;
  readonly broker?: (broker: Broker, machine: Machine) => Broker;
  /** Bytes of publishes that the broker is told it may hold; the run still expects what its plan says. */
  readonly maxPendingPublishBytes?: number;
}

/** A plan in which these faults strike, and often. */
export function withFaults(...faults: FaultKind[]): (plan: Plan) => Plan {
  return (plan) => ({ ...plan, faults, faultEveryMs: 300, faultPhaseMs: 4_000 });
}

/** A plan in which members of one group come and go, and nothing else that ends their sessions. */
export function withGroup(...faults: FaultKind[]): (plan: Plan) => Plan {
  return (plan) => ({
    ...plan,
    faults,
    faultEveryMs: 3_000,
    faultPhaseMs: 15_000,
    groups: 1,
    membersPerGroup: 4,
    topics: 2,
    producers: 1,
    sendEveryMs: 80,
  });
}
