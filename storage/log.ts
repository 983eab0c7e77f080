// Owns the port of an append-only log of record batches, and the shapes it speaks in.
// Refuses to own any implementation (file_log/, kv/, memory/) or who may append (the partition actor).
// Invariant: offsets only grow; logStartOffset <= flushedOffset <= logEndOffset; one offset, one content, for ever.
import type { BrokerError } from "./broker_error.ts";

/** What a log keeps when nothing is said: see `LogConfig`. */
export interface LogConfig {
  /** "fsync": `append` resolves when the batches are durable. "os": when the operating system has them. */
  readonly durability: "fsync" | "os";
  /** A segment is closed at this size or age. */
  readonly segmentBytes: number;
  readonly segmentMs: number;
  /** Bytes of log between two entries of the sparse offset index. */
  readonly indexIntervalBytes: number;
  /** How what is written is stored; fixed when the log is made, left out: "none". Only by a store that `encrypts`. */
  readonly encryption?: Encryption;
  /** Offset at which a log that is made now begins; default 0. What a log that is there holds stays as it is. */
  readonly startOffset?: number;
}

/** What protects a log's bytes at rest. */
export type Encryption = "none" | "aes-256-gcm";

/** What an append did to the log. */
export interface AppendResult {
  /** Offset of the first record appended. */
  readonly baseOffset: number;
  /** Log end offset after it. */
  readonly logEndOffset: number;
}

export interface ReadOptions {
  /** Stop before this offset (the high watermark, say); batches that reach past it are left out. */
  readonly endOffset: number;
  /** Stop when the next whole batch would go over; the first batch is returned even when it is larger. */
  readonly maxBytes: number;
  /** Read what is stored, past what is kept in memory of it. */
  readonly uncached?: boolean;
}

export interface RetentionPolicy {
  /** Trusted wall time, ms. */
  readonly now: number;
  /** Closed segments whose newest record is older are dropped; null keeps for ever. */
  readonly retentionMs: number | null;
  /** Oldest closed segments are dropped while the rest alone holds at least this many bytes; null is no limit. */
  readonly retentionBytes: number | null;
  /** Never drop anything at or above this offset. */
  readonly keepFrom: number;
  /**
   * What is dropped goes into the archive first, and stays there as long as it says. Without it nothing goes there, and
   * what is there already is dropped before anything newer. Only logs of a store that `archives` may be given it.
   */
  readonly archive?: ArchivePolicy;
  /** Ends long work early; the next call goes on with it. */
  readonly signal?: AbortSignal;
}

export interface ArchivePolicy {
  /** Archived records are dropped when all of their object are older; null keeps them for ever. */
  readonly retentionMs: number | null;
}

/** Records of one transaction that was aborted: those of its producer in [firstOffset, lastOffset]. */
export interface AbortedTransaction {
  readonly producerId: number;
  readonly firstOffset: number;
  readonly lastOffset: number;
}

export interface CompactionPolicy {
  /** Trusted wall time, ms. */
  readonly now: number;
  /** Nothing at or above this offset is touched, nor decides about what lies below: the last stable offset. */
  readonly keepFrom: number;
  /** A record without value stays this long after its key's older records have gone, so that readers hear of it. */
  readonly tombstoneMs: number;
  /** The last batch of a producer stays this long, if need be without its records, for what its header tells. */
  readonly producerMs: number;
  /**
   * Compaction goes no further than the first record, of no producer, that has this header and is not this old yet, by
   * its own time: whoever remembers such records must be able to find them. Null: there are none.
   */
  readonly remembered: { readonly header: string; readonly ms: number } | null;
  /** Every aborted transaction with a record below `keepFrom`. */
  readonly aborted: readonly AbortedTransaction[];
  readonly signal?: AbortSignal;
}

export interface CompactionResult {
  /** Records below it are the newest of their key, or too new for it to be known. */
  readonly cleanOffset: number;
  readonly removedRecords: number;
  readonly removedBytes: number;
}

/**
 * An append-only log of record batches (magic 2), written by one writer.
 *
 * Errors, as BrokerError: OFFSET_OUT_OF_RANGE (`logStartOffset`, `logEndOffset` in details), CORRUPT_LOG (the range
 * cannot be served), ENCRYPTION_KEY_UNAVAILABLE (from `open`: nothing was read, changed or removed), ARCHIVE_UNAVAILABLE (what is asked for lies in the archive, which does not answer now), DISK_FULL (nothing was kept of the append; try again), STORAGE_FAILED (a write or sync failed:
 * the outcome is unknown and the log must be closed and opened again before it is used).
 */
export interface Log {
  readonly logStartOffset: number;
  readonly logEndOffset: number;
  /** Everything below is durable. */
  readonly flushedOffset: number;
  readonly sizeBytes: number;
  /** Of what lies in the archive; left out by logs that have none. */
  readonly archivedBytes?: number | undefined;
  /** Some of it lies in an archive, and there is none any more to read it from: such reads get ARCHIVE_UNAVAILABLE. */
  readonly missesArchive?: boolean;
  /** Why the log takes no appends although it is open: it is corrupt, and serves what lies before the damage. */
  readonly fault?: BrokerError | null;
  /**
   * Appends whole batches that already carry their base offsets (contiguous from logEndOffset) and leader epoch.
   * One call at a time: a second before the first has settled throws. The log may keep references to `batches`
   * (tail cache): the caller gives them away.
   */
  append(batches: readonly Uint8Array[]): Promise<AppendResult>;
  /**
   * Whole batches as stored, concatenated, the first of which holds `offset` (it may start before it).
   * Empty when `offset` is `endOffset` or the log end. The result may be shared memory: never write to it.
   */
  read(offset: number, options: ReadOptions): Promise<Uint8Array>;
  /** Offset of the first record with a timestamp of at least `timestampMs`, at batch precision or better; null when there is none. */
  offsetForTimestamp(timestampMs: number): Promise<number | null>;
  /** First offset after the last one written in `leaderEpoch` or an older epoch (KIP-101), with the epoch it belongs to. */
  endOffsetForEpoch(leaderEpoch: number): { leaderEpoch: number; endOffset: number };
  /** Drops whole closed segments as the policy allows; resolves to the new logStartOffset. */
  applyRetention(policy: RetentionPolicy): Promise<number>;
  /** Where `applyRetention` would let the log start. A log without it cannot be archived. */
  droppableOffset?(policy: RetentionPolicy): Promise<number>;
  /**
   * Takes away records that a newer one of the same key replaces, and those of aborted transactions, where enough of
   * the log is new since the last time. Offsets stay: batches have gaps within, never between them. A log without it
   * keeps everything.
   */
  compact?(policy: CompactionPolicy): Promise<CompactionResult>;
  /** Cuts the log back so that logEndOffset is `offset` (a follower that diverged). Bounded below by logStartOffset. */
  truncateTo(offset: number): Promise<void>;
  /**
   * For who keeps copies of an encrypted log's batches elsewhere: as `read`, but as they lie on disk. A log without it
   * stores batches as they are.
   */
  readStored?(offset: number, options: ReadOptions): Promise<Uint8Array>;
  /** What `readStored` gave, as it was appended. CORRUPT_LOG when the first batch of it was changed; what follows one is left out. */
  openStored?(stored: Uint8Array): Promise<Uint8Array>;
  /** Everything below `startOffset` is gone, copies too, of which there are none from `archivedTo` on: keys for it may go. */
  forgetKeys?(bounds: { startOffset: number; archivedTo: number }): Promise<void>;
  /** Changes segment size, age or durability from the next append on. */
  configure(config: LogConfig): Promise<void>;
  /** Syncs, writes the clean marker and lets go of every file. */
  close(): Promise<void>;
}

/** Opens logs by name, a name being a `/`-separated path of `[A-Za-z0-9_-]` parts. */
export interface LogStore {
  /** Whether its logs have an archive: see RetentionPolicy. */
  readonly archives?: boolean;
  /** Whether it has a key, so that logs can be made with `encryption`. */
  readonly encrypts?: boolean;
  /** Opens the log, made empty when it is not there; recovers it first where it was not closed cleanly. */
  open(name: string, config: LogConfig): Promise<Log>;
  /** Removes a closed log with all it holds; a missing one is no error. */
  remove(name: string): Promise<void>;
  /** Names of the logs below `prefix`. */
  list(prefix: string): Promise<string[]>;
}
