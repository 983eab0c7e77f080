// Owns the vocabulary of request keys: requests that are carried out once, however often they are sent.
// Refuses to own any behaviour (request_keys.ts) and what an answer looks like (the edge).
// Invariant: all of it is plain data; a request is known by who asks and the key, as long as its topic is there.
import type { AppendReceipt, TopicPartition } from "../broker.ts";

/** A request by who asks and its Idempotency-Key. */
export interface RequestName {
  readonly principal: string;
  /** Of the principal: tenants may use the same names. */
  readonly tenant: string;
  readonly key: string;
}

/** A request as it came. */
export interface NamedRequest extends RequestName {
  /** Digest of the body: the same key with another body is another request. */
  readonly bodyHash: string;
}

export interface BeginRequest extends NamedRequest {
  readonly topic: string;
  /** Among how many partitions it is divided. */
  readonly partitionCount: number;
  /** Partitions that the request appends to, as far as its messages have no keys of their own. */
  readonly partitions: readonly number[];
}

/** It was carried out: `response` is what `complete` was given. */
export interface RequestCompleted {
  readonly state: "completed";
  readonly response: unknown;
}

/** What is known of a request. */
export type RequestKnown =
  | RequestCompleted
  | { readonly state: "unknown" }
  /** An attempt came to no answer, or none yet. What is divided by key must be divided as it was then. */
  | { readonly state: "known"; readonly partitionCount: number };

/** What the edge is to do. */
export type RequestBegun =
  | RequestCompleted
  /** It is the caller's now, until it is completed or released. */
  | {
    readonly state: "running";
    readonly token: string;
    /** An earlier attempt came to no answer, but may have appended something. */
    readonly isResumed: boolean;
  };

/** The request that a caller of `begin` was given. */
export interface RunningRequest extends RequestName {
  readonly token: string;
}

/** What happened to request keys since the broker started, and how many there are. */
export interface RequestKeyCounts {
  /** Requests known, counting those not completed. */
  readonly keys: number;
  readonly running: number;
  readonly replayed: number;
  /** Refused since the body was another, or since the first was still under way. */
  readonly reused: number;
  readonly inUse: number;
  /** Carried on after an attempt that came to no answer. */
  readonly resumed: number;
  readonly expired: number;
  readonly evicted: number;
}

/**
 * Requests that are carried out once. Rejections: those of `Broker.append`, and where they are named.
 */
export interface RequestKeysPort {
  /** IDEMPOTENCY_KEY_REUSED. */
  lookup(request: NamedRequest): Promise<RequestKnown>;
  /**
   * Durable when it resolves. UNKNOWN_TOPIC, IDEMPOTENCY_KEY_REUSED, IDEMPOTENCY_KEY_IN_USE: also when the request was divided otherwise
   * than an earlier attempt, which a look-up had told.
   */
  begin(request: BeginRequest): Promise<RequestBegun>;
  /**
   * Appends batches of no producer as part of the request: those that an earlier attempt has appended are found again and
   * told as duplicates. At most once for a partition in one attempt. IDEMPOTENCY_KEY_IN_USE when it is not the caller's,
   * UNKNOWN_TOPIC also when the topic was made anew since the request began.
   */
  append(
    request: RunningRequest,
    at: TopicPartition,
    batches: readonly Uint8Array[],
  ): Promise<AppendReceipt>;
  /** Keeps the response (plain JSON data) for repeats; durable when it resolves. */
  complete(request: RunningRequest, response: unknown): Promise<void>;
  /** Lets a repeat try what has failed. */
  release(request: RunningRequest): Promise<void>;
  counts(): Promise<RequestKeyCounts>;
}

/** What is durable of a request before anything else. */
export interface RequestIntent {
  readonly version: 1;
  readonly bodyHash: string;
  /** Its name; left out by older ones, which count as long as they are kept. */
  readonly topic?: string;
  /** When the topic that has the name is another, nothing is left of what the request did. */
  readonly topicId: string;
  readonly partitionCount: number;
  /** Stands as producer id in the header of every batch that is appended; below -1, so that it is nobody's. */
  readonly mark: number;
  /** By partition: nothing of the request lies below. */
  readonly fromOffsets: Readonly<Record<string, number>>;
}

export interface RequestKeySettings {
  /** How long a request is known. */
  readonly windowMs: number;
  /** Requests known at a time; the oldest of the tenant that has most are forgotten early beyond it. */
  readonly maxRequests: number;
}

export const DEFAULT_REQUEST_KEY_SETTINGS: RequestKeySettings = Object.freeze({
  windowMs: 24 * 3_600_000,
  maxRequests: 500_000,
});
