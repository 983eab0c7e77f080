// Owns the vocabulary of transactions: what the edges may ask, commands, replies.
// Refuses to own any decision (decide.ts) or IO (coordinator.ts, finisher.ts).
// Invariant: plain JSON data; one producer id and epoch is one transaction, so a marker can never end another one.
import type { AppendReceipt, TopicPartition } from "../broker.ts";
import type { At } from "../group/types.ts";
import type { Asker, Owner } from "../ownership.ts";

export type { At };

/** Most partitions and groups in one transaction. */
export const MAX_TRANSACTION_PARTITIONS = 10_000;
export const MAX_TRANSACTION_GROUPS = 100;
export const DEFAULT_TRANSACTION_TIMEOUT_MS = 60_000;
export const MAX_TRANSACTION_TIMEOUT_MS = 900_000;

/** `committing` and `aborting`: decided for good, but not everywhere visible yet. */
export type TransactionPhase = "open" | "committing" | "aborting" | "committed" | "aborted";

/** One transaction of one holder of a transactional id. */
export interface TransactionIdentity {
  readonly transactionalId: string;
  readonly producerId: number;
  readonly producerEpoch: number;
}

/** A partition by topic id as well: a topic made anew under an old name is none of the transaction's. */
export interface TransactionPartition extends TopicPartition {
  readonly topicId: string;
}

/** What a group is to have committed when the transaction commits. `offset` is the next one to read. */
export interface TransactionOffset extends TopicPartition {
  readonly groupId: string;
  readonly offset: number;
  readonly metadata?: string;
  /** Refused when it no longer owns the partition, or the generation is another. */
  readonly memberId?: string;
  readonly generation?: number;
}

export interface BegunTransaction {
  readonly transactionId: string;
  readonly producerId: number;
  readonly producerEpoch: number;
}

export interface TransactionDescription extends BegunTransaction {
  readonly transactionalId: string;
  readonly state: TransactionPhase;
  /** Why it was aborted: `asked`, `timed out`, `fenced`; null otherwise. */
  readonly reason: string | null;
  /** Empty once it has ended. */
  readonly partitions: readonly TopicPartition[];
  readonly groups: readonly string[];
}

/** One that is open, or whose end is not everywhere visible yet. */
export interface UnfinishedTransaction extends TransactionDescription {
  /** Wall time in ms at which it began. */
  readonly startedAt: number;
  readonly timeoutMs: number;
  /** Who began it. */
  readonly principal: string;
}

/**
 * Transactions as the edges see them. A transactional id belongs to the `asker` who first began one with it, until it is
 * forgotten; for others there are no transactions of it. Errors of all: UNKNOWN_TRANSACTION, PRODUCER_FENCED (a newer holder
 * has begun), INVALID_TRANSACTION_STATE (it has ended otherwise), and those of an actor (OVERLOADED, ACTOR_DOWN, …).
 */
export interface Transactions {
  /**
   * Aborts what an older holder has open first. CONCURRENT_TRANSACTIONS when that does not end in time, FORBIDDEN when the id
   * is another's, whose transaction then goes on.
   */
  begin(
    options: { transactionalId: string; timeoutMs?: number; principal: string; asker?: Asker },
  ): Promise<BegunTransaction>;
  /**
   * Appends batches without a producer; they are made the transaction's. Errors of Broker.append. `sequence` of the
   * first message makes a repeat harmless; left out, the broker counts.
   */
  append(
    at: TopicPartition,
    batches: readonly Uint8Array[],
    options: { transactionId: string; sequence?: number; asker?: Asker },
  ): Promise<AppendReceipt>;
  /** Messages and offsets become visible together. Errors of CommitOffsets leave the transaction open. */
  commit(
    transactionId: string,
    options: { offsets: readonly TransactionOffset[]; principal: string; asker?: Asker },
  ): Promise<TransactionDescription>;
  abort(transactionId: string, options?: AskedBy): Promise<TransactionDescription>;
  describe(transactionId: string, options?: AskedBy): Promise<TransactionDescription>;
  /** Those that have not ended and that `asker` may act on, by transactional id; of the shards that run. */
  unfinished(options?: AskedBy): Promise<readonly UnfinishedTransaction[]>;
}

/** Left out: the broker itself, or whoever needed no credential. */
export interface AskedBy {
  readonly asker?: Asker;
}

interface OfTransaction extends AskedBy {
  readonly transactionalId: string;
  readonly producerId: number;
  readonly producerEpoch: number;
}

export type TransactionCommand =
  | {
    readonly type: "Begin";
    readonly transactionalId: string;
    readonly timeoutMs: number;
    readonly principal: string;
    /** One that nobody has used; null when it is hoped that none is needed. */
    readonly newProducerId: number | null;
    readonly asker?: Asker;
  }
  | OfTransaction & {
    readonly type: "AddPartitions";
    readonly partitions: readonly TransactionPartition[];
  }
  | OfTransaction & { readonly type: "AddGroups"; readonly groups: readonly string[] }
  | OfTransaction & { readonly type: "Prepare"; readonly commit: boolean }
  /** Every marker is written and every group has heard. */
  | OfTransaction & { readonly type: "Finish" }
  | OfTransaction & { readonly type: "Describe" }
  /** Writes the whole state down, so that no event before it is needed any more. Made by the journal's retention. */
  | { readonly type: "RecordState"; readonly transactionalId: string }
  /** Says that the journal holds all there is from `fromOffset` on. Sent to no id, by the journal's retention. */
  | {
    readonly type: "CompleteJournal";
    readonly transactionalId: string;
    readonly fromOffset: number;
  }
  /** Made by the runtime when `deadline(state)` has come. */
  | { readonly type: "Tick"; readonly transactionalId: string }
  /** Made by the runtime once after the journal was replayed. */
  | { readonly type: "Recovered"; readonly transactionalId: string };

/** Of AddPartitions: whose the transaction is. */
export interface AddPartitionsReply {
  readonly owner: Owner | null;
}

export type BeginReply =
  | { readonly outcome: "begun"; readonly producerId: number; readonly producerEpoch: number }
  /** The transaction before it has to end first. */
  | { readonly outcome: "busy"; readonly before: TransactionIdentity }
  | { readonly outcome: "needs producer id" };

/** What is left to do of a transaction whose end is decided. */
export interface EndPlan extends TransactionIdentity {
  readonly commit: boolean;
  readonly partitions: readonly TransactionPartition[];
  readonly groups: readonly string[];
}
