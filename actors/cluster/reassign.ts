// Owns moves that a person asked for: beginning them, how far they are, and cancelling them, from any broker.
// Refuses to own the plan (decide_reassign.ts); the controller finishes what is begun here.
// Invariant: a move is one compare-and-set of its partition's record, decided from that very record.
import { BrokerError } from "../../storage/broker_error.ts";
import type { ClusterState } from "./cluster_state.ts";
import { brokerFacts } from "./controller.ts";
import { cancelledMove, movingTo } from "./decide_moves.ts";
import { type AskedMove, type PlannedMove, planReassign } from "./decide_reassign.ts";
import type { TopicFacts } from "./min_insync.ts";
import { isSameRecord, type PartitionRecord } from "./types.ts";
import type { ClusterMetadata } from "./view.ts";

/** Times one record's change is decided again after another writer came first. */
const MAX_ATTEMPTS = 10;
/** Records that are changed at once. */
const MAX_CHANGES_AT_ONCE = 16;

export interface MoveProgress extends PlannedMove {
  /** Of `to`, those that are not in sync yet. */
  readonly missing: readonly string[];
}

/**
 * Plans, and unless `dryRun` begins, the moves. Resolves to the plan. Errors as planReassign; METADATA_CONFLICT and
 * METADATA_UNAVAILABLE when some of the moves may not have begun: asking again begins the rest.
 */
export async function reassign(
  cluster: ClusterMetadata,
  topics: Iterable<TopicFacts>,
  { moves, dryRun }: { moves: readonly AskedMove[] | "rebalance"; dryRun: boolean },
): Promise<PlannedMove[]> {
  const plan = planReassign(clusterState(cluster, topics), moves);
  if (dryRun) return plan;
  await inTurns(
    plan,
    (move) => change(cluster, move, (record) => movingTo(record, move.to, brokerFacts(cluster))),
  );
  return plan;
}

/** Moves under way, those that the controller began too. */
export function movesUnderWay(
  cluster: ClusterMetadata,
  topics: Iterable<TopicFacts>,
): MoveProgress[] {
  const names = new Map([...topics].map((topic) => [topic.topicId, topic.name]));
  return [...cluster.partitions()].flatMap(({ record }) => {
    const { topicId, partition, target, origin, isr } = record;
    const topic = names.get(topicId);
    if (target === undefined || topic === undefined) return [];
    const missing = target.filter((id) => !isr.includes(id));
    return [{ topicId, topic, partition, from: origin ?? record.replicas, to: target, missing }];
  });
}

/** Ends these moves: what was before is again, or is moved back to. Errors: METADATA_CONFLICT, METADATA_UNAVAILABLE. */
export async function cancelMoves(
  cluster: ClusterMetadata,
  moves: readonly Pick<PlannedMove, "topicId" | "partition">[],
): Promise<void> {
  await inTurns(moves, (move) => change(cluster, move, cancelledMove));
}

export function clusterState(
  cluster: ClusterMetadata,
  topics: Iterable<TopicFacts>,
): ClusterState {
  return {
    brokers: brokerFacts(cluster),
    topics: new Map([...topics].map((topic) => [topic.topicId, topic])),
    partitions: [...cluster.partitions()],
  };
}

async function change(
  cluster: ClusterMetadata,
  { topicId, partition }: Pick<PlannedMove, "topicId" | "partition">,
  decide: (record: PartitionRecord) => PartitionRecord,
): Promise<void> {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const kept = cluster.partition(topicId, partition);
    if (kept === null) return;
    const next = decide(kept.record);
    if (isSameRecord(next, kept.record)) return;
    if (await cluster.changeRecord(kept, next) !== null) return;
  }
  throw new BrokerError(
    "METADATA_CONFLICT",
    `the record of partition ${partition} of ${topicId} is being changed by others`,
    { topicId, partition },
  );
}

async function inTurns<T>(all: readonly T[], run: (one: T) => Promise<void>): Promise<void> {
  for (let at = 0; at < all.length; at += MAX_CHANGES_AT_ONCE) {
    await Promise.all(all.slice(at, at + MAX_CHANGES_AT_ONCE).map(run));
  }
}
