// Owns the port through which the offset ledger is read: every change of a group's offsets, and its snapshots.
// Refuses to own changing offsets: that is the group's (MoveOffsets, SnapshotOffsets).
// Invariant: plain data; what is told was durable, and is told the same again until the history window has passed it.
import type { TopicPartition } from "../../broker.ts";
import type { OffsetsSnapshot } from "../types.ts";

/**
 * What changed the offset: a commit; a commit that went back; an operator's rollback or reset; the topic or its partition
 * is gone (dropped); the group was deleted. And what changed nothing: a commit that would have gone back and was refused.
 */
export type LedgerAction =
  | "commit"
  | "rewind"
  | "rollback"
  | "reset"
  | "dropped"
  | "deleted"
  | "refused";

/** One change of one partition's committed offset. */
export interface LedgerEntry extends TopicPartition {
  /** Wall time, ms. */
  readonly at: number;
  readonly action: LedgerAction;
  /** Null: the broker itself. */
  readonly principal: string | null;
  /** Null: not a member. */
  readonly memberId: string | null;
  readonly generation: number | null;
  /** Null: nothing was committed. */
  readonly previous: number | null;
  /** Null: nothing is committed any more. Of a refused commit, the offset that it had. */
  readonly offset: number | null;
  readonly reason: string | null;
  /** Of a rollback or reset: where to, in words. */
  readonly cause: string | null;
}

export interface LedgerPage {
  /** Newest first. A page may hold less than was asked for and still not be the last. */
  readonly entries: readonly LedgerEntry[];
  /** To go on with; null on the last page. */
  readonly next: string | null;
}

export interface SnapshotPage {
  /** Newest first. */
  readonly snapshots: readonly OffsetsSnapshot[];
  readonly next: string | null;
}

/** A place in the group's past. */
export type PastPlace = { readonly snapshotId: string } | { readonly timeMs: number };

export interface PastOffsets {
  /** Wall time of the place, ms: a topic that is younger is not the one that had this name. */
  readonly at: number;
  /** By topic and partition. */
  readonly offsets: readonly (TopicPartition & { readonly offset: number })[];
}

/** Errors of all: UNKNOWN_GROUP, INVALID_REQUEST (a cursor that is none), and those of reading a partition. */
export interface OffsetLedger {
  history(
    group: string,
    options: {
      readonly topic?: string;
      readonly partition?: number;
      /** Only these actions; default: all that changed something. */
      readonly actions?: readonly LedgerAction[];
      readonly limit: number;
      readonly cursor?: string;
    },
  ): Promise<LedgerPage>;
  snapshots(
    group: string,
    options: { readonly limit: number; readonly cursor?: string },
  ): Promise<SnapshotPage>;
  /**
   * The group's offsets as a snapshot has them, or as they were at a time: after the last change that the journal got by
   * then. UNKNOWN_SNAPSHOT; INVALID_REQUEST when the ledger does not reach back so far or the group had no offsets then.
   */
  offsetsAt(group: string, place: PastPlace): Promise<PastOffsets>;
}
