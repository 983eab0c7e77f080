// Owns what the controller decides from, as plain data, and what it decides.
// Refuses to own any decision (decide_*.ts).
// Invariant: one moment; a change names the version of the record it was decided from.
import type { TopicFacts } from "./min_insync.ts";
import type { KeptPartition, PartitionRecord } from "./types.ts";

export interface BrokerFacts {
  readonly nodeId: string;
  readonly zone: string | null;
  readonly isOnline: boolean;
  /** Is to give away what it holds. */
  readonly isDraining: boolean;
  /** Is shutting down: leadership is to leave it, its replicas stay. */
  readonly isLeaving: boolean;
}

export interface ClusterState {
  readonly brokers: ReadonlyMap<string, BrokerFacts>;
  /** By id. */
  readonly topics: ReadonlyMap<string, TopicFacts>;
  readonly partitions: readonly KeptPartition[];
}

/** What befell a partition, for the log. */
export type ChangeReason =
  | "created"
  | "removed"
  | "elected"
  | "unclean"
  | "offline"
  | "replica_gone"
  | "move_started"
  | "move_finished"
  | "preferred"
  | "settled";

export interface RecordChange {
  readonly topicId: string;
  readonly partition: number;
  /** Null: the record goes. */
  readonly record: PartitionRecord | null;
  /** Of the record it was decided from; null: there is none. */
  readonly version: string | null;
  readonly reason: ChangeReason;
}

/** Whether replicas may be put there. */
export function mayHold({ isOnline, isDraining, isLeaving }: BrokerFacts): boolean {
  return isOnline && !isDraining && !isLeaving;
}
