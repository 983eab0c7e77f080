// Owns how far the followers of a leader are behind it, as that leader knows now.
// Refuses to own who is in sync because of it (../partition/in_sync.ts) and asking other brokers (../cluster/replica_lags.ts).
// Invariant: pure, from memory; a follower that this leader has not heard of in its epoch has no figures.
import type { Replica } from "../partition/replica.ts";

export interface FollowerLag {
  readonly nodeId: string;
  readonly inSync: boolean;
  /** Offsets of the leader's log that it has not synced; null: it has told nothing yet. */
  readonly lagMessages: number | null;
  /** Since when the leader has had what it has not, ms; 0: it has all; null: it has told nothing yet. */
  readonly behindMs: number | null;
}

/** Of every replica but the leader; null where this broker does not lead the partition. */
export function followerLags(replica: Replica, nowMs: number): FollowerLag[] | null {
  const { log, replication } = replica;
  const { record, followers } = replication;
  if (log.term?.role !== "leader" || log.state === null || record === null) return null;
  const { logEndOffset } = log.state;
  return record.replicas.filter((nodeId) => nodeId !== record.leader).map((nodeId) => {
    const inSync = record.isr.includes(nodeId);
    const known = followers.get(nodeId);
    if (known === undefined) return { nodeId, inSync, lagMessages: null, behindMs: null };
    const { flushedOffset, behindSince } = known;
    return {
      nodeId,
      inSync,
      lagMessages: Math.max(0, logEndOffset - flushedOffset),
      behindMs: behindSince === null ? 0 : Math.max(0, nowMs - behindSince),
    };
  });
}

/** Of all leaders here: how long the in-sync follower furthest behind has been so, ms; 0: all have all. */
export function replicationDelayMs(replicas: Iterable<Replica>, nowMs: number): number {
  let most = 0;
  for (const replica of replicas) {
    for (const { inSync, behindMs } of followerLags(replica, nowMs) ?? []) {
      if (inSync) most = Math.max(most, behindMs ?? 0);
    }
  }
  return most;
}
