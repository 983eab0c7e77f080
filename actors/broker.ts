// Owns the port through which the edges (`api/`) use a broker, and the plain data that crosses it.
// Refuses to own behaviour: `local_broker.ts` serves it with the actors of this process; in a cluster a call may travel.
// Invariant: only plain data and ids cross this port, so whoever answers may be on another machine.
import type { BrokerError } from "../storage/broker_error.ts";
import type { Encryption } from "../storage/log.ts";
import type { AccessKeys } from "./access_key/types.ts";
import type { Acls } from "./acl/types.ts";
import type { AuditLog } from "./audit/types.ts";
import type { OffsetLedger } from "./group/ledger/types.ts";
import type { GroupCommand, GroupNotification, GroupReply, GroupSummary } from "./group/types.ts";
import type { Jobs } from "./job/types.ts";
import type { BatchKeys, MessageKeyCounts } from "./message_keys/types.ts";
import type { Quotas } from "./quota/types.ts";
import type { Runbooks } from "./runbook/types.ts";
import type { Alerts } from "./threshold/types.ts";
import type { RequestKeysPort } from "./request_keys/types.ts";
import type { Traces } from "./trace/types.ts";
import type { Transactions } from "./transaction/types.ts";
import type {
  KeysTerm,
  MarkerCommand,
  MarkerReceipt,
  OffsetRange,
  Producers,
} from "./partition/types.ts";

export interface TopicPartition {
  readonly topic: string;
  readonly partition: number;
}

/** What a topic is set to; units last in the names. */
export interface TopicConfig {
  readonly replicationFactor: number;
  readonly minInsyncReplicas: number;
  /** 0 keeps for ever. */
  readonly retentionHours: number;
  /** Per partition; null is no limit. */
  readonly retentionBytes: number | null;
  readonly cleanupPolicy: "delete" | "compact";
  readonly durability: "fsync" | "os";
  /** Largest message: key, value and headers together. */
  readonly maxMessageBytes: number;
  readonly segmentBytes: number;
  readonly segmentHours: number;
  /** What retention lets go goes into the broker's archive first, and is read from there. */
  readonly archive?: boolean;
  /** How long it stays there; 0 keeps for ever. */
  readonly archiveRetentionHours?: number;
  /** With "compact": how long a message without value stays after those of its key that it ended. */
  readonly tombstoneHours?: number;
  /** How messages are stored at rest; fixed when the topic is made, left out: "none". */
  readonly encryption?: Encryption;
  /** Over all partitions and everybody who publishes, of batches as they are stored; null or left out: no limit. */
  readonly publishBytesPerSecond?: number | null;
  readonly publishMessagesPerSecond?: number | null;
  /** Over everybody who reads. */
  readonly consumeBytesPerSecond?: number | null;
  /** In a cluster: a replica that may lack acknowledged messages leads when no other can; left out: never. */
  readonly uncleanLeaderElection?: boolean;
}

export interface Topic {
  readonly topicId: string;
  readonly name: string;
  readonly partitionCount: number;
  readonly config: TopicConfig;
  readonly createdAt: number;
  /** Name starts with `__`: read-only for users. */
  readonly internal: boolean;
  /** Of the principal that made it; left out for those of the broker's own and of older releases. */
  readonly tenant?: string;
  /** Tenant whose dead letters it was made for: its partitions count as that tenant's. */
  readonly lettersOf?: string;
}

export interface PartitionInfo {
  readonly partition: number;
  /** Node id of the leader, null while there is none. */
  readonly leader: string | null;
  readonly isr: readonly string[];
  readonly leaderEpoch: number;
  readonly logStartOffset: number;
  readonly logEndOffset: number;
  readonly highWatermark: number;
  /** Where the first open transaction starts, else the high watermark: read_committed readers see what lies below. */
  readonly lastStableOffset: number;
  readonly sizeBytes: number;
  /** Of what lies in the archive; left out where the broker has none. */
  readonly archivedBytes?: number;
  readonly state: "online" | "offline";
  /** Why it is offline. */
  readonly error?: string;
}

export interface TopicSpec {
  readonly name: string;
  readonly partitions: number;
  readonly config: TopicConfig;
  readonly tenant?: string;
  /** Who asks is not held to a tenant's share. */
  readonly beyondShare?: boolean;
}

/** What is left out stays. */
export interface TopicChange {
  readonly partitions?: number;
  readonly config?: Partial<TopicConfig>;
  readonly beyondShare?: boolean;
}

export interface TopicDescription extends Topic {
  readonly partitions: readonly PartitionInfo[];
}

export interface AppendReceipt {
  /** Base offset of each batch handed in, in that order. */
  readonly baseOffsets: readonly number[];
  /** By batch: true for a repeat of its producer, stored at its base offset before and not again now. */
  readonly duplicates: readonly boolean[];
  readonly highWatermark: number;
  readonly durability: "fsync" | "os" | "none";
  readonly inSyncReplicas: number;
}

/** Messages of one producer that were in a transaction which was aborted; both offsets inclusive. */
export interface AbortedRange {
  readonly producerId: number;
  readonly firstOffset: number;
  readonly lastOffset: number;
}

export interface FetchResult {
  /** Whole record batches, concatenated; the first may start before the offset asked for. Never write to it. */
  readonly batches: Uint8Array;
  /** With read_committed: what of the batches nobody is shown. Left out when there is none. */
  readonly aborted?: readonly AbortedRange[];
  readonly highWatermark: number;
  /** Where read_committed ends. */
  readonly lastStableOffset: number;
  readonly logStartOffset: number;
}

/** What became of something that did not serve and was started again. */
export interface Revival {
  /** `partition orders/0`, or the id of an actor. */
  readonly what: string;
  /** Why it still does not serve; null: it does. */
  readonly error: Pick<BrokerError, "code" | "message" | "retryable"> | null;
}

export type Isolation = "read_committed" | "read_uncommitted";

export interface FetchOptions {
  readonly maxBytes: number;
  /** read_committed ends at the last stable offset, where the first open transaction starts; default read_uncommitted. */
  readonly isolation?: Isolation;
  /** Past what is kept in memory: what is stored counts. */
  readonly uncached?: boolean;
  /** Of whoever asks: a broker of that zone answers from a replica of its own, up to the high watermark that it knows. */
  readonly zone?: string;
  /** From this broker's replica, whoever leads. */
  readonly fromReplica?: boolean;
}

export interface AppendOptions {
  readonly acks: "all" | "leader" | "none";
  readonly idempotencyKeys?: BatchKeys;
  readonly isCopy?: boolean;
  /** By an actor of a broker, whose producers are the brokers' own; edges never say so. */
  readonly isOwn?: boolean;
  /** Between brokers, with acks "all": the home of keys that has decided the append. */
  readonly keysTerm?: KeysTerm;
}

export interface WaitOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  /** As in FetchOptions. */
  readonly isolation?: Isolation;
}

/**
 * One broker as its edges see it. Rejections are BrokerErrors: UNKNOWN_TOPIC, UNKNOWN_PARTITION, OVERLOADED, DISK_FULL,
 * STORAGE_FAILED, ACTOR_DOWN, SHUTTING_DOWN, OFFSET_OUT_OF_RANGE, CORRUPT_LOG and those that each method names.
 */
export interface Broker {
  readonly nodeId: string;
  readonly clusterId: string;
  /** API keys. */
  readonly accessKeys: AccessKeys;
  /** Who may do what. */
  readonly acls: Acls;
  /** How much tenants may ask for. */
  readonly quotas: Quotas;
  /** Who changed what, and proof of it. */
  readonly audit: AuditLog;
  /** Identities of idempotent producers. */
  readonly producers: Producers;
  /** Messages and offsets that become visible together. */
  readonly transactions: Transactions;
  /** Replays and redrives. */
  readonly jobs: Jobs;
  /** Thresholds, and what went beyond them. */
  readonly alerts: Alerts;
  /** Repairs, step by step. */
  readonly runbooks: Runbooks;
  /** What became of messages that carry a trace. */
  readonly traces: Traces;
  /**
   * TOPIC_ALREADY_EXISTS, INVALID_REPLICATION_FACTOR, INVALID_PARTITIONS, LIMIT_REACHED (no more partitions in all, or
   * for the tenant unless `beyondShare`).
   */
  createTopic(spec: TopicSpec): Promise<TopicDescription>;
  /** Changes configuration, or raises the number of partitions (INVALID_PARTITIONS when it would fall, LIMIT_REACHED). */
  updateTopic(name: string, change: TopicChange): Promise<TopicDescription>;
  deleteTopic(name: string): Promise<void>;
  /** From memory, without IO; null when there is none. */
  topic(name: string): Topic | null;
  describeTopic(name: string): Promise<TopicDescription>;
  /** Names in order, from memory. */
  topicNames(): readonly string[];
  /** Calls back after topics were created, changed or deleted. */
  onTopicsChanged(listener: () => void): () => void;

  partitionInfo(at: TopicPartition): Promise<PartitionInfo>;
  /**
   * Appends checked record batches whose offsets are not assigned yet; the broker takes the bytes over.
   * acks "none" resolves before the append is durable. Batches that name their producer are deduplicated: PRODUCER_FENCED
   * (`currentEpoch`), OUT_OF_ORDER_SEQUENCE (`expectedSequence`), INVALID_TRANSACTION_STATE refuse all batches handed in,
   * as does INVALID_REQUEST for a producer id that is yet to be given out.
   * With `idempotencyKeys` (those that the records carry in their headers, each at most once) it resolves when durable,
   * or appends nothing and rejects with DUPLICATE_MESSAGES (`knownMessagesOf` names them) when the topic has one already.
   * `isCopy`: of messages of another topic, which are appended whatever keys they have; a key counts in this topic from
   * then on unless it has it already. `keysTerm`: STALE_EPOCH, and nothing is appended, when that home is over.
   */
  append(
    at: TopicPartition,
    batches: readonly Uint8Array[],
    options: AppendOptions,
  ): Promise<AppendReceipt>;
  /**
   * Between brokers: the partition takes nothing any more of older homes of the same keys. Resolves when all that it took
   * before can be read, to where that lies. STALE_EPOCH when `term` itself is over.
   */
  fenceKeys(at: TopicPartition, term: KeysTerm): Promise<OffsetRange>;
  /** Requests that are carried out once. */
  readonly requestKeys: RequestKeysPort;
  /** What has happened to message keys. */
  messageKeyCounts(): Promise<MessageKeyCounts>;
  /**
   * Ends the transaction of `producerId` and `producerEpoch` in the partition; resolves when that is durable. A repeat
   * changes nothing; where the producer has appended nothing the marker still keeps out what comes late
   * (INVALID_TRANSACTION_STATE). STALE_EPOCH for an older coordinator.
   */
  writeMarker(at: TopicPartition, marker: MarkerCommand): Promise<MarkerReceipt>;
  /** Never beyond the last stable offset or the high watermark: see FetchOptions. Empty at its end. */
  fetch(at: TopicPartition, offset: number, options: FetchOptions): Promise<FetchResult>;
  /** Resolves when what may be read ends above `offset`, or after `timeoutMs`, or when aborted. */
  waitForData(at: TopicPartition, offset: number, options: WaitOptions): Promise<void>;
  /** First offset with a timestamp of at least `timestampMs`; the high watermark when there is none. */
  offsetForTime(at: TopicPartition, timestampMs: number): Promise<number>;

  /** One command to the group's actor; resolves when what it changed is durable. Errors: see GroupCommand. */
  group<C extends GroupCommand>(command: C): Promise<GroupReply<C>>;
  /** Those that are served now; `whole`: all there are, or a rejection with ACTOR_DOWN and its cause. */
  groups(options?: { readonly whole: boolean }): Promise<readonly GroupSummary[]>;
  /** What offsets of groups were, and who changed them. */
  readonly ledger: OffsetLedger;
  /** Hears what the group's actor tells one member, until the returned function is called. */
  onGroupNotification(
    at: { group: string; memberId: string },
    listener: (notification: GroupNotification) => void,
  ): () => void;
  /**
   * Starts again what does not serve, without waiting for its next turn: one partition, or with null every partition that
   * is offline and every actor that stayed down. Leaves alone what serves, and answers with what did not, once each has
   * come back or has failed to. A log that is corrupt (CORRUPT_LOG) is not mended by that.
   */
  revive(at: TopicPartition | null): Promise<readonly Revival[]>;
  /** What stops this broker from serving, empty when it is ready. */
  health(): { ready: boolean; problems: readonly string[] };
}
