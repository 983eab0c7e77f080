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
  readonly fetchedAt: number;
  /** Log end of the leader then. */
  readonly logEndOffset: number;
  /** It had all that the leader had then. */
  readonly caughtUpAt: number;
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
  const caughtUpAt = fetchOffset >= logEndOffset
    ? at
    : known !== undefined && fetchOffset >= known.logEndOffset
    ? Math.max(known.caughtUpAt, known.fetchedAt)
    : known?.caughtUpAt ?? -Infinity;
  return { incarnation, flushedOffset: fetchOffset, fetchedAt: at, logEndOffset, caughtUpAt };
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
  /** Who joins must have all below: the high watermark, and the leader's log end when its epoch began. */
  readonly joinOffset: number;
  /** Whether the broker is there in this very registration. */
  readonly isOnline: (nodeId: string, incarnation: number) => boolean;
}

/** The in-sync set as it should be; null when that is what it is. */
export function wantedInSync(facts: InSyncFacts): InSyncChange | null {
  const { record, self, followers, now, lagMaxMs } = facts;
  const stays = (nodeId: string) => {
    if (nodeId === self) return true;
    const seen = followers.get(nodeId)?.caughtUpAt ?? -Infinity;
    return now - Math.max(seen, facts.ledSince) <= lagMaxMs;
  };
  const joins = (nodeId: string) => {
    const follower = followers.get(nodeId);
    return follower !== undefined && follower.flushedOffset >= facts.joinOffset &&
      now - follower.fetchedAt <= lagMaxMs && facts.isOnline(nodeId, follower.incarnation);
  };
  const isr = record.replicas.filter((nodeId) =>
    record.isr.includes(nodeId) ? stays(nodeId) : joins(nodeId)
  );
  if (isr.length === record.isr.length && isr.every((nodeId) => record.isr.includes(nodeId))) {
    return null;
  }
  return { isr, elr: eligible(record, isr, facts.minInsync) };
}

/** Who left while too few were in sync for the high watermark to rise has all that was acknowledged, and may lead. */
function eligible(record: PartitionRecord, isr: readonly string[], minInsync: number): string[] {
  if (isr.length >= minInsync) return [];
  const left = record.isr.filter((nodeId) => !isr.includes(nodeId));
  return [...new Set([...record.elr, ...left])]
    .filter((nodeId) => !isr.includes(nodeId) && record.replicas.includes(nodeId));
}
