// Owns who is in sync with a leader: what each fetch tells of a follower, and which change of the set that calls for.
// Refuses to own making the change, which is a compare-and-set (partition_replication.ts), and the high watermark (decide.ts).
// Invariant: pure. Whoever joins has all that may have been acknowledged; the leader never leaves; the rules are those of
// Kafka's replication protocol with eligible leader replicas (KIP-966).
import type { InSyncChange, PartitionRecord } from "../cluster/types.ts";

/** What a leader knows of one follower, in its epoch. Times are monotonic, ms. */
export interface FollowerProgress {
  readonly incarnation: number;
  /** It has synced all below. */
  readonly flushedOffset: number;
  /** When it said so. */
  readonly fetchedAt: number;
  /** Log end of the leader then. */
  readonly logEndOffset: number;
  /** Since when the leader has had what it has not; null: it has all. */
  readonly behindSince: number | null;
  /** It still fetches: what it said holds with every fetch of its broker. */
  readonly isFetching: boolean;
}

export interface FollowerFetched {
  readonly incarnation: number;
  readonly fetchOffset: number;
  readonly logEndOffset: number;
  readonly at: number;
}

/** The follower's progress after a fetch. */
export function progressed(
  before: FollowerProgress | undefined,
  { incarnation, fetchOffset, logEndOffset, at }: FollowerFetched,
): FollowerProgress {
  const known = before?.incarnation === incarnation ? before : undefined;
  const behindSince = fetchOffset >= logEndOffset
    ? null
    : known !== undefined && fetchOffset >= known.logEndOffset
    // It had all that there was when it fetched last.
    ? Math.max(known.behindSince ?? known.fetchedAt, known.fetchedAt)
    : known?.behindSince ?? at;
  const flushedOffset = fetchOffset;
  return { incarnation, flushedOffset, fetchedAt: at, logEndOffset, behindSince, isFetching: true };
}

/** After the leader's log has grown. */
export function leftBehind(follower: FollowerProgress, at: number): FollowerProgress {
  return follower.behindSince === null ? { ...follower, behindSince: at } : follower;
}

export interface InSyncFacts {
  readonly record: PartitionRecord;
  readonly self: string;
  readonly followers: ReadonlyMap<string, FollowerProgress>;
  readonly now: number;
  /** Since when this epoch is led: nobody is late before. */
  readonly ledSince: number;
  readonly lagMaxMs: number;
  readonly minInsync: number;
  /** Who has less than this has lost something, and is not in sync whatever the record says. */
  readonly highWatermark: number;
  /** Who joins must have all below: the high watermark, and the leader's log end when its epoch began. */
  readonly joinOffset: number;
  /** When the broker fetched last, whatever it was. */
  readonly heardAt: (nodeId: string) => number;
  /** Whether the broker is there in this very registration. */
  readonly isOnline: (nodeId: string, incarnation: number) => boolean;
}

/** The in-sync set as it should be; null when that is what it is. */
export function wantedInSync(facts: InSyncFacts): InSyncChange | null {
  const { record, self, followers, now, lagMaxMs } = facts;
  const stays = (nodeId: string) => {
    if (nodeId === self) return true;
    const follower = followers.get(nodeId);
    if (follower !== undefined && follower.flushedOffset < facts.highWatermark) return false;
    if (follower === undefined) return now - facts.ledSince <= lagMaxMs;
    return isHeard(facts, nodeId, follower) && now - (follower.behindSince ?? now) <= lagMaxMs;
  };
  const joins = (nodeId: string) => {
    const follower = followers.get(nodeId);
    return follower !== undefined && follower.flushedOffset >= facts.joinOffset &&
      isHeard(facts, nodeId, follower) && facts.isOnline(nodeId, follower.incarnation);
  };
  const isr = record.replicas.filter((nodeId) =>
    record.isr.includes(nodeId) ? stays(nodeId) : joins(nodeId)
  );
  if (isr.length === record.isr.length && isr.every((nodeId) => record.isr.includes(nodeId))) {
    return null;
  }
  return { isr, elr: eligible(record, isr, facts.minInsync) };
}

function isHeard(facts: InSyncFacts, nodeId: string, follower: FollowerProgress): boolean {
  const { fetchedAt, isFetching } = follower;
  const heardAt = isFetching ? Math.max(fetchedAt, facts.heardAt(nodeId)) : fetchedAt;
  return facts.now - heardAt <= facts.lagMaxMs;
}

/** Who left while too few were in sync for the high watermark to rise has all that was acknowledged, and may lead. */
function eligible(record: PartitionRecord, isr: readonly string[], minInsync: number): string[] {
  if (isr.length >= minInsync) return [];
  const left = record.isr.filter((nodeId) => !isr.includes(nodeId));
  return [...new Set([...record.elr, ...left])]
    .filter((nodeId) => !isr.includes(nodeId) && record.replicas.includes(nodeId));
}
