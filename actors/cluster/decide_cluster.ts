// Owns what the controller changes: the records of all partitions, after brokers and topics.
// Refuses to own how it is committed (controller.ts), and leadership by preference (decide_preferred.ts).
// Invariant: pure; deciding again after the changes gives nothing new once nothing else changes.
import {
  type ChangeReason,
  type ClusterState,
  mayHold,
  type RecordChange,
} from "./cluster_state.ts";
import { assignReplicas, BrokerLoads } from "./decide_assignment.ts";
import { elected, isClean } from "./decide_election.ts";
import { finishedMove, movingTo, wantedTarget } from "./decide_moves.ts";
import { settledMinInsync, type TopicFacts, wantedReplicas } from "./min_insync.ts";
import type { KeptPartition, PartitionRecord } from "./types.ts";

/** Moves under way at once that the controller has begun itself. */
export const MAX_MOVES_AT_ONCE = 100;

/** The epoch of a partition's first leader. */
const FIRST_LEADER_EPOCH = 1;
/** What cannot wait comes first. */
const URGENCY: readonly ChangeReason[] = ["unclean", "elected", "offline", "replica_gone"];

interface Deciding {
  readonly state: ClusterState;
  readonly loads: BrokerLoads;
  /** Brokers that may hold replicas, whether they are there or not. */
  readonly members: number;
  /** More moves that may begin. */
  moves: number;
}

/** All that is to be changed now, elections first. */
export function decideCluster(state: ClusterState): RecordChange[] {
  const { partitions } = state;
  const underWay =
    partitions.filter(({ record: { target } }) =>
      target?.every((id) => state.brokers.get(id)?.isOnline)
    ).length;
  const deciding = {
    state,
    loads: BrokerLoads.of(partitions),
    members: [...state.brokers.values()].filter((broker) => !broker.isDraining).length,
    moves: Math.max(0, MAX_MOVES_AT_ONCE - underWay),
  };
  const changes = partitions.flatMap((kept) => changeOf(kept, deciding));
  changes.push(...creations(deciding));
  const urgency = ({ reason }: RecordChange) => {
    const at = URGENCY.indexOf(reason);
    return at < 0 ? URGENCY.length : at;
  };
  return changes.sort((a, b) => urgency(a) - urgency(b));
}

function changeOf(kept: KeptPartition, deciding: Deciding): RecordChange[] {
  const { record, version } = kept;
  const { topicId, partition } = record;
  const topic = deciding.state.topics.get(topicId);
  if (topic === undefined) {
    return [{ topicId, partition, record: null, version, reason: "removed" }];
  }
  const next = nextRecord(record, topic, deciding);
  if (next === record) return [];
  return [{ topicId, partition, record: next, version, reason: reasonOf(record, next) }];
}

function nextRecord(
  record: PartitionRecord,
  topic: TopicFacts,
  deciding: Deciding,
): PartitionRecord {
  const { brokers } = deciding.state;
  const settled = finishedMove(
    elected(record, {
      brokers,
      minInsync: settledMinInsync(topic, record),
      isUncleanAllowed: topic.config.uncleanLeaderElection ?? false,
    }),
    brokers,
  );
  const seed = `${record.topicId}/${record.partition}/`;
  const { loads, members } = deciding;
  const target = wantedTarget(settled, topic, { brokers, loads, seed, members });
  if (target === null) return settled;
  const moved = movingTo(settled, target, brokers);
  const isNewMove = moved.target !== undefined && settled.target === undefined;
  if (isNewMove && deciding.moves === 0) return settled;
  if (isNewMove) deciding.moves--;
  deciding.loads.remove(settled);
  deciding.loads.add(moved);
  return moved;
}

function creations({ state, loads, members }: Deciding): RecordChange[] {
  const known = new Set(
    state.partitions.map(({ record }) => `${record.topicId}/${record.partition}`),
  );
  const changes: RecordChange[] = [];
  if (![...state.brokers.values()].some(mayHold)) return changes;
  for (const topic of state.topics.values()) {
    const { topicId, partitionCount } = topic;
    const count = wantedReplicas(topic, members);
    for (let partition = 0; partition < partitionCount; partition++) {
      if (known.has(`${topicId}/${partition}`)) continue;
      const seed = `${topicId}/${partition}/`;
      const replicas = assignReplicas(count, { brokers: state.brokers, loads, seed });
      const record = createdRecord({ topicId, partition, replicas });
      loads.add(record);
      changes.push({ topicId, partition, record, version: null, reason: "created" });
    }
  }
  return changes;
}

/** Of a new partition, whose replicas are all there. */
function createdRecord(
  { topicId, partition, replicas }: Pick<PartitionRecord, "topicId" | "partition" | "replicas">,
): PartitionRecord {
  return {
    topicId,
    partition,
    replicas,
    isr: replicas,
    elr: [],
    leader: replicas[0]!,
    leaderEpoch: FIRST_LEADER_EPOCH,
  };
}

function reasonOf(before: PartitionRecord, after: PartitionRecord): ChangeReason {
  if (after.leader === null && before.leader !== null) return "offline";
  if (after.leader !== null && after.leader !== before.leader) {
    const wasMove = before.target !== undefined && after.target === undefined;
    if (!isClean(before, after.leader)) return "unclean";
    return wasMove ? "move_finished" : "elected";
  }
  if (after.isr.length < before.isr.length && after.target === before.target) return "replica_gone";
  if (after.target !== undefined && before.target === undefined) return "move_started";
  if (after.replicas.join("\0") !== before.replicas.join("\0")) return "move_finished";
  return "settled";
}
