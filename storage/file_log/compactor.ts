// Owns compacting one log: which segments, when it is worth it, and the steps from old segments to new ones.
// Refuses to own what goes (batch_cleaner.ts), how files are swapped (segment_swap.ts), and turns (file_log.ts).
// Invariant: only closed segments below the durable checkpoint and the policy's bound are touched; a damaged one ends the
// compaction before it; stopping anywhere leaves a log that holds at least what it should.
import {
  lastOffsetDeltaAt,
  leaderEpochAt,
  readHeader,
  sizeBytesAt,
} from "../format/record_batch.ts";
import type { Rewrite } from "../encryption/log_cipher.ts";
import type { CompactionPolicy, CompactionResult } from "../log.ts";
import {
  AbortedTransactions,
  BatchCleaner,
  type RememberedRecords,
  visitKeys,
} from "./batch_cleaner.ts";
import type { OnBatch } from "./batch_scan.ts";
import type { CleanPoints } from "./clean_points.ts";
import { type ClosedSegment, type Visit, walkClosed } from "./closed_walk.ts";
import { segmentPath, TEMPORARY_SUFFIX } from "./file_names.ts";
import { KeyOffsets } from "./key_offsets.ts";
import type { LogEnvironment, LogState } from "./log_environment.ts";
import { LastBatches } from "./last_batches.ts";
import type { SegmentIndex } from "./segment_index.ts";
import { SegmentWriter } from "./segment_writer.ts";
import type { Segment } from "./segments.ts";

/** A log is compacted when this part of what can be is new since the last time: work stays in proportion to writing. */
const MIN_DIRTY_RATIO = 0.5;
/** Passes of one call, each over as many keys as fit into memory. */
const MAX_PASSES = 16;
/** Output in memory before it is written. */
const WRITE_BYTES = 1024 * 1024;
/** Offsets in an index are relative to its segment's, 32 bits wide. */
const MAX_SEGMENT_OFFSETS = 2 ** 32 - 1;

/** New contents for segments that follow each other. */
export interface SegmentSwap {
  readonly segments: readonly Segment[];
  readonly endOffset: number;
  /** The finished file. */
  readonly temporary: string;
  readonly index: SegmentIndex;
  readonly sizeBytes: number;
}

export interface CompactorParts {
  readonly points: CleanPoints;
  readonly maxKeyMapBytes?: number;
  /** Where the log may be changed: the base of the checkpoint's segment. */
  cleanableEnd(): number;
  /** Puts the new segment in place; false when the old ones are not what they were. */
  swap(swap: SegmentSwap): Promise<boolean>;
  /** Whether to stop at the next step. */
  isStopped(): boolean;
}

/** What came since the last compaction, as far as this one goes. */
interface FoundKeys {
  readonly keys: KeyOffsets;
  readonly lastBatches: LastBatches;
  readonly endOffset: number;
  /** See CleanPoints. */
  readonly waitsUntil: number;
}

/** What is being written out of some segments. */
interface Group {
  readonly writer: SegmentWriter;
  readonly temporary: string;
  readonly sources: ClosedSegment[];
  readonly removedBefore: number;
  /** How an encrypted log is written anew; null for others. */
  readonly rewrite: Rewrite | null;
}

export class Compactor {
  constructor(
    private readonly env: LogEnvironment,
    private readonly state: LogState,
    private readonly parts: CompactorParts,
  ) {}

  /** See Log.compact. Rejects as the disk does, and with CORRUPT_LOG where a segment is damaged. */
  async run(policy: CompactionPolicy): Promise<CompactionResult> {
    let removedRecords = 0;
    let removedBytes = 0;
    for (let pass = 0; pass < MAX_PASSES; pass++) {
      // What is begun is brought to its end, however little of it is left.
      if (pass === 0 && !this.#isDue(policy)) break;
      const done = await this.#pass(policy);
      removedRecords += done.removedRecords;
      removedBytes += done.removedBytes;
      if (!done.isMore) break;
    }
    return { cleanOffset: this.parts.points.cleanOffset, removedRecords, removedBytes };
  }

  async #pass(
    policy: CompactionPolicy,
  ): Promise<{ removedRecords: number; removedBytes: number; isMore: boolean }> {
    const { points } = this.parts;
    const nothing = { removedRecords: 0, removedBytes: 0, isMore: false };
    const cleanable = this.#cleanable(policy.keepFrom);
    if (cleanable.length === 0) return nothing;
    const aborted = new AbortedTransactions(policy.aborted);
    const found = await this.#newest(cleanable, aborted, policy);
    if (found === null) return nothing;
    const { now, tombstoneMs } = policy;
    const isFurther = found.endOffset > points.cleanOffset;
    points.waitsUntil = found.waitsUntil;
    if (!isFurther && !points.isReapingDue(now, tombstoneMs)) return nothing;
    const tombstonesUpTo = points.ripeOffset(now, tombstoneMs);
    const cleaner = new BatchCleaner({
      newest: found.keys,
      tombstonesUpTo,
      producersSince: now - policy.producerMs,
      hasAppendedAfter: (header) => found.lastBatches.isBefore(header),
      aborted,
    }, this.env.crc32c);
    const targets = cleanable.filter(({ segment }) => segment.baseOffset < found.endOffset);
    const rewritten = await this.#rewrite(targets, cleaner, policy);
    const { removedRecords } = cleaner;
    if (rewritten.isComplete) {
      await points.add({
        offset: found.endOffset,
        atMs: now,
        tombstoneMs,
        reapedOffset: tombstonesUpTo,
        pending: cleaner.pending > 0,
      });
    }
    const isMore = isFurther && rewritten.isComplete &&
      found.endOffset < cleanable.at(-1)!.endOffset;
    return { removedRecords, removedBytes: rewritten.removedBytes, isMore };
  }

  /** Closed segments, oldest first, that may be changed. */
  #cleanable(keepFrom: number): ClosedSegment[] {
    const { all } = this.state.segments;
    const limit = Math.min(keepFrom, this.parts.cleanableEnd());
    return all.slice(0, -1)
      .map((segment, index) => ({ segment, endOffset: all[index + 1]!.baseOffset }))
      .filter(({ endOffset }) => endOffset <= limit);
  }

  #isDue({ now, tombstoneMs, keepFrom }: CompactionPolicy): boolean {
    const { points } = this.parts;
    const cleanable = this.#cleanable(keepFrom);
    if (cleanable.length === 0) return false;
    const bytesOf = (some: readonly ClosedSegment[]) =>
      some.reduce((sum, { segment }) => sum + segment.sizeBytes, 0);
    if (now < points.waitsUntil) return points.isReapingDue(now, tombstoneMs);
    const dirty = cleanable.filter(({ endOffset }) => endOffset > points.cleanOffset);
    if (dirty.length > 0 && bytesOf(dirty) >= MIN_DIRTY_RATIO * bytesOf(cleanable)) return true;
    return points.isReapingDue(now, tombstoneMs);
  }

  #isStopped({ signal }: CompactionPolicy): boolean {
    return signal?.aborted === true || this.parts.isStopped();
  }

  /** The newest offset of each key that came since the last compaction, as far as memory goes; null when stopped. */
  async #newest(
    cleanable: readonly ClosedSegment[],
    aborted: AbortedTransactions,
    policy: CompactionPolicy,
  ): Promise<FoundKeys | null> {
    const keys = new KeyOffsets(this.parts.maxKeyMapBytes);
    const lastBatches = new LastBatches();
    const { cleanOffset } = this.parts.points;
    const onKey = (key: Uint8Array, offset: number) => keys.put(key, offset);
    const visit = { aborted, onKey, remembered: rememberedBy(policy) };
    let waitsUntil = -Infinity;
    let endOffset = cleanOffset;
    for (const source of cleanable) {
      const onBatch: OnBatch = (bytes, at, { baseOffset }) => {
        const batchEnd = baseOffset + lastOffsetDeltaAt(bytes, at) + 1;
        if (batchEnd > cleanOffset) {
          if (keys.isFull) return false;
          const remembered = visitKeys(bytes, at, visit);
          if (remembered !== null) {
            waitsUntil = remembered + policy.remembered!.ms;
            return false;
          }
          endOffset = batchEnd;
        }
        lastBatches.note(readHeader(bytes, at));
        return true;
      };
      const isWhole = await this.#scan(source, policy, { onBatch });
      if (this.#isStopped(policy)) return null;
      if (!isWhole) break;
    }
    return { keys, lastBatches, endOffset, waitsUntil };
  }

  #scan(source: ClosedSegment, policy: CompactionPolicy, visit: Visit): Promise<boolean> {
    const isStopped = () => this.#isStopped(policy);
    return walkClosed(this.env, this.state, { ...source, ...visit, isStopped });
  }

  /** Writes what is left of `targets`, several into one where they fit, and swaps each new segment in. */
  async #rewrite(
    targets: readonly ClosedSegment[],
    cleaner: BatchCleaner,
    policy: CompactionPolicy,
  ): Promise<{ isComplete: boolean; removedBytes: number }> {
    let group: Group | null = null;
    let removedBytes = 0;
    try {
      for (const source of targets) {
        if (group !== null && !this.#fits(group, source)) {
          const bytes = await this.#conclude(group, cleaner);
          group = null;
          if (bytes === null) return { isComplete: false, removedBytes };
          removedBytes += bytes;
        }
        group ??= await this.#begin(source, cleaner, targets.at(-1)!.endOffset);
        if (!await this.#copy(source, group, { cleaner, policy })) {
          return { isComplete: false, removedBytes };
        }
        group.sources.push(source);
      }
      const bytes = group === null ? 0 : await this.#conclude(group, cleaner);
      group = null;
      return { isComplete: bytes !== null, removedBytes: removedBytes + (bytes ?? 0) };
    } finally {
      await group?.writer.discard().catch(() => undefined);
    }
  }

  /** `maxEndOffset`: the group ends there or before. */
  async #begin(
    { segment }: ClosedSegment,
    cleaner: BatchCleaner,
    maxEndOffset: number,
  ): Promise<Group> {
    const { env, state } = this;
    const { baseOffset } = segment;
    const temporary = `${segmentPath(state.directory, baseOffset)}${TEMPORARY_SUFFIX}`;
    const { disk, crc32c } = env;
    const { indexIntervalBytes } = state.config;
    const rewrite = await state.cipher?.beginRewrite({ baseOffset, endOffset: maxEndOffset }) ??
      null;
    const seal = rewrite === null ? {} : { seal: (batch: Uint8Array) => rewrite.seal(batch) };
    const options = { disk, crc32c, path: temporary, baseOffset, indexIntervalBytes, ...seal };
    const writer = await SegmentWriter.begin(options);
    return { writer, temporary, sources: [], removedBefore: cleaner.removedRecords, rewrite };
  }

  #fits({ writer, sources }: Group, { segment, endOffset }: ClosedSegment): boolean {
    return writer.sizeBytes + segment.sizeBytes <= this.state.config.segmentBytes &&
      endOffset - sources[0]!.segment.baseOffset <= MAX_SEGMENT_OFFSETS;
  }

  async #copy(
    source: ClosedSegment,
    { writer }: Group,
    { cleaner, policy }: { cleaner: BatchCleaner; policy: CompactionPolicy },
  ): Promise<boolean> {
    const onBatch: OnBatch = (bytes, at, { baseOffset }) => {
      const left = cleaner.clean(bytes, at);
      if (left === "nothing") {
        const endOffset = baseOffset + lastOffsetDeltaAt(bytes, at) + 1;
        writer.addNothing(endOffset, leaderEpochAt(bytes, at));
      } else if (left === "same") writer.add(bytes.slice(at, at + sizeBytesAt(bytes, at)));
      else writer.add(left);
      return true;
    };
    const afterPiece = async () => {
      if (writer.pendingBytes >= WRITE_BYTES) await writer.flush();
    };
    return await this.#scan(source, policy, { onBatch, afterPiece });
  }

  /** Swaps the new segment in, unless it is the old one; bytes saved, null when it could not be. */
  async #conclude(group: Group, cleaner: BatchCleaner): Promise<number | null> {
    const { writer, temporary, sources, removedBefore, rewrite } = group;
    const segments = sources.map(({ segment }) => segment);
    const { endOffset } = sources.at(-1)!;
    await writer.finish();
    if (writer.endOffset !== endOffset) {
      throw new Error(`${temporary} ends at offset ${writer.endOffset}, not ${endOffset}`);
    }
    const oldBytes = segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    const { sizeBytes, index } = writer;
    const isSame = segments.length === 1 && sizeBytes === oldBytes &&
      cleaner.removedRecords === removedBefore;
    const isSwapped = !isSame &&
      await this.parts.swap({ segments, endOffset, temporary, index, sizeBytes });
    if (isSwapped) rewrite?.isInPlace({ baseOffset: segments[0]!.baseOffset, endOffset });
    else {
      await writer.discard();
      await rewrite?.isGivenUp();
    }
    if (isSame) return 0;
    return isSwapped ? oldBytes - sizeBytes : null;
  }
}

function rememberedBy({ remembered, now }: CompactionPolicy): RememberedRecords | null {
  if (remembered === null) return null;
  const { header, ms } = remembered;
  return { header: new TextEncoder().encode(header), since: now - ms + 1, until: now + ms };
}
