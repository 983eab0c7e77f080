// Owns what the logs of one store share, and the state of one log that its parts work on.
// Refuses to own behaviour.
// Invariant: logStartOffset <= flushedOffset <= logEndOffset.
import type { BrokerError } from "../broker_error.ts";
import type { LogCipher } from "../encryption/log_cipher.ts";
import type { MasterKeys } from "../encryption/master_keys.ts";
import type { LogConfig } from "../log.ts";
import type { Clock, Crc32c, Disk } from "../ports.ts";
import type { FilePool } from "./file_pool.ts";
import type { LeaderEpochs } from "./leader_epochs.ts";
import type { SegmentIndex } from "./segment_index.ts";
import type { SegmentIndexes } from "./segment_indexes.ts";
import type { Segments } from "./segments.ts";
import type { TailCacheBudget } from "./tail_cache.ts";
import type { WriteBuffers } from "./write_buffers.ts";

/** Something an operator should know although the log goes on. */
export interface LogWarning {
  readonly log: string;
  readonly message: string;
  readonly error?: unknown;
}

/** What all logs of a store share. */
export interface LogEnvironment {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly crc32c: Crc32c;
  readonly files: FilePool;
  readonly indexes: SegmentIndexes;
  readonly tailBudget: TailCacheBudget;
  readonly buffers: WriteBuffers;
  /** Bytes of log after which the durable checkpoint moves: what recovery scans at most, but for one append. */
  readonly checkpointBytes: number;
  /** Memory for the keys of one compaction, instead of the default. */
  readonly maxKeyMapBytes?: number;
  /** What the data keys of encrypted logs are wrapped with; null: there is none, and they cannot be opened. */
  readonly masterKeys: MasterKeys | null;
  onWarning(warning: LogWarning): void;
}

/** One open log in memory. */
export interface LogState {
  readonly name: string;
  readonly directory: string;
  readonly segments: Segments;
  readonly epochs: LeaderEpochs;
  /** Null: batches are stored as they are. */
  readonly cipher: LogCipher | null;
  /** Index of the active segment. */
  index: SegmentIndex;
  config: LogConfig;
  logStartOffset: number;
  logEndOffset: number;
  flushedOffset: number;
  /** Wall time, ms, at which the active segment was begun. */
  segmentCreatedMs: number;
  /** Changes whenever something that could be read was taken away. */
  generation: number;
  /** Set when the log is known to be corrupt from logEndOffset on. */
  fault: BrokerError | null;
}
