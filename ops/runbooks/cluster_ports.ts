// Owns what runbooks see and move of the cluster that a broker is one of.
// Refuses to own what any of them does with it.
// Invariant: what this broker tells of its own replicas it has from memory, and never asks another for.
import type { ClusterNode } from "../../actors/cluster/cluster_node.ts";
import type { MetadataStore } from "../../storage/metadata.ts";
import type { ClusterPorts } from "./definition.ts";

/** Of `node`, whose cluster is kept in `metadata`. */
export function clusterPorts(
  { cluster: view, administration, replicas }: Pick<
    ClusterNode,
    "cluster" | "administration" | "replicas"
  >,
  metadata: Pick<MetadataStore, "get" | "commit">,
): ClusterPorts {
  return {
    view,
    administration,
    metadata,
    watermarkHere: (at) => replicas.find(at)?.log.state?.highWatermark ?? null,
  };
}
