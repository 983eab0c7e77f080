// Owns bringing a log from what a crash, a kill or a clean close left on disk into a state that can be used.
// Refuses to own the walk over the batches (recovery_scan.ts), appending and reading.
// Invariant: nothing that was acknowledged is cut, and whatever is kept is durable when this resolves.
//
// Why what is kept is written again. After a failed sync the page cache shows pages that are not on disk and that no
// later sync will write: the kernel has marked them clean. Batches read back at recovery may be such pages. So everything
// from the newest mark (or the checkpoint, if that is newer) to the end is written once more, in place, and synced: this
// dirties the pages, so the sync is one of real writes, not a retry on the same pages. In place is safe although the
// last write may have been acknowledged before a kill: the bytes are the same, and a sector is written whole or not at all.
import type { BrokerError } from "../broker_error.ts";
import type { DiskFile } from "../ports.ts";
import { readRange } from "./batch_scan.ts";
import type { Checkpoint, CheckpointFile } from "./checkpoint.ts";
import { loadEpochs, rebuildEpochs } from "./epoch_file.ts";
import { baseOffsetOf, segmentPath, TEMPORARY_SUFFIX } from "./file_names.ts";
import { loadIndex, removeIndex } from "./index_files.ts";
import { LeaderEpochs } from "./leader_epochs.ts";
import type { LogEnvironment } from "./log_environment.ts";
import { corruptLog } from "./log_faults.ts";
import { type RecoveredTail, recoverTail } from "./recovery_scan.ts";
import { SegmentIndex } from "./segment_index.ts";
import { finishSwaps } from "./segment_swap.ts";
import type { Segment } from "./segments.ts";
import { writeFully } from "./whole_files.ts";

/** Bytes written again in one piece. */
const REWRITE_BYTES = 1024 * 1024;

/** The log as found; `fault` is set when it is corrupt from `logEndOffset` on. */
export interface RecoveredLog {
  readonly segments: readonly Segment[];
  readonly index: SegmentIndex;
  readonly epochs: LeaderEpochs;
  readonly logStartOffset: number;
  readonly logEndOffset: number;
  /** When the active segment was begun, where the checkpoint tells. */
  readonly segmentCreatedMs: number | null;
  /** Bytes of log behind the durable checkpoint; infinite when there is no valid one. */
  readonly uncheckpointedBytes: number;
  readonly fault: BrokerError | null;
}

export interface RecoveryTarget {
  readonly name: string;
  readonly directory: string;
  readonly indexIntervalBytes: number;
  readonly checkpointFile: CheckpointFile;
}

/** Recovers the log; null when there is none, or its creation was not finished. Rejects as the disk does. */
export async function recoverLog(
  env: LogEnvironment,
  target: RecoveryTarget,
): Promise<RecoveredLog | null> {
  const { directory, checkpointFile } = target;
  const found = await env.disk.list(directory);
  const names = await finishSwaps(env.disk, directory, found)
    ? await env.disk.list(directory)
    : found;
  const checkpoint = await checkpointFile.load();
  const bases = names.map(baseOffsetOf).filter((base) => base !== null).sort((a, b) => a - b);
  if (bases.length === 0) return checkpoint === null ? null : withoutSegments(target, checkpoint);
  await removeLeftovers(env, target, { names, bases, checkpoint });
  const segments: Segment[] = [];
  for (const base of bases) segments.push(await segmentOnDisk(env, directory, base));
  if (checkpoint === null && isFresh(segments)) return null;
  if (checkpoint === null) {
    const message = "there is no valid checkpoint: every batch is checked";
    env.onWarning({ log: target.name, message });
  }
  const { epochs, index, from } = await startOfScan(env, target, { segments, checkpoint });
  let tail = await recoverTail(env, target, { segments, index, epochs, from, checkpoint });
  if (tail.fault !== null && from.position > 0) {
    // The index may have led astray: the batches alone decide.
    const index = new SegmentIndex(segments[from.segment]!.baseOffset);
    const start = { segment: from.segment, position: 0, offset: index.baseOffset };
    tail = await recoverTail(env, target, { segments, index, epochs, from: start, checkpoint });
  }
  if (tail.fault === null) await makeDurable(env, target, tail);
  return {
    segments: tail.segments,
    index: tail.index,
    epochs,
    logStartOffset: checkpoint?.logStartOffset ?? bases[0]!,
    logEndOffset: tail.endOffset,
    segmentCreatedMs: checkpoint?.segmentBase === tail.segments.at(-1)!.baseOffset
      ? checkpoint.segmentCreatedMs
      : null,
    uncheckpointedBytes: behind(checkpoint, tail.segments),
    fault: tail.fault,
  };
}

function behind(checkpoint: Checkpoint | null, segments: readonly Segment[]): number {
  if (checkpoint === null) return Infinity;
  const { segmentBase, position } = checkpoint;
  return segments.filter((segment) => segment.baseOffset >= segmentBase)
    .reduce((sum, segment) => sum + segment.sizeBytes, -position);
}

/** The first segment, empty: without a checkpoint, that is a creation that was cut short. */
function isFresh(segments: readonly Segment[]): boolean {
  return segments.length === 1 && segments[0]!.baseOffset === 0 && segments[0]!.sizeBytes === 0;
}

/** A checkpoint is written only once the first segment is durable: without any segment, all were taken away. */
function withoutSegments(target: RecoveryTarget, checkpoint: Checkpoint): RecoveredLog {
  const { logStartOffset, segmentBase, position } = checkpoint;
  const index = new SegmentIndex(logStartOffset);
  const reason = "its segment files are missing";
  const epochs = new LeaderEpochs();
  return {
    segments: [],
    index,
    epochs,
    logStartOffset,
    logEndOffset: logStartOffset,
    segmentCreatedMs: null,
    uncheckpointedBytes: 0,
    fault: corruptLog(target.name, { offset: logStartOffset, segmentBase, position, reason }),
  };
}

/** Takes away half-written files, and segments below the log start that a crash kept retention from removing. */
async function removeLeftovers(
  env: LogEnvironment,
  { directory, checkpointFile }: RecoveryTarget,
  found: { names: readonly string[]; bases: number[]; checkpoint: Checkpoint | null },
): Promise<void> {
  const { names, bases, checkpoint } = found;
  for (const name of names.filter((name) => name.endsWith(TEMPORARY_SUFFIX))) {
    await env.disk.remove(`${directory}/${name}`);
  }
  const isLeftover = () =>
    checkpoint !== null && bases.length > 1 && bases[1]! <= checkpoint.logStartOffset;
  // After a kill the raised log start may be in the page cache alone: then it must not outlive what it let go.
  if (checkpoint !== null && isLeftover()) await checkpointFile.writeBoth(checkpoint);
  while (isLeftover()) {
    const base = bases.shift()!;
    await env.disk.remove(segmentPath(directory, base));
    await removeIndex(env.disk, directory, base);
  }
}

async function segmentOnDisk(
  env: LogEnvironment,
  directory: string,
  baseOffset: number,
): Promise<Segment> {
  const sizeBytes = await env.files.use(segmentPath(directory, baseOffset), (file) => file.size());
  return { baseOffset, sizeBytes, maxTimestamp: null };
}

/** Where the scan starts: the segment's place in the list, and the place in it to which its index was taken back. */
export interface ScanFrom {
  readonly segment: number;
  readonly position: number;
  readonly offset: number;
}

/**
 * The last indexed place before the checkpoint, with the index and the epochs up to there. A log that ends at its
 * checkpoint and has its index needs no scan: then the place is the end.
 */
async function startOfScan(
  env: LogEnvironment,
  { directory }: RecoveryTarget,
  found: { segments: readonly Segment[]; checkpoint: Checkpoint | null },
): Promise<{ index: SegmentIndex; epochs: LeaderEpochs; from: ScanFrom }> {
  const { segments, checkpoint } = found;
  // The last segment at or before the checkpoint's: the very one, unless files are missing.
  const at = Math.max(
    0,
    segments.findLastIndex((segment) => segment.baseOffset <= (checkpoint?.segmentBase ?? -1)),
  );
  const { baseOffset, sizeBytes } = segments[at]!;
  const exact = checkpoint !== null && baseOffset === checkpoint.segmentBase &&
    checkpoint.position <= sizeBytes;
  const saved = exact ? await loadIndex(env, directory, baseOffset) : null;
  const index = saved ?? new SegmentIndex(baseOffset);
  const atEnd = exact && at === segments.length - 1 && checkpoint.position === sizeBytes &&
    index.coveredBytes === sizeBytes;
  const place = atEnd
    ? { position: sizeBytes, offset: checkpoint.offset }
    : index.rewind(checkpoint?.position ?? 0);
  const epochs = await loadEpochs(env, directory, checkpoint?.offset ?? 0) ??
    await rebuildEpochs(env, directory, {
      segments: segments.slice(0, at + 1),
      position: place.position,
    });
  return { index, epochs, from: { segment: at, ...place } };
}

/**
 * Cuts the torn end off, writes again what may not be durable, and syncs all of it. File and directory are synced even
 * when nothing seems to have changed: after a kill, what is seen of a cut or a roll may be in the page cache alone.
 */
async function makeDurable(
  env: LogEnvironment,
  { name, directory }: RecoveryTarget,
  tail: RecoveredTail,
): Promise<void> {
  const { baseOffset, sizeBytes } = tail.segments.at(-1)!;
  await env.files.use(segmentPath(directory, baseOffset), async (file) => {
    if (tail.cutBytes > 0) {
      env.onWarning({
        log: name,
        message: `cut ${tail.cutBytes} bytes of an unfinished write at offset ${tail.endOffset}`,
      });
      await file.truncate(sizeBytes);
    }
    if (tail.unclean) await rewrite(file, tail.uncertainFrom, sizeBytes);
    await file.sync();
  });
  await env.disk.syncDirectory(directory);
}

async function rewrite(file: DiskFile, from: number, to: number): Promise<void> {
  for (let position = from; position < to; position += REWRITE_BYTES) {
    const bytes = await readRange(file, position, Math.min(REWRITE_BYTES, to - position));
    await writeFully(file, bytes, position);
  }
}
