// Owns plain data that the cluster's deciders are given in tests.
// Refuses to decide anything. Invariant: what a test does not say is the simplest there is: all there, nothing moving.
import type {
  BrokerFacts,
  ClusterState,
  RecordChange,
} from "../../actors/cluster/cluster_state.ts";
import type { KeptPartition, PartitionRecord } from "../../actors/cluster/types.ts";
import type { Topic } from "../../actors/broker.ts";

/** "a" is there; "-a" is not, "a*" is draining, "a!" is shutting down, "a@z1" is in zone z1. */
export function brokersOf(...said: string[]): Map<string, BrokerFacts> {
  return new Map(said.map((text) => {
    const [, away, nodeId, mark, zone] = /^(-?)(\w+)([*!]?)(?:@(\w+))?$/.exec(text)!;
    return [nodeId!, {
      nodeId: nodeId!,
      zone: zone ?? null,
      isOnline: away === "",
      isDraining: mark === "*",
      isLeaving: mark === "!",
    }];
  }));
}

export function recordOf(replicas: string, said: Partial<PartitionRecord> = {}): PartitionRecord {
  const all = replicas.split(" ");
  return {
    topicId: "id-orders",
    partition: 0,
    replicas: all,
    isr: all,
    elr: [],
    leader: all[0]!,
    leaderEpoch: 5,
    ...said,
  };
}

export function stateOf(
  brokers: ReadonlyMap<string, BrokerFacts>,
  topics: readonly Topic[],
  records: readonly PartitionRecord[] = [],
): ClusterState {
  return {
    brokers,
    topics: new Map(topics.map((topic) => [topic.topicId, topic])),
    partitions: records.map((record) => ({ record, version: "1" })),
  };
}

/** The state after `changes` were kept. */
export function changedState(state: ClusterState, changes: readonly RecordChange[]): ClusterState {
  const kept = new Map(state.partitions.map((one) => [nameOf(one.record), one]));
  for (const change of changes) {
    const name = nameOf(change);
    if ((kept.get(name)?.version ?? null) !== change.version) throw new Error("a stale change");
    if (change.record === null) kept.delete(name);
    else kept.set(name, { record: change.record, version: `${Number(change.version) + 1}` });
  }
  return { ...state, partitions: [...kept.values()] };
}

/** As the leaders would in time: every replica that is there is in sync. */
export function allInSync(state: ClusterState): ClusterState {
  const caughtUp = ({ record, version }: KeptPartition) => {
    const isr = record.replicas.filter((id) => state.brokers.get(id)?.isOnline);
    const isLed = record.leader !== null && isr.includes(record.leader);
    return { record: isLed ? { ...record, isr, elr: [] } : record, version };
  };
  return { ...state, partitions: state.partitions.map(caughtUp) };
}

function nameOf({ topicId, partition }: { topicId: string; partition: number }): string {
  return `${topicId}/${partition}`;
}
