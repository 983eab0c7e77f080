// Owns one open log: what may be asked of it in which state, and in which order changes happen.
// Refuses to own the steps: appender.ts writes, log_reader.ts reads, upkeep.ts moves the checkpoint and drops or cuts
// segments, recovery.ts found out what there was.
// Invariant: one writer at a time; after a failed write or sync nothing more is written until the log is opened again.
//
// Two turns keep changes apart. The writer's turn is held by what changes the end of the log (append, roll, cut, close);
// the upkeep turn by what changes its other files (checkpoint, indexes, retention). Upkeep may take the writer's turn,
// never the other way round, so an append waits for upkeep only where it must.
import { BrokerError } from "../broker_error.ts";
import type {
  AppendResult,
  CompactionPolicy,
  CompactionResult,
  Log,
  LogConfig,
  ReadOptions,
  RetentionPolicy,
} from "../log.ts";
import { type DiskFile, FileMissingError } from "../ports.ts";
import { planAppend } from "./append_plan.ts";
import { Appender } from "./appender.ts";
import type { CheckpointFile } from "./checkpoint.ts";
import { LogCompaction } from "./log_compaction.ts";
import type { LogEnvironment, LogState } from "./log_environment.ts";
import { corruptLog, diskFault, logClosed, offsetOutOfRange } from "./log_faults.ts";
import { findTimestamp, maxTimestampOf, readLog } from "./log_reader.ts";
import { countDroppable } from "./retention.ts";
import type { SegmentIndex } from "./segment_index.ts";
import { MAX_READ_BYTES } from "./segment_reader.ts";
import { TailCache } from "./tail_cache.ts";
import { Turn } from "../turns.ts";
import { Upkeep } from "./upkeep.ts";

/** A read under which segments were taken away starts over this many times. */
const MAX_READ_RETRIES = 3;

const NOTHING = new Uint8Array(0);

export interface FileLogParts {
  readonly checkpointFile: CheckpointFile;
  /** The active segment, pinned; null for a corrupt log, which is never written to. */
  readonly file: DiskFile | null;
  /** Bytes of log behind the durable checkpoint. */
  readonly uncheckpointedBytes: number;
  /** Lets go of every file; called once. */
  readonly onClosed: () => Promise<void>;
}

export class FileLog implements Log {
  readonly #writer = new Turn();
  readonly #upkeepTurn = new Turn();
  readonly #tail: TailCache;
  readonly #appender: Appender | null;
  readonly #upkeep: Upkeep | null;
  #closing: Promise<void> | null = null;
  readonly #compaction: LogCompaction;
  #appending = false;
  #checkpointDue = false;
  #bytesSinceCheckpoint: number;

  constructor(
    private readonly env: LogEnvironment,
    private readonly state: LogState,
    private readonly parts: FileLogParts,
  ) {
    const tail = this.#tail = new TailCache(env.tailBudget);
    const { file, checkpointFile } = parts;
    this.#bytesSinceCheckpoint = parts.uncheckpointedBytes;
    this.#appender = file === null ? null : new Appender(env, state, {
      file,
      tail,
      onClosed: (index) => this.#afterRoll(index),
    });
    this.#upkeep = this.#appender === null
      ? null
      : new Upkeep(env, state, { appender: this.#appender, tail, checkpointFile });
    this.#compaction = new LogCompaction(env, state, {
      checkpointFile,
      before: () => this.#beforeCompaction(),
      isStopped: () => this.#closing !== null || this.fault !== null,
      swap: (swap) => this.#upkeepTurn.run(() => this.#writable().upkeep.swapIn(swap)),
    });
  }

  get logStartOffset(): number {
    return this.state.logStartOffset;
  }

  get logEndOffset(): number {
    return this.state.logEndOffset;
  }

  get flushedOffset(): number {
    return this.state.flushedOffset;
  }

  get sizeBytes(): number {
    return this.state.segments.sizeBytes;
  }

  /** Why the log takes no appends until it is opened again, or ever; null when it does. */
  get fault(): BrokerError | null {
    return this.state.fault ?? this.#appender?.failure ?? null;
  }

  async append(batches: readonly Uint8Array[]): Promise<AppendResult> {
    if (this.#appending) throw new Error(`two appends to log ${this.state.name} at once`);
    this.#appending = true;
    try {
      return await this.#writer.run(() => this.#append(batches));
    } finally {
      this.#appending = false;
    }
  }

  async read(offset: number, options: ReadOptions): Promise<Uint8Array> {
    return await this.#readAgain(offset, () => this.#read(offset, options, false));
  }

  /** What is read while something is taken away is read again. */
  async #readAgain(offset: number, read: () => Promise<Uint8Array>): Promise<Uint8Array> {
    for (let tries = 0;; tries++) {
      const { generation } = this.state;
      const last = tries === MAX_READ_RETRIES;
      try {
        const bytes = await read();
        if (generation === this.state.generation || last) return bytes;
      } catch (error) {
        if (generation === this.state.generation || last) throw this.#readFault(error, offset);
      }
    }
  }

  /** See Log. */
  async readStored(offset: number, options: ReadOptions): Promise<Uint8Array> {
    return await this.#readAgain(offset, () => this.#read(offset, options, true));
  }

  /** See Log. */
  async openStored(stored: Uint8Array): Promise<Uint8Array> {
    const { name, cipher } = this.state;
    if (cipher === null || stored.length === 0) return stored;
    const { bytes, fault } = await cipher.open(stored);
    if (fault === null || bytes.length > 0) return bytes;
    throw corruptLog(name, { ...fault, segmentBase: -1, position: fault.at });
  }

  /** See Log. What cannot be forgotten now is forgotten another time. */
  async forgetKeys(bounds: { startOffset: number; archivedTo: number }): Promise<void> {
    try {
      await this.state.cipher?.forgetKeys(bounds);
    } catch (error) {
      const message = "data keys that nothing needs any more could not be removed";
      this.env.onWarning({ log: this.state.name, message, error });
    }
  }

  async offsetForTimestamp(timestampMs: number): Promise<number | null> {
    for (let tries = 0;; tries++) {
      const { generation } = this.state;
      const last = tries === MAX_READ_RETRIES;
      if (this.#closing !== null) throw logClosed(this.state.name);
      try {
        const offset = await findTimestamp(this.env, this.state, timestampMs);
        if (generation === this.state.generation || last) return offset;
      } catch (error) {
        const { logStartOffset } = this.state;
        if (generation === this.state.generation || last) {
          throw this.#readFault(error, logStartOffset);
        }
      }
    }
  }

  endOffsetForEpoch(leaderEpoch: number): { leaderEpoch: number; endOffset: number } {
    return this.state.epochs.endOffsetFor(leaderEpoch, this.state);
  }

  async applyRetention(policy: RetentionPolicy): Promise<number> {
    const { state } = this;
    return await this.#upkeepTurn.run(async () => {
      const count = await this.#droppable(policy);
      try {
        if (count > 0) await this.#writable().upkeep.dropFirst(count);
      } catch (error) {
        throw diskFault(state.name, "apply retention to", error);
      }
      return state.logStartOffset;
    });
  }

  async droppableOffset(policy: RetentionPolicy): Promise<number> {
    const { state } = this;
    return await this.#upkeepTurn.run(async () => {
      const count = await this.#droppable(policy);
      return count === 0 ? state.logStartOffset : state.segments.all[count]!.baseOffset;
    });
  }

  /** Number of leading segments that the policy lets go, after closing an aged one. In the upkeep turn. */
  async #droppable(policy: RetentionPolicy): Promise<number> {
    const { env, state } = this;
    const { appender } = this.#writable();
    if (appender.isAged()) await this.#writer.run(() => this.#rollIfAged());
    if (state.flushedOffset < state.logEndOffset) await this.#tryMoveCheckpoint();
    this.#writable();
    try {
      return await countDroppable(
        state.segments.all,
        policy,
        (segment) => maxTimestampOf(env, state, segment),
      );
    } catch (error) {
      throw diskFault(state.name, "apply retention to", error);
    }
  }

  /** See Log. Other calls go on meanwhile: it takes turns only to put new segments in place. */
  async compact(policy: CompactionPolicy): Promise<CompactionResult> {
    try {
      return await this.#compaction.run(policy);
    } catch (error) {
      throw diskFault(this.state.name, "compact", error);
    }
  }

  async #beforeCompaction(): Promise<void> {
    await this.#upkeepTurn.run(async () => {
      const { appender } = this.#writable();
      if (appender.isAged()) await this.#writer.run(() => this.#rollIfAged());
      if (this.#upkeep?.isAtEnd === false) await this.#tryMoveCheckpoint();
    });
  }

  async truncateTo(offset: number): Promise<void> {
    try {
      await this.#compaction.whileCutting(offset, () => this.#truncateTo(offset));
    } catch (error) {
      throw diskFault(this.state.name, "cut", error);
    }
  }

  async #truncateTo(offset: number): Promise<void> {
    const { state } = this;
    await this.#upkeepTurn.run(() =>
      this.#writer.run(async () => {
        const { upkeep } = this.#writable();
        const target = Math.max(offset, state.logStartOffset);
        if (target >= state.logEndOffset) return;
        try {
          await upkeep.cut(target);
        } catch (error) {
          throw diskFault(state.name, "cut", error);
        }
      })
    );
  }

  async configure(config: LogConfig): Promise<void> {
    await this.#writer.run(async () => {
      const { appender } = this.#writable();
      this.state.config = config;
      if (config.durability === "fsync") await appender.flush();
    });
  }

  /**
   * Moves the durable checkpoint to the log end, which is synced where it is not yet. When that fails the old checkpoint
   * holds, a later recovery takes longer, and a warning says so; a failed sync of the log also ends all appends.
   */
  async checkpoint(): Promise<void> {
    await this.#upkeepTurn.run(async () => {
      this.#checkpointDue = false;
      if (this.#closing === null && this.fault === null) await this.#tryMoveCheckpoint();
    });
  }

  /** See Log. On a disk without space it is as if the process had been killed: nothing is lost, recovery takes longer. */
  close(): Promise<void> {
    this.#closing ??= (async () => {
      await this.#compaction.settled();
      await this.#upkeepTurn.run(() => this.#writer.run(() => this.#close()));
    })();
    return this.#closing;
  }

  /** What writes, where that is possible. */
  #writable(): { appender: Appender; upkeep: Upkeep } {
    if (this.#closing !== null) throw logClosed(this.state.name);
    if (this.fault !== null) throw this.fault;
    if (this.#appender === null || this.#upkeep === null) {
      throw new Error(`log ${this.state.name} has neither a file nor a fault`);
    }
    return { appender: this.#appender, upkeep: this.#upkeep };
  }

  async #append(batches: readonly Uint8Array[]): Promise<AppendResult> {
    const { state } = this;
    const { appender } = this.#writable();
    const { name, logEndOffset: baseOffset, epochs } = state;
    const plan = planAppend(batches, {
      name,
      logEndOffset: baseOffset,
      leaderEpoch: epochs.latest,
    });
    if (batches.length > 0) await appender.append(batches, plan);
    this.#bytesSinceCheckpoint += plan.sizeBytes;
    if (this.#bytesSinceCheckpoint >= this.env.checkpointBytes) this.#moveCheckpointSoon();
    return { baseOffset, logEndOffset: plan.endOffset };
  }

  async #read(offset: number, options: ReadOptions, stored: boolean): Promise<Uint8Array> {
    const { state } = this;
    if (this.#closing !== null) throw logClosed(state.name);
    // Also true for what is no number.
    if (!(offset >= state.logStartOffset && offset <= state.logEndOffset)) {
      if (state.fault !== null && offset > state.logEndOffset) throw state.fault;
      throw offsetOutOfRange(state.name, offset, state);
    }
    const limitOffset = Math.min(options.endOffset, state.logEndOffset);
    if (offset >= limitOffset) {
      if (state.fault !== null && offset === state.logEndOffset) throw state.fault;
      return NOTHING;
    }
    const maxBytes = Math.min(options.maxBytes, MAX_READ_BYTES);
    const cached = options.uncached === true || stored
      ? null
      : this.#tail.read(offset, { limitOffset, maxBytes });
    return cached ?? await readLog(this.env, state, { offset, limitOffset, maxBytes, stored });
  }

  #readFault(error: unknown, offset: number): BrokerError {
    const { name } = this.state;
    if (!(error instanceof FileMissingError)) return diskFault(name, "read", error);
    const reason = "a segment file is missing";
    return corruptLog(name, { offset, segmentBase: -1, position: 0, reason }, error);
  }

  /** A disk that is too full for one more file must not keep retention from making room. */
  async #rollIfAged(): Promise<void> {
    const { appender } = this.#writable();
    try {
      if (appender.isAged()) await appender.roll();
    } catch (error) {
      if (!(error instanceof BrokerError) || error.code !== "DISK_FULL") throw error;
      const message = "could not close an aged segment";
      this.env.onWarning({ log: this.state.name, message, error });
    }
  }

  #afterRoll(closed: SegmentIndex): void {
    this.#upkeepTurn.run(() => this.#upkeep!.saveIndexOf(closed)).catch(() => undefined);
    this.#moveCheckpointSoon();
  }

  /** In the background: no append waits for it. */
  #moveCheckpointSoon(): void {
    if (this.#checkpointDue) return;
    this.#checkpointDue = true;
    void this.checkpoint();
  }

  async #tryMoveCheckpoint(): Promise<void> {
    this.#bytesSinceCheckpoint = 0;
    try {
      await this.#upkeep?.moveCheckpoint();
    } catch (error) {
      const message = "could not move the durable checkpoint: recovery will take longer";
      this.env.onWarning({ log: this.state.name, message, error });
    }
  }

  async #close(): Promise<void> {
    try {
      if (this.fault === null && this.#upkeep?.isAtEnd === false) {
        await this.#appender!.flush();
        await this.#tryMoveCheckpoint();
      }
    } finally {
      this.#tail.close();
      await this.parts.onClosed();
    }
  }
}
