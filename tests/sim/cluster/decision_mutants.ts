// Owns mutants of the decisions: records that are not compared, epochs that are not raised, elections of anyone.
// Refuses to own what should catch them. Invariant: see cluster_mutant.ts.
import { type PartitionRecord, PARTITIONS_KEY } from "../../../actors/cluster/types.ts";
import type { MetadataStore } from "../../../storage/metadata.ts";
import { isKeyBelow } from "../../../storage/metadata_limits.ts";
import { withMembers } from "../../support/with_members.ts";
import { type ClusterMutant, withClusterFaults } from "./cluster_mutant.ts";
import type { NodePorts } from "./node_machine.ts";

type Commit = MetadataStore["commit"];

function withCommit(ports: NodePorts, wrap: (commit: Commit) => Commit): NodePorts {
  const { metadata } = ports;
  const commit = wrap((transaction) => metadata.commit(transaction));
  return { ...ports, metadata: withMembers(metadata, { commit }) };
}

const uncompared: ClusterMutant = {
  name: "records-are-not-compared",
  firstSeed: 70,
  fault: "a change of a partition's record does not care whether it was changed meanwhile",
  broken: /^records: /,
  plan: withClusterFaults("pause", "metadataLoss"),
  ports: (ports) =>
    withCommit(ports, (commit) => (transaction) =>
      commit({
        ...transaction,
        checks: transaction.checks.filter(({ key }) => !isKeyBelow(PARTITIONS_KEY, key)),
      })),
};

const sameEpoch: ClusterMutant = {
  name: "elections-keep-the-epoch",
  fault: "a broker that is elected leads in the epoch of the one before it",
  broken: /rule 6/,
  plan: withClusterFaults("restart", "kill"),
  ports: (ports) =>
    withCommit(ports, (commit) => (transaction) =>
      commit({
        ...transaction,
        sets: transaction.sets?.map((set) => {
          if (!isKeyBelow(PARTITIONS_KEY, set.key)) return set;
          const record = set.value as PartitionRecord;
          const { leader, leaderEpoch } = record;
          if (leader === null || leader === ports.nodeId || leaderEpoch === 1) return set;
          return { ...set, value: { ...record, leaderEpoch: leaderEpoch - 1 } };
        }),
      })),
};

const anyoneElected: ClusterMutant = {
  name: "replicas-that-are-behind-are-elected",
  fault: "a replica that left the in-sync set is put back by an election",
  broken: /rule [47]/,
  plan: withClusterFaults("kill", "pause"),
  ports: (ports) =>
    withCommit(ports, (commit) => (transaction) =>
      commit({
        ...transaction,
        sets: transaction.sets?.map((set) => {
          if (!isKeyBelow(PARTITIONS_KEY, set.key)) return set;
          const record = set.value as PartitionRecord;
          const leader = record.replicas.at(-1)!;
          if (record.leader === ports.nodeId || record.leaderEpoch === 1) return set;
          return { ...set, value: { ...record, leader, isr: [leader], elr: [] } };
        }),
      })),
};

export const DECISION_MUTANTS: readonly ClusterMutant[] = [uncompared, sameEpoch, anyoneElected];
