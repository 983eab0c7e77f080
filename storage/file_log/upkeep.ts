// Owns what keeps a log's other files in step with it: moving the durable checkpoint, saving indexes and epochs,
// dropping old segments, cutting the end off.
// Refuses to own when: file_log.ts calls it, one call at a time, and holds the writer's turn where it says so.
// Invariant: the checkpoint never claims what is not durable, and is on disk before anything it no longer covers is
// taken away; so a crash between any two steps leaves a log that opens without a gap.
import { lastOffsetDeltaAt, maxTimestampAt, sizeBytesAt } from "../format/record_batch.ts";
import { scanBatches } from "./batch_scan.ts";
import type { Appender } from "./appender.ts";
import type { Checkpoint, CheckpointFile } from "./checkpoint.ts";
import { saveEpochs } from "./epoch_file.ts";
import { segmentPath } from "./file_names.ts";
import { type EncodedIndex, encodeIndex, removeIndex, saveIndex } from "./index_files.ts";
import type { SegmentSwap } from "./compactor.ts";
import type { LogEnvironment, LogState } from "./log_environment.ts";
import { corruptLog } from "./log_faults.ts";
import type { IndexedBatch, SegmentIndex } from "./segment_index.ts";
import { indexOf } from "./segment_reader.ts";
import { beginSwap, finishSwap } from "./segment_swap.ts";
import type { Segment } from "./segments.ts";
import type { TailCache } from "./tail_cache.ts";

export class Upkeep {
  constructor(
    private readonly env: LogEnvironment,
    private readonly state: LogState,
    private readonly parts: {
      readonly appender: Appender;
      readonly tail: TailCache;
      readonly checkpointFile: CheckpointFile;
    },
  ) {}

  /** Whether everything in the log lies before the durable checkpoint. */
  get isAtEnd(): boolean {
    const current = this.parts.checkpointFile.current;
    return current !== null && current.offset === this.state.logEndOffset &&
      current.segmentBase === this.state.segments.active.baseOffset &&
      current.logStartOffset === this.state.logStartOffset;
  }

  /**
   * Moves the durable checkpoint to the present log end, which is synced first where it is not yet. Appends may go on
   * meanwhile. Rejects as the disk does; then the old checkpoint holds.
   */
  async moveCheckpoint(): Promise<void> {
    const { env, state, parts } = this;
    const point = this.#point();
    // Before anything else can be appended: an index must not cover more than is durable.
    const index = state.index.entryCount > 0 ? encodeIndex(state.index, env.crc32c) : null;
    await this.#flushTo(point);
    if (state.epochs.unsaved) await saveEpochs(env, state.directory, state.epochs);
    // An index without entries is found again in one step.
    if (index !== null) await this.#saveEncoded(index);
    const isNew = !parts.checkpointFile.exists;
    await parts.checkpointFile.write({ ...point, logStartOffset: state.logStartOffset });
    if (isNew) await env.disk.syncDirectory(state.directory);
  }

  /** Saves the index of a closed segment; without it, it would be rebuilt when it is needed. */
  async saveIndexOf(index: SegmentIndex): Promise<void> {
    await this.#saveEncoded(encodeIndex(index, this.env.crc32c));
  }

  async #saveEncoded(index: EncodedIndex): Promise<void> {
    const { env, state } = this;
    try {
      await saveIndex(env.disk, state.directory, index);
    } catch (error) {
      const message = `could not save the index of segment ${index.baseOffset}`;
      env.onWarning({ log: state.name, message, error });
    }
  }

  /** Drops the first `count` segments; needs no space on disk. Rejects as the disk does. */
  async dropFirst(count: number): Promise<void> {
    const { env, state, parts: { checkpointFile } } = this;
    const logStartOffset = state.segments.all[count]!.baseOffset;
    const { current } = checkpointFile;
    // A checkpoint among what goes is moved just behind it: that claims nothing about what stays.
    const kept = current !== null && current.segmentBase >= logStartOffset ? current : {
      segmentBase: logStartOffset,
      position: 0,
      offset: logStartOffset,
      segmentCreatedMs: state.segmentCreatedMs,
    };
    // From here on a crash leaves files that the next opening removes.
    await checkpointFile.writeBoth({ ...kept, logStartOffset });
    state.logStartOffset = logStartOffset;
    state.generation++;
    state.epochs.dropBefore(logStartOffset);
    for (const segment of state.segments.dropFirst(count)) await this.#removeFiles(segment);
    await env.disk.syncDirectory(state.directory);
  }

  /** Cuts the log back to the batch boundary at or before `offset`, which lies in it. Needs the writer's turn. */
  async cut(offset: number): Promise<void> {
    const { env, state, parts: { appender } } = this;
    const place = await this.#cutPlace(offset);
    const leftover = appender.halfBegun;
    await this.#removeIndexesFrom(place.segment);
    await this.#lowerCheckpoint(place);
    const dropped = this.#forgetFrom(place);
    try {
      if (leftover !== null) await env.disk.remove(segmentPath(state.directory, leftover));
      // Newest first and one by one: whatever is left after a crash has no gap.
      for (const segment of dropped) {
        await this.#removeFiles(segment);
        await env.disk.syncDirectory(state.directory);
      }
      const path = segmentPath(state.directory, place.segment.baseOffset);
      const file = await env.files.pin(path, { create: false });
      await file.truncate(place.position);
      await file.sync();
      state.cipher?.forgetEnd();
      appender.moveTo(file);
    } catch (error) {
      throw appender.fail("cut", error);
    }
  }

  /**
   * Puts new contents in the place of closed segments that lie below the checkpoint; false when they are not there any
   * more. Readers of theirs wait or read again. A failure behind the point of no return ends all writing.
   */
  async swapIn(swap: SegmentSwap): Promise<boolean> {
    const { env, state, parts: { checkpointFile, appender, tail } } = this;
    const { segments, endOffset, temporary, index, sizeBytes } = swap;
    const { directory } = state;
    const { current } = checkpointFile;
    const isThere = segments.every((segment) => state.segments.all.includes(segment));
    if (!isThere || current === null || current.segmentBase < endOffset) return false;
    // An older checkpoint that came back could lie within what is replaced.
    await checkpointFile.writeBoth(current);
    const { baseOffset } = segments[0]!;
    const replacedBases = segments.map((segment) => segment.baseOffset);
    const at = { directory, baseOffset, endOffset, replacedBases };
    try {
      await beginSwap(env.disk, at, temporary);
      await env.files.replace(segmentPath(directory, baseOffset), async () => {
        state.segments.replace(segments, {
          baseOffset,
          sizeBytes,
          maxTimestamp: index.maxTimestamp,
        });
        state.generation++;
        for (const base of replacedBases) env.indexes.drop(directory, base);
        env.indexes.put(directory, index);
        tail.dropBefore(endOffset);
        await finishSwap(
          env.disk,
          at,
          (path) => env.files.discard(path, () => env.disk.remove(path)),
        );
      });
    } catch (error) {
      throw appender.fail("compact", error);
    }
    await this.saveIndexOf(index);
    return true;
  }

  #point(): Omit<Checkpoint, "logStartOffset"> {
    const { segments, logEndOffset, segmentCreatedMs } = this.state;
    const { baseOffset, sizeBytes } = segments.active;
    return {
      segmentBase: baseOffset,
      position: sizeBytes,
      offset: logEndOffset,
      segmentCreatedMs,
    };
  }

  /** Syncs the segment of `point` without the writer's turn: for durability "os", where appends do not. */
  async #flushTo(point: { segmentBase: number; offset: number }): Promise<void> {
    const { env, state, parts } = this;
    if (state.flushedOffset >= point.offset) return;
    const path = segmentPath(state.directory, point.segmentBase);
    try {
      await env.files.use(path, (file) => file.sync());
    } catch (error) {
      throw parts.appender.fail("sync", error);
    }
    state.flushedOffset = Math.max(state.flushedOffset, point.offset);
  }

  /** The boundary at or before `offset`, with the batches between the last indexed place before it and itself. */
  async #cutPlace(offset: number): Promise<CutPlace> {
    const { env, state } = this;
    const found = state.segments.holding(offset, state.logEndOffset);
    if (found === null) throw new Error(`offset ${offset} lies in no segment of log ${state.name}`);
    const { segment } = found;
    const index = await indexOf(env, state, segment);
    const from = index.placeOf(offset);
    const batches: IndexedBatch[] = [];
    const start = { ...from, leaderEpoch: state.epochs.at(from.offset) };
    const options = { start, to: segment.sizeBytes, crc32c: env.crc32c };
    const path = segmentPath(state.directory, segment.baseOffset);
    let end = from;
    const scanned = await env.files.use(
      path,
      (file) =>
        scanBatches(file, options, (bytes, at, { position, baseOffset }) => {
          end = { position, offset: baseOffset };
          if (baseOffset + lastOffsetDeltaAt(bytes, at) >= offset) return false;
          const sizeBytes = sizeBytesAt(bytes, at);
          batches.push({
            baseOffset,
            position,
            sizeBytes,
            maxTimestamp: maxTimestampAt(bytes, at),
          });
          end = {
            position: position + sizeBytes,
            offset: baseOffset + lastOffsetDeltaAt(bytes, at) + 1,
          };
          return true;
        }),
    );
    if (scanned.fault !== null) {
      throw corruptLog(state.name, {
        offset: scanned.offset,
        segmentBase: segment.baseOffset,
        position: scanned.position,
        reason: scanned.fault,
      });
    }
    return { segment, index, from: from.position, batches, ...end };
  }

  /** No index of what is cut may be found by a later opening, when other batches have taken its place. */
  async #removeIndexesFrom(first: Segment): Promise<void> {
    const { env, state } = this;
    for (const { baseOffset } of state.segments.all) {
      if (baseOffset >= first.baseOffset) await removeIndex(env.disk, state.directory, baseOffset);
    }
    await env.disk.syncDirectory(state.directory);
  }

  /** Before anything is cut, the checkpoint must not claim it. */
  async #lowerCheckpoint(place: CutPlace): Promise<void> {
    const { state, parts: { checkpointFile } } = this;
    const { logStartOffset, segmentCreatedMs } = state;
    const { current } = checkpointFile;
    const lowered = {
      segmentBase: place.segment.baseOffset,
      position: place.position,
      offset: place.offset,
      segmentCreatedMs,
    };
    // One that is low enough is not raised: what lies behind it may be neither synced nor in the file of epochs. But it
    // is written anew, since what was loaded may be a write whose sync had failed.
    const isLow = current !== null && current.offset <= place.offset;
    await checkpointFile.writeBoth({ ...(isLow ? current : lowered), logStartOffset });
  }

  /** Takes everything from `place` on out of memory, at once; the segments to remove, newest first. */
  #forgetFrom(place: CutPlace): Segment[] {
    const { env, state, parts } = this;
    const dropped: Segment[] = [];
    while (state.segments.active !== place.segment) {
      dropped.push(state.segments.active);
      state.segments.dropLast();
    }
    env.indexes.drop(state.directory, place.segment.baseOffset);
    place.index.rewind(place.from);
    for (const batch of place.batches) place.index.add(batch, state.config.indexIntervalBytes);
    place.segment.sizeBytes = place.position;
    place.segment.maxTimestamp = null;
    state.index = place.index;
    state.generation++;
    state.logEndOffset = place.offset;
    state.flushedOffset = Math.min(state.flushedOffset, place.offset);
    state.epochs.cutFrom(place.offset);
    parts.tail.cutFrom(place.offset);
    return dropped;
  }

  async #removeFiles({ baseOffset }: Segment): Promise<void> {
    const { env, state } = this;
    const path = segmentPath(state.directory, baseOffset);
    env.indexes.drop(state.directory, baseOffset);
    await env.files.discard(path, () => env.disk.remove(path));
    await removeIndex(env.disk, state.directory, baseOffset);
  }
}

interface CutPlace {
  readonly segment: Segment;
  readonly index: SegmentIndex;
  /** Byte of the last indexed place at or before the boundary. */
  readonly from: number;
  /** Batches between there and the boundary. */
  readonly batches: readonly IndexedBatch[];
  readonly position: number;
  readonly offset: number;
}
