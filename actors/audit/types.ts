// Owns the vocabulary of the audit log: what an entry says, and the port through which the edges use the log.
// Refuses to own how entries are chained (chain.ts) and kept (audit_log.ts).
// Invariant: only plain data crosses the port; an entry never changes once it has a sequence number.

/** What was changed, or was to be: `{ type: "topic", name: "orders" }`. */
export interface AuditResource {
  readonly type: string;
  readonly name: string;
}

/** Who does what to what, and from where. */
export interface AuditFacts {
  /** Principal; parts of the broker are called `system:…`. */
  readonly actor: string;
  readonly tenant: string | null;
  /** As the peer's address is known; `unknown`, or `local` for what the broker does by itself. */
  readonly remoteAddress: string;
  /** `topic.create`, `login.refused`, … */
  readonly action: string;
  readonly resource: AuditResource | null;
  /** Plain data, bounded: see `boundedDetail`. */
  readonly before: unknown;
  /** Of an intent: what was asked for. Else what it became. */
  readonly after: unknown;
  readonly reason: string | null;
  readonly requestId: string | null;
}

/** `unknown`: the broker ended between the intent and its outcome, so that the change may or may not have been made. */
export type AuditOutcome = "intended" | "success" | "failure" | "unknown";

/** One link of the chain. */
export interface AuditEntry extends AuditFacts {
  /** Of this format. */
  readonly version: 1;
  /** From 1, without gaps. */
  readonly sequence: number;
  /** Wall time, ms since the epoch. */
  readonly at: number;
  readonly outcome: AuditOutcome;
  /** Of a failure: why. */
  readonly code: string | null;
  /** Sequence of the intent that this is the outcome of; null for an intent, and for what had none. */
  readonly intent: number | null;
  /** Epoch of the leader that wrote it, so that every byte of the log follows from the entries in it. */
  readonly leaderEpoch: number;
  /** `hash` of the entry before. */
  readonly previousHash: string;
  /** SHA-256, in hexadecimal digits, of the canonical JSON of all the other fields. */
  readonly hash: string;
}

/** The newest entry: whoever keeps it elsewhere can tell whether anything up to it was changed later. */
export interface AuditHead {
  /** 0: there is no entry yet. */
  readonly sequence: number;
  readonly hash: string;
}

/** How an intent ended. What is left out stays as the intent had it. */
export interface AuditResult {
  readonly outcome: "success" | "failure";
  readonly code?: string | null;
  readonly resource?: AuditResource | null;
  readonly action?: string;
  readonly before?: unknown;
  readonly after?: unknown;
}

/** Which entries; all that are given must hold. */
export interface AuditFilter {
  readonly actor?: string | undefined;
  /** Whole, or a beginning that ends with `*`. */
  readonly action?: string | undefined;
  /** Name, or `type:name`. */
  readonly resource?: string | undefined;
  readonly tenant?: string | undefined;
  readonly outcome?: AuditOutcome | undefined;
  /** Of a failure. */
  readonly code?: string | undefined;
  /** Ms since the epoch; from inclusive, to exclusive. */
  readonly from?: number | undefined;
  readonly to?: number | undefined;
}

export interface AuditQuery extends AuditFilter {
  readonly order: "newest" | "oldest";
  /** Leaves out intents whose outcome is an entry, too; default false. */
  readonly withoutEnded?: boolean;
  /** `next` of the page before; null for the first. */
  readonly at: number | null;
  /** Most entries. */
  readonly limit: number;
}

export interface AuditPage {
  readonly entries: readonly AuditEntry[];
  /** Entries in the part of the log that was looked at which cannot be read; left out for none. See `verify`. */
  readonly unreadable?: number;
  /** Where to go on; null when there is nothing more. A page may hold fewer than asked for, and still not be the last. */
  readonly next: number | null;
}

export interface AuditFault {
  /** Of the first entry that is not as it was written, or is missing. */
  readonly sequence: number;
  /** Of the last one, where that is another. */
  readonly upTo?: number;
  readonly reason: string;
}

export interface AuditVerification {
  readonly intact: boolean;
  /** Entries that were found as they were written, from the first one kept. */
  readonly entries: number;
  /** Sequence of the first entry kept; null when there is none. */
  readonly firstSequence: number | null;
  readonly head: AuditHead;
  readonly firstFault?: AuditFault;
  /** The first hundred. */
  readonly faults?: readonly AuditFault[];
  /** All of them. */
  readonly faultCount?: number;
}

/** Something that was refused before it was tried. */
export interface AuditRefusal {
  /** `login.refused`, `access.refused`. */
  readonly action: string;
  readonly actor: string;
  readonly tenant: string | null;
  readonly remoteAddress: string;
  /** What was asked for, or claimed to be; left out where that is not known. */
  readonly resource?: AuditResource | null;
  /** What was to be done to it. */
  readonly operation?: string | null;
  readonly code: string;
  /** In words, without anything of a credential. */
  readonly reason: string;
  /** `POST /api/topics`, as the route is called. */
  readonly route: string;
  readonly requestId: string;
}

/**
 * The audit log of a cluster. Rejections are BrokerErrors: AUDIT_UNAVAILABLE where nothing can be written, with its cause,
 * DISK_FULL, OVERLOADED, SHUTTING_DOWN.
 */
export interface AuditLog {
  /** Resolves when it is durable, to the sequence of the intent. Only then may the change be made. */
  intend(facts: AuditFacts): Promise<number>;
  /**
   * Resolves when it is durable. After a rejection the outcome is kept in memory and written with the next entry; if the
   * broker ends before, it stays `unknown`.
   */
  conclude(intent: number, result: AuditResult): Promise<AuditHead>;
  /** What had no intent: a refusal, or what the broker did by itself. Resolves when it is durable. */
  record(facts: AuditFacts, result?: { outcome: "success" | "failure"; code?: string }): Promise<
    AuditHead
  >;
  /** Notes a refusal. Bounded: of many alike the first is an entry, the others of a minute are a second one. */
  refused(refusal: AuditRefusal): void;
  /** The newest entry; a promise where the log is led by another broker. */
  head(): AuditHead | Promise<AuditHead>;
  /** Rejects as reading a log does. */
  query(query: AuditQuery): Promise<AuditPage>;
  /**
   * Reads all of it from the disk, and tells the entries that were altered, removed or moved. `expected`: a head that was
   * kept elsewhere, which must be on the chain. `from`: faults of entries before this sequence are known, and not told.
   */
  verify(expected?: AuditHead, from?: number): Promise<AuditVerification>;
}
