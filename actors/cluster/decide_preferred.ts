// Owns when leadership goes back to the first replica of a partition.
// Refuses to own elections because a leader is gone (decide_election.ts).
// Invariant: pure; the first replica has been there and in sync for a while before it leads, and only a few change at once.
import type { ClusterState, RecordChange } from "./cluster_state.ts";
import type { PartitionRecord } from "./types.ts";

export interface PreferredRules {
  /** Monotonic. */
  readonly nowMs: number;
  /** How long the first replica must have been able to lead. */
  readonly afterMs: number;
  readonly maxAtOnce: number;
}

export interface PreferredDecision {
  readonly changes: RecordChange[];
  /** By partition: since when its first replica could lead and does not. Handed in again the next time. */
  readonly since: ReadonlyMap<string, number>;
  /** When the next change is due, on the same clock; null: not by time alone. */
  readonly nextMs: number | null;
}

export function decidePreferred(
  state: ClusterState,
  since: ReadonlyMap<string, number>,
  { nowMs, afterMs, maxAtOnce }: PreferredRules,
): PreferredDecision {
  const next = new Map<string, number>();
  const changes: RecordChange[] = [];
  let nextMs: number | null = null;
  for (const { record, version } of state.partitions) {
    if (!canPrefer(record, state)) continue;
    const { topicId, partition } = record;
    const name = `${topicId}/${partition}`;
    const sinceMs = since.get(name) ?? nowMs;
    next.set(name, sinceMs);
    const dueMs = sinceMs + afterMs;
    if (dueMs > nowMs || changes.length >= maxAtOnce) {
      nextMs = Math.min(nextMs ?? Infinity, Math.max(dueMs, nowMs));
      continue;
    }
    const leader = record.replicas[0]!;
    const led = { ...record, leader, leaderEpoch: record.leaderEpoch + 1 };
    changes.push({ topicId, partition, record: led, version, reason: "preferred" });
  }
  return { changes, since: next, nextMs };
}

function canPrefer(record: PartitionRecord, { brokers }: ClusterState): boolean {
  const first = record.replicas[0]!;
  if (record.leader === null || record.leader === first || record.target !== undefined) {
    return false;
  }
  const broker = brokers.get(first);
  return broker !== undefined && broker.isOnline && !broker.isDraining && !broker.isLeaving &&
    record.isr.includes(first);
}
