// Owns the plain data by which brokers know each other and their partitions, and where it lies in the metadata store.
// Refuses to own who decides it (decide.ts) and how it is followed (view.ts).
// Invariant: every change of a record is a compare-and-set on its version; an epoch never comes back.
import type { MetadataKey } from "../../storage/metadata.ts";

/** A broker that is there, kept under its lease: gone when it does not renew it. */
export interface BrokerRegistration {
  readonly nodeId: string;
  /** Raised with every registration of the node; what an older one says counts no more. */
  readonly incarnation: number;
  /** Where clients reach it. */
  readonly host: string;
  readonly port: number;
  /** Where brokers reach it. */
  readonly peerHost: string;
  readonly peerPort: number;
  readonly zone: string | null;
  readonly version: string;
  /** Of its data directory, made with it: another one has lost what the node held. */
  readonly diskId: string;
  /** Under which it is kept: tells a registration of this process from one of another. */
  readonly leaseId?: string;
}

/** A broker that was there once, until it is decommissioned. */
export interface BrokerMember {
  readonly nodeId: string;
  /** Of its last registration. */
  readonly incarnation: number;
  readonly diskId: string;
  readonly zone: string | null;
  /** Nothing is put on it, and what it has moves away. */
  readonly draining: boolean;
  /** As in its last registration. */
  readonly leaseId?: string;
}

export type BrokerState = "online" | "fenced" | "draining" | "offline";

/** A broker that is shutting down: leadership moves away from this registration. */
export interface BrokerLeaving {
  readonly nodeId: string;
  readonly incarnation: number;
}

export interface ControllerTerm {
  readonly nodeId: string;
  readonly epoch: number;
}

/** Who keeps a partition, and who leads it. */
export interface PartitionRecord {
  readonly topicId: string;
  readonly partition: number;
  /** Node ids, the preferred leader first; while it is moved, those it moves to besides. */
  readonly replicas: readonly string[];
  /** In-sync: each has everything below the high watermark, synced. Never empty. */
  readonly isr: readonly string[];
  /** Left the in-sync set when it was too small for the high watermark to rise since: they may lead too (KIP-966). */
  readonly elr: readonly string[];
  /** Null: none can be found. */
  readonly leader: string | null;
  /** Raised by every election, and by a leader that starts anew before its first append. */
  readonly leaderEpoch: number;
  /** A move that is under way: what `replicas` is to be in the end. */
  readonly target?: readonly string[];
  /** Of a move that is under way: what `replicas` was, and is again when it is cancelled. */
  readonly origin?: readonly string[];
  /** In-sync members whose disk was replaced while nobody else had everything: never elected but uncleanly. */
  readonly lost?: readonly string[];
}

/** A record as it is kept. */
export interface KeptPartition {
  readonly record: PartitionRecord;
  /** Of the metadata store. */
  readonly version: string;
}

export const ONLINE_KEY: MetadataKey = ["cluster", "online"];
export const MEMBERS_KEY: MetadataKey = ["cluster", "members"];
export const CONTROLLER_KEY: MetadataKey = ["cluster", "controller"];
export const CONTROLLER_EPOCH_KEY: MetadataKey = ["cluster", "controller-epoch"];
/** Below it, under the node's id: the last incarnation of a member that was forgotten. */
export const FORGOTTEN_KEY: MetadataKey = ["cluster", "forgotten"];
/** Below it, under the node's id and its lease: that it is shutting down, and leadership is to leave it. */
export const LEAVING_KEY: MetadataKey = ["cluster", "leaving"];
export const PARTITIONS_KEY: MetadataKey = ["cluster", "partitions"];

/** Below PARTITIONS_KEY, in order of the partitions. */
export function partitionRecordKey(topicId: string, partition: number): MetadataKey {
  return [...PARTITIONS_KEY, topicId, String(partition).padStart(5, "0")];
}

/** Whether two records say the same. */
export function isSameRecord(a: PartitionRecord, b: PartitionRecord): boolean {
  const said = (record: PartitionRecord) =>
    JSON.stringify([
      record.topicId,
      record.partition,
      record.replicas,
      record.isr,
      record.elr,
      record.leader,
      record.leaderEpoch,
      record.target,
      record.origin,
      record.lost,
    ]);
  return said(a) === said(b);
}

/** What a leader may change of its partition's record: who is in sync. Only as what it takes the record for. */
export interface InSyncChange {
  readonly isr: readonly string[];
  readonly elr: readonly string[];
}

/**
 * What this broker knows of the cluster, from memory, and the changes that a replica makes itself, which are known here as
 * soon as they resolve. It has begun with all that was decided before it was opened. Served by the metadata store's view
 * (view.ts); in the simulation too.
 */
export interface ClusterView {
  readonly nodeId: string;
  /** Of this broker's registration now; raised when it had to register anew. */
  readonly incarnation: number;
  /** Whether this broker's lease holds by its own clock: a leader without one stops serving. Leases are hints; epochs fence. */
  readonly hasLease: boolean;
  /** Those that are there now, this one included. */
  online(): ReadonlyMap<string, BrokerRegistration>;
  members(): ReadonlyMap<string, BrokerMember>;
  controller(): ControllerTerm | null;
  /** Null when nothing is decided of it yet. */
  partition(topicId: string, partition: number): KeptPartition | null;
  partitions(): Iterable<KeptPartition>;
  /** Calls back after every change of what is known: of records, brokers, the controller, or this broker's lease. */
  onChanged(listener: () => void): () => void;
  /** Calls back when the record of this partition has changed. */
  onPartition(
    at: { readonly topicId: string; readonly partition: number },
    listener: (kept: KeptPartition | null) => void,
  ): () => void;
  /**
   * A new leader epoch for a partition that this broker leads, before its first append since it has started or since its
   * log was opened anew: compare-and-set on `kept`. Null when that is no longer what is kept. METADATA_CONFLICT never;
   * METADATA_UNAVAILABLE when the outcome is not known.
   */
  raiseLeaderEpoch(kept: KeptPartition): Promise<KeptPartition | null>;
  /**
   * This replica may have lost what it has acknowledged (its log failed, and is opened anew): it leaves isr and elr, and where it leads,
   * leader becomes null, so that another is elected. Nothing changes where it is the last in sync. Null when `kept` is
   * no longer what is kept.
   */
  resign(kept: KeptPartition): Promise<KeptPartition | null>;
  /** Compare-and-set of the in-sync set by the partition's leader. Null when `kept` is no longer what is kept. */
  changeInSync(kept: KeptPartition, change: InSyncChange): Promise<KeptPartition | null>;
}
