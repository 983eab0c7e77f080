// Owns what followers and leaders say to each other: fetches that acknowledge, and answers with batches (KIP-227, KIP-595).
// Refuses to own what either does with it (replica_sessions.ts, replica_fetcher.ts, ../partition/partition_replication.ts).
// Invariant: every entry and every answer names the epoch that it is of; a fetch at an offset says that all below is synced.

export const REPLICA_FETCH = "replica.fetch";

export interface ReplicaAt {
  readonly topicId: string;
  readonly partition: number;
}

/** Where a follower stands. */
export interface FetchEntry extends ReplicaAt {
  /** Of the leader that it follows. */
  readonly leaderEpoch: number;
  /** All below is synced; what comes next is wanted. */
  readonly fetchOffset: number;
  /** Of its last batch; -1 when it has none. */
  readonly lastEpoch: number;
}

/** One fetch of a session: what is left out of `changed` is as it was told last. */
export interface ReplicaFetch {
  readonly sessionId: string;
  /** The first fetch of a session tells everything. */
  readonly isFirst: boolean;
  readonly changed: readonly FetchEntry[];
  readonly forgotten: readonly ReplicaAt[];
  readonly maxWaitMs: number;
  readonly maxBytes: number;
}

/** News of one partition. */
export interface ReplicaAnswer extends ReplicaAt {
  readonly leaderEpoch: number;
  readonly highWatermark: number;
  readonly logStartOffset: number;
  /** Whole batches from `fetchOffset` on. */
  readonly batches?: Uint8Array;
  /** The logs part here: the last epoch that the leader has of those up to the follower's, and where it ends there. */
  readonly diverging?: { readonly leaderEpoch: number; readonly endOffset: number };
  /** What the follower wants is gone: it has to begin anew where the leader's log starts. */
  readonly startAnew?: true;
  /** It is not answered now: another leads, or another epoch has begun. */
  readonly refusal?: { readonly code: string; readonly message: string };
}

export interface ReplicaFetchReply {
  /** The session is not known here: the follower begins another. */
  readonly unknownSession?: true;
  readonly answers: readonly ReplicaAnswer[];
}

export function replicaKey({ topicId, partition }: ReplicaAt): string {
  return `${topicId}/${partition}`;
}
