// Owns the end of a log: writing, syncing and rolling its active segment.
// Refuses to own who may call when (file_log.ts): one call at a time.
// Invariant: a failed sync or write is never tried again: the log fails for good until it is opened anew. Only a full
// disk is survived: what was written of the append is cut off, durably, before the caller hears of it.
import { BrokerError } from "../broker_error.ts";
import { LogCipher } from "../encryption/log_cipher.ts";
import {
  baseOffsetAt,
  leaderEpochAt,
  maxTimestampAt,
  sizeBytesAt,
} from "../format/record_batch.ts";
import { type DiskFile, DiskFullError } from "../ports.ts";
import type { AppendPlan } from "./append_plan.ts";
import { segmentPath } from "./file_names.ts";
import { putGuard, takeGuard } from "./guard_byte.ts";
import type { LogEnvironment, LogState } from "./log_environment.ts";
import { diskFull, storageFailed } from "./log_faults.ts";
import { SegmentIndex } from "./segment_index.ts";
import type { TailCache } from "./tail_cache.ts";
import { writeFully } from "./whole_files.ts";

/** Largest segment: positions in indexes are 32 bits wide, and one append may come on top. */
const MAX_SEGMENT_BYTES = 2 ** 31;
/** Offsets in indexes are relative to the segment's, 32 bits wide. */
const MAX_SEGMENT_OFFSETS = 2 ** 32 - 1;

export class Appender {
  /** Why nothing can be written any more. */
  failure: BrokerError | null = null;
  /** A roll that met a full disk: it must be done before the old segment may grow, whose end may be taken by then. */
  #rollDue = false;

  constructor(
    private readonly env: LogEnvironment,
    private readonly state: LogState,
    private readonly parts: {
      file: DiskFile;
      readonly tail: TailCache;
      /** Called after a roll, with the index of the segment that was closed. */
      readonly onClosed: (index: SegmentIndex) => void;
    },
  ) {}

  /** Writes checked batches, and syncs as the log is configured. DISK_FULL: nothing was kept. STORAGE_FAILED: unknown. */
  async append(batches: readonly Uint8Array[], plan: AppendPlan): Promise<void> {
    const { state } = this;
    const { cipher } = state;
    const addedBytes = cipher === null ? 0 : LogCipher.addedBytes(batches.length);
    if (this.#rollDue || this.#mustRollFor(plan, addedBytes)) await this.roll();
    const stored = cipher === null ? batches : await this.#sealed(cipher, batches);
    await this.#write(stored);
    if (state.config.durability === "fsync") await this.sync();
    this.#admit(batches, stored, plan);
  }

  /** The key is durable before the first byte that needs it is written. */
  async #sealed(
    cipher: LogCipher,
    batches: readonly Uint8Array[],
  ): Promise<readonly Uint8Array[]> {
    const { name, segments, logEndOffset } = this.state;
    const action = "keep a data key of";
    try {
      await cipher.beginEnd(segments.active.baseOffset, logEndOffset);
    } catch (error) {
      if (error instanceof BrokerError) throw error;
      if (error instanceof DiskFullError) throw diskFull(name, action, error);
      throw this.fail(action, error);
    }
    return await cipher.seal(batches);
  }

  /** Base offset of a segment whose file may exist although it is not part of the log yet; null when there is none. */
  get halfBegun(): number | null {
    return this.#rollDue ? this.state.logEndOffset : null;
  }

  /** Makes all that was appended durable. */
  async sync(): Promise<void> {
    try {
      await this.parts.file.sync();
    } catch (error) {
      throw this.fail("sync", error);
    }
  }

  /** `sync`, when there is anything that was not yet. */
  async flush(): Promise<void> {
    const { state } = this;
    if (state.flushedOffset === state.logEndOffset) return;
    await this.sync();
    state.flushedOffset = state.logEndOffset;
  }

  /** Whether the active segment has reached its age. An empty one never does. */
  isAged(): boolean {
    const { segments, segmentCreatedMs, config } = this.state;
    return segments.active.sizeBytes > 0 &&
      this.env.clock.now() - segmentCreatedMs >= config.segmentMs;
  }

  /**
   * Closes the active segment and begins the next. The old one is durable before the new one exists, and the new one's
   * name before it is written to. DISK_FULL leaves all as it was.
   */
  async roll(): Promise<void> {
    const { env, state } = this;
    await this.flush();
    this.#rollDue = true;
    const baseOffset = state.logEndOffset;
    const path = segmentPath(state.directory, baseOffset);
    let file: DiskFile;
    try {
      file = await env.files.pin(path, { create: true });
    } catch (error) {
      if (error instanceof DiskFullError) throw diskFull(state.name, "begin a segment of", error);
      throw this.fail("begin a segment of", error);
    }
    try {
      await env.disk.syncDirectory(state.directory);
    } catch (error) {
      throw this.fail("sync the directory of", error);
    }
    this.#rollDue = false;
    const closed = state.index;
    state.segments.active.maxTimestamp = closed.maxTimestamp;
    env.files.unpin(segmentPath(state.directory, closed.baseOffset));
    env.indexes.put(state.directory, closed);
    state.index = new SegmentIndex(baseOffset);
    state.segments.push({ baseOffset, sizeBytes: 0, maxTimestamp: null });
    state.segmentCreatedMs = env.clock.now();
    this.parts.file = file;
    this.parts.onClosed(closed);
  }

  /** Goes on at the end of another file: after a cut. */
  moveTo(file: DiskFile): void {
    this.parts.file = file;
    this.#rollDue = false;
  }

  /** Ends all writing; the error to throw. */
  fail(action: string, cause: unknown): BrokerError {
    this.failure ??= storageFailed(this.state.name, action, cause);
    return this.failure;
  }

  #mustRollFor(plan: AppendPlan, addedBytes: number): boolean {
    const { segments, config } = this.state;
    const { sizeBytes, baseOffset } = segments.active;
    if (sizeBytes === 0) return false;
    const segmentBytes = Math.min(config.segmentBytes, MAX_SEGMENT_BYTES);
    return sizeBytes + plan.sizeBytes + addedBytes > segmentBytes || this.isAged() ||
      plan.endOffset - baseOffset > MAX_SEGMENT_OFFSETS;
  }

  async #write(batches: readonly Uint8Array[]): Promise<void> {
    const { state } = this;
    const { file } = this.parts;
    const position = state.segments.active.sizeBytes;
    const marked = state.flushedOffset === state.logEndOffset;
    try {
      await this.env.buffers.joined(batches, async (bytes) => {
        const starts: number[] = [];
        for (let at = 0; at < bytes.length; at += sizeBytesAt(bytes, at)) starts.push(at);
        for (const at of starts) putGuard(bytes, at, { marked: marked && at === 0 });
        try {
          await writeFully(file, bytes, position);
        } finally {
          // A single batch was not copied: the tail cache will show it.
          for (const at of starts) takeGuard(bytes, at);
        }
      });
    } catch (error) {
      if (!(error instanceof DiskFullError)) throw this.fail("write to", error);
      await this.#cutBack(position);
      throw diskFull(state.name, "append to", error);
    }
  }

  async #cutBack(position: number): Promise<void> {
    try {
      await this.parts.file.truncate(position);
      await this.parts.file.sync();
    } catch (error) {
      throw this.fail("cut a short write off", error);
    }
    this.state.flushedOffset = this.state.logEndOffset;
  }

  /** Makes what was written part of the log, all at once; `stored` is what each batch is on disk. */
  #admit(
    batches: readonly Uint8Array[],
    stored: readonly Uint8Array[],
    plan: AppendPlan,
  ): void {
    const { state } = this;
    const { active } = state.segments;
    let position = active.sizeBytes;
    for (let index = 0; index < batches.length; index++) {
      const batch = batches[index]!;
      const baseOffset = baseOffsetAt(batch, 0);
      const sizeBytes = stored[index]!.length;
      const maxTimestamp = maxTimestampAt(batch, 0);
      state.index.add(
        { baseOffset, position, sizeBytes, maxTimestamp },
        state.config.indexIntervalBytes,
      );
      state.epochs.note(leaderEpochAt(batch, 0), baseOffset);
      this.parts.tail.push(batch, baseOffset);
      position += sizeBytes;
    }
    active.sizeBytes = position;
    state.logEndOffset = plan.endOffset;
    if (state.config.durability === "fsync") state.flushedOffset = plan.endOffset;
  }
}
