// Owns what users are told of the cluster: its controller, its brokers, and the partitions in trouble.
// Refuses to own what makes a partition one of those (cluster_health.ts).
// Invariant: pure; from one broker's view, without asking any other.
import { offlinePartitions, underReplicatedPartitions } from "./cluster_health.ts";
import type { TopicFacts } from "./min_insync.ts";
import type { BrokerState, ControllerTerm } from "./types.ts";
import type { ClusterMetadata } from "./view.ts";

export interface BrokerDescription {
  readonly nodeId: string;
  /** Where clients reach it; null while it is not registered. */
  readonly host: string | null;
  readonly port: number | null;
  readonly zone: string | null;
  readonly state: BrokerState;
}

export interface DescribedPlace {
  readonly topic: string;
  readonly partition: number;
}

export interface ClusterDescription {
  /** Null while there is none. */
  readonly controller: ControllerTerm | null;
  /** By node id. */
  readonly brokers: readonly BrokerDescription[];
  readonly offlinePartitions: readonly DescribedPlace[];
  readonly underReplicatedPartitions: readonly DescribedPlace[];
}

export type DescribedCluster = Pick<
  ClusterMetadata,
  "controller" | "members" | "online" | "stateOf" | "partition"
>;

/** As the view shows it now. */
export function describeCluster(
  view: DescribedCluster,
  topics: Iterable<TopicFacts>,
): ClusterDescription {
  const all = [...topics];
  const shown = ({ topic, partition }: DescribedPlace) => ({ topic, partition });
  const term = view.controller();
  return {
    controller: term === null ? null : { nodeId: term.nodeId, epoch: term.epoch },
    brokers: describeBrokers(view),
    offlinePartitions: offlinePartitions(view, all).map(shown),
    underReplicatedPartitions: underReplicatedPartitions(view, all).map(shown),
  };
}

/** By node id, those that are not there just now too. */
export function describeBrokers(
  view: Pick<DescribedCluster, "members" | "online" | "stateOf">,
): BrokerDescription[] {
  const ids = [...new Set([...view.members().keys(), ...view.online().keys()])].sort();
  return ids.flatMap((nodeId) => {
    const state = view.stateOf(nodeId);
    if (state === null) return [];
    const registered = view.online().get(nodeId);
    const { host = null, port = null } = registered ?? {};
    const zone = registered?.zone ?? view.members().get(nodeId)?.zone ?? null;
    return [{ nodeId, host, port, zone, state }];
  });
}
