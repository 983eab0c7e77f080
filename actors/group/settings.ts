// Owns the knobs of consumer groups and their defaults.
// Refuses to own their meaning: each is read in one place only, by the decision it bounds.
// Invariant: settings decide what happens next; they never change what a journalled event meant.

export interface GroupSettings {
  /** Groups of a broker; what would make one more is refused. */
  readonly maxGroups: number;
  /** The first assignment of an empty group waits this long after each join … */
  readonly initialRebalanceDelayMs: number;
  /** … but no longer than this after the first of them. */
  readonly maxInitialRebalanceDelayMs: number;
  /** A group that has an assignment waits this long for more changes before it is assigned anew. */
  readonly rebalanceDelayMs: number;
  /** A member that was told to give partitions up keeps them no longer than this. */
  readonly revocationGraceMs: number;
  /** A dynamic member whose socket is gone is removed after this. */
  readonly reconnectGraceMs: number;
  /** After a restart of the broker, dynamic websocket members have this long to come back. */
  readonly recoveryGraceMs: number;
  readonly maxMembers: number;
  /** Rebalances in the history of a group … */
  readonly maxRebalancesKept: number;
  /** … and moves in all of them together; the latest one is kept whatever its size. */
  readonly maxMovesKept: number;
  /** UTF-8 bytes of metadata with one committed offset. */
  readonly maxOffsetMetadataBytes: number;
  /** Partitions a group may be assigned, may have offsets for, and the bound of a partition's number in a commit. */
  readonly maxPartitionsPerGroup: number;
  /** Offsets that changed are written down as a snapshot this long after; 0: only when asked for. */
  readonly offsetsSnapshotIntervalMs: number;
  /** The journal is kept for this long at least, and with it the history of groups and offsets; 0: for ever. */
  readonly historyMs: number;
  /** Messages of a group that wait for a retry, or are done and not committed past; one more is refused. */
  readonly maxPendingRetries: number;
  /** Dead letters of a group that are still to be written. */
  readonly maxDeadLettersWaiting: number;
  /** A group in which more messages become dead letters within a minute is paused; 0 turns that off. */
  readonly maxDeadLettersPerMinute: number;
}

export const DEFAULT_GROUP_SETTINGS: GroupSettings = Object.freeze({
  maxGroups: 50_000,
  initialRebalanceDelayMs: 500,
  maxInitialRebalanceDelayMs: 3_000,
  rebalanceDelayMs: 100,
  revocationGraceMs: 3_000,
  reconnectGraceMs: 2_000,
  recoveryGraceMs: 10_000,
  maxMembers: 2_000,
  maxRebalancesKept: 200,
  maxMovesKept: 50_000,
  maxOffsetMetadataBytes: 4_096,
  maxPartitionsPerGroup: 50_000,
  maxPendingRetries: 200_000,
  maxDeadLettersWaiting: 10_000,
  maxDeadLettersPerMinute: 2_000,
  offsetsSnapshotIntervalMs: 60_000,
  historyMs: 7 * 24 * 3_600_000,
});
