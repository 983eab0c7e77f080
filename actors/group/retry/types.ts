// Owns the vocabulary of retries: policies, the commands about them, replies.
// Refuses to own any decision, and the state (state.ts).
// Invariant: plain JSON data. Times are wall ms unless their name says otherwise.
import type { TopicPartition } from "../../broker.ts";
import type { Asker } from "../../ownership.ts";

/** `skip` holds nothing up; `blockKey` holds up later messages of the same key, `blockPartition` all of the partition. */
export type RetryOrdering = "skip" | "blockKey" | "blockPartition";

export interface RetryPolicy {
  /** Deliveries of one message; the nack of the last makes it a dead letter. */
  readonly maxAttempts: number;
  /** After attempt n failed: `min(2^min(n, 8) * baseMs, maxMs)` and 0 to `jitterMs - 1` of jitter. */
  readonly baseMs: number;
  readonly maxMs: number;
  readonly jitterMs: number;
  readonly ordering: RetryOrdering;
  /** A retry that would come later than this after the first nack is none any more: dead letter. Null: no deadline. */
  readonly deadlineMs: number | null;
}

/** One message that failed. */
export interface Nack extends TopicPartition {
  readonly offset: number;
  /** `NON_RETRYABLE`: a dead letter at once. */
  readonly code?: string;
  readonly reason?: string;
  /** Wait this long instead of what the policy says. */
  readonly delayMs?: number;
  /** The attempt that failed, when it is known: a repeat then counts once. Left out: every nack is a failed attempt, until it is dead. */
  readonly attempt?: number;
  /** In [0, 1), made by the edge: what the jitter is taken from. */
  readonly fraction: number;
  /** The partition's high watermark when the edge looked: there is no message beyond it. */
  readonly endOffset: number;
  /** Hash of the message's key, null for none. Looked up by the coordinator, where the ordering needs it. */
  readonly keyHash?: number | null;
}

/**
 * Errors by command. All that name a member: UNKNOWN_MEMBER, STALE_GENERATION (a partition that it does not own).
 * Nack: UNKNOWN_GROUP, OFFSET_OUT_OF_RANGE, INVALID_REQUEST, OVERLOADED (`maxPendingRetries`, `maxDeadLettersWaiting`).
 * Redeliver: UNKNOWN_GROUP, OVERLOADED (nothing of the chunk is taken then; ask again later), INVALID_REQUEST.
 */
export type RetryCommand =
  | {
    readonly type: "Nack";
    readonly group: string;
    readonly memberId?: string;
    readonly generation?: number;
    readonly nacks: readonly Nack[];
    readonly principal: string;
    readonly asker?: Asker;
    /** Whoever reads the partitions did not send it, and is told (`nacked` of the notification). */
    readonly fromOutside?: true;
  }
  /** A member takes retries that are due into its hands, and hears how its partitions are held up. */
  | {
    readonly type: "TakeRetries";
    readonly group: string;
    readonly memberId: string;
    /** Retries at most; 0 only hears. */
    readonly max: number;
    /** Partitions that the member starts (anew) at these offsets: whatever was in hand there comes again. */
    readonly starting?: readonly (TopicPartition & { readonly offset: number })[];
    /** Nothing is taken of these. */
    readonly except?: readonly TopicPartition[];
    /** Of these only retries below `offset` are taken: the member has not read that far, and could not commit them. */
    readonly upTo?: readonly (TopicPartition & { readonly offset: number })[];
    /** Partitions of which the member wants to know what it is to pass over (`skips`), from these offsets on. */
    readonly looking?: readonly (TopicPartition & { readonly offset: number })[];
    /** Retries of which the member wants to know whether they are still in hand. */
    readonly holding?: readonly (TopicPartition & { readonly offset: number })[];
  }
  /** Retries whose message is no longer in the log. */
  | {
    readonly type: "ForgetRetries";
    readonly group: string;
    readonly retries: readonly (TopicPartition & { readonly offset: number })[];
  }
  /**
   * Before messages of a partition that is held up by key are delivered: those of a key that waits are parked as retries
   * behind it. `keyHashes` are looked up by the coordinator.
   */
  | {
    readonly type: "ParkBlocked";
    readonly group: string;
    readonly memberId: string;
    readonly topic: string;
    readonly partition: number;
    readonly offsets: readonly number[];
    readonly keyHashes?: readonly (number | null)[];
  }
  /**
   * A job has the group alone read these again. Chunks of a job come in order; one that was taken before is passed over.
   * An offset that waits for a retry already is left as it is.
   */
  | {
    readonly type: "Redeliver";
    readonly group: string;
    readonly jobId: string;
    /** From 0 on. */
    readonly chunk: number;
    readonly topic: string;
    readonly partition: number;
    /** Ascending. */
    readonly offsets: readonly number[];
    readonly principal?: string;
    readonly keyHashes?: readonly (number | null)[];
  }
  | {
    readonly type: "SetRetryPolicy";
    readonly group: string;
    /** Left out: of all topics that have none of their own. */
    readonly topic?: string;
    readonly policy: RetryPolicy;
    readonly principal: string;
    readonly asker?: Asker;
  }
  | { readonly type: "RetryPolicies"; readonly group: string }
  /** What is to be written to the dead-letter topics, oldest first by partition. For the writer of dead letters alone. */
  | {
    readonly type: "PendingDeadLetters";
    readonly group: string;
    readonly maxPerPartition: number;
    readonly maxPartitions: number;
  }
  /** The producer under which the group's dead letters are written; another one renumbers what waits. */
  | {
    readonly type: "SetDeadLetterProducer";
    readonly group: string;
    readonly producerId: number;
    readonly producerEpoch: number;
    /** The one that it takes the place of. */
    readonly replaces: number | null;
  }
  /** These are durable in the dead-letter topic. */
  | {
    readonly type: "DeadLettersWritten";
    readonly group: string;
    readonly topic: string;
    readonly partition: number;
    readonly sequences: readonly number[];
  };

export interface NackResult extends TopicPartition {
  readonly offset: number;
  /** The attempt that failed. */
  readonly attempt: number;
  readonly nextAttemptAt?: number;
  readonly deadLettered?: true;
}

export interface TakenRetry extends TopicPartition {
  readonly offset: number;
  readonly attempt: number;
}

/** How reading of a partition is held up while retries wait: `keys` as ParkBlocked says, `all` from an offset on altogether. */
export interface HeldUp extends TopicPartition {
  readonly hold: "keys" | "all";
  /** Of the first message that waits. */
  readonly from: number;
}

export interface TakeRetriesReply {
  readonly retries: readonly TakenRetry[];
  /** More are due. */
  readonly more: boolean;
  readonly held: readonly HeldUp[];
  /** Topics of the member in which a message that waits holds up others. */
  readonly blocks: readonly string[];
  /** Of the partitions that start or are looked at: offsets that reading is to pass over, since they wait for a retry or are done. */
  readonly skips: readonly (TopicPartition & { readonly offsets: readonly number[] })[];
  /** Those of `holding` that are in hand still. */
  readonly inHand: readonly (TopicPartition & { readonly offset: number })[];
}

export interface DeadLetter {
  readonly offset: number;
  /** Deliveries that failed. */
  readonly attempts: number;
  readonly code: string | null;
  readonly reason: string | null;
  /** When it became one. */
  readonly at: number;
  /** Of the group's dead-letter producer in this partition. */
  readonly sequence: number;
  /** Its topic was deleted: what lies at this offset now is another message. */
  readonly gone?: true;
}

export interface PendingDeadLettersReply {
  readonly producer: { readonly producerId: number; readonly producerEpoch: number } | null;
  readonly partitions: readonly (TopicPartition & { readonly letters: readonly DeadLetter[] })[];
}

export interface RetryPoliciesReply {
  readonly policy: RetryPolicy;
  /** Of topics that have their own, by name. */
  readonly topics: readonly { readonly topic: string; readonly policy: RetryPolicy }[];
}

export interface RedeliverReply {
  /** Messages that now wait because of this chunk; 0 when it was taken before. */
  readonly accepted: number;
}

export type RetryReply<C extends RetryCommand> = C["type"] extends "Nack"
  ? { readonly results: readonly NackResult[] }
  : C["type"] extends "TakeRetries" ? TakeRetriesReply
  : C["type"] extends "ParkBlocked" ? { readonly parked: readonly number[] }
  : C["type"] extends "Redeliver" ? RedeliverReply
  : C["type"] extends "SetRetryPolicy" | "RetryPolicies" ? RetryPoliciesReply
  : C["type"] extends "PendingDeadLetters" ? PendingDeadLettersReply
  : null;
