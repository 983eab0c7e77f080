// Owns what a mutant of a cluster is: brokers that are known to be bad, because one of their ports breaks a promise.
// Refuses to change production code. Invariant: but for its one fault, a mutant is the cluster itself.
import type { ClusterView } from "../../../actors/cluster/types.ts";
import type { RunWorld } from "../world.ts";
import type { NodePorts } from "./node_machine.ts";
import type { ClusterFault, ClusterPlan } from "./plan.ts";

export interface ClusterMutant {
  readonly name: string;
  /** Which promise it breaks. */
  readonly fault: string;
  /** The rule whose violation must give it away. */
  readonly broken: RegExp;
  /** Where to begin looking, so that the test is quick; left out: 1. */
  readonly firstSeed?: number;
  /** What a run needs so that the fault can matter. */
  readonly plan?: (plan: ClusterPlan) => ClusterPlan;
  /** Wraps the ports of each process. */
  readonly ports?: (ports: NodePorts, world: RunWorld<ClusterPlan>) => NodePorts;
  /** Wraps what replicas know of the cluster. */
  readonly view?: (view: ClusterView) => ClusterView;
}

/** A plan in which these faults strike, and often. */
export function withClusterFaults(...faults: ClusterFault[]): (plan: ClusterPlan) => ClusterPlan {
  return (plan) => ({ ...plan, faults, faultEveryMs: 1_000, faultPhaseMs: 30_000 });
}
