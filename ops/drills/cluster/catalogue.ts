// Owns which cluster drills there are, in the order in which `all` runs them.
// Refuses to own any of them. Invariant: names are unique, and never change once they are told.
import { brokerKilled } from "./scenarios/broker_killed.ts";
import type { ClusterDrill } from "./types.ts";

export const CLUSTER_DRILLS: readonly ClusterDrill[] = Object.freeze([
  brokerKilled,
]);

/** The drill of that name; null where there is none. */
export function clusterDrillNamed(name: string): ClusterDrill | null {
  return CLUSTER_DRILLS.find((drill) => drill.name === name) ?? null;
}
