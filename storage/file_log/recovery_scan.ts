// Owns the walk over the batches behind the durable checkpoint, and the judgement on the first one that is invalid.
// Refuses to change anything on disk (recovery.ts).
// Invariant: an invalid batch is taken for a torn write only when it cannot have been durable, else for corruption.
//
// At most the bytes behind the newest marked batch were not durable when the machine stopped (guard_byte.ts). So an
// invalid batch before the checkpoint, in any segment but the last (a segment is synced before the next one is created),
// or before a marked batch had been durable, perhaps acknowledged: that is corruption. Any other is a write that was cut
// off, never acknowledged, and the log ends before it. The last write itself carries the last mark: damage to it cannot
// be told from a torn write. Where a search among garbage would take too long, the answer is corruption, the safe side.
import type { BrokerError } from "../broker_error.ts";
import { leaderEpochAt } from "../format/record_batch.ts";
import { findMarkedBatch, scanBatches, type ScanEnd } from "./batch_scan.ts";
import { isMarked } from "./guard_byte.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { segmentPath } from "./file_names.ts";
import type { LeaderEpochs } from "./leader_epochs.ts";
import type { LogEnvironment } from "./log_environment.ts";
import { corruptLog } from "./log_faults.ts";
import type { RecoveryTarget, ScanFrom } from "./recovery.ts";
import { SegmentIndex } from "./segment_index.ts";
import { addToIndex } from "./segment_indexes.ts";
import type { Segment } from "./segments.ts";

/** What is known of the log before its end has been looked at. */
export interface FoundLog {
  readonly segments: readonly Segment[];
  /** Index of the segment where the scan starts, up to there. */
  readonly index: SegmentIndex;
  /** Epochs up to the checkpoint; those behind it are added. */
  readonly epochs: LeaderEpochs;
  readonly from: ScanFrom;
  readonly checkpoint: Checkpoint | null;
}

export interface RecoveredTail {
  /** Segments up to the end of the log, or up to the fault; the last one's size is that of its whole batches. */
  readonly segments: readonly Segment[];
  /** Index of the last of them. */
  readonly index: SegmentIndex;
  readonly endOffset: number;
  /** Byte in the last segment from which on the batches are not known to be durable. */
  readonly uncertainFrom: number;
  readonly cutBytes: number;
  readonly unclean: boolean;
  readonly fault: BrokerError | null;
}

/** Walks from `found.from` to the end of the last segment. Rejects as the disk does. */
export async function recoverTail(
  env: LogEnvironment,
  target: RecoveryTarget,
  found: FoundLog,
): Promise<RecoveredTail> {
  const { segments, checkpoint } = found;
  let { index } = found;
  let { position, offset } = found.from;
  for (let at = found.from.segment;; at++) {
    const segment = segments[at]!;
    const walked = await walkSegment(env, target, { found, segment, index, position, offset });
    const { end } = walked;
    const next = segments[at + 1];
    const conclude = (reason: string | null): RecoveredTail => ({
      segments: [...segments.slice(0, at), {
        ...segment,
        sizeBytes: end.position,
        maxTimestamp: null,
      }],
      index,
      endOffset: end.offset,
      uncertainFrom: walked.uncertainFrom,
      cutBytes: segment.sizeBytes - end.position,
      unclean: end.offset !== checkpoint?.offset || segment.sizeBytes !== end.position ||
        segment.baseOffset !== checkpoint.segmentBase,
      fault: reason === null ? null : corruptLog(target.name, {
        offset: end.offset,
        segmentBase: segment.baseOffset,
        position: end.position,
        reason,
      }),
    });
    if (next === undefined) {
      return conclude(await judgeEnd(env, target, { segment, end, checkpoint }));
    }
    if (end.offset !== next.baseOffset) {
      return conclude(end.fault ?? `the next segment starts at offset ${next.baseOffset}`);
    }
    // Garbage behind the last batch of a closed segment is nobody's: the next segment takes up where it ended.
    segment.sizeBytes = end.position;
    segment.maxTimestamp = index.maxTimestamp;
    env.indexes.put(target.directory, index);
    index = new SegmentIndex(next.baseOffset);
    position = 0;
    offset = next.baseOffset;
  }
}

interface WalkedSegment {
  readonly end: ScanEnd;
  readonly uncertainFrom: number;
}

async function walkSegment(
  env: LogEnvironment,
  target: RecoveryTarget,
  walk: {
    found: FoundLog;
    segment: Segment;
    index: SegmentIndex;
    position: number;
    offset: number;
  },
): Promise<WalkedSegment> {
  const { found, segment, index, position, offset } = walk;
  const { epochs, checkpoint } = found;
  const known = checkpoint?.segmentBase === segment.baseOffset ? checkpoint.position : 0;
  let uncertainFrom = known;
  const start = { position, offset, leaderEpoch: epochs.at(offset) };
  const options = { start, to: segment.sizeBytes, crc32c: env.crc32c };
  const path = segmentPath(target.directory, segment.baseOffset);
  const end = await env.files.use(
    path,
    (file) =>
      scanBatches(file, options, (bytes, at, batch) => {
        if (isMarked(bytes, at)) uncertainFrom = Math.max(known, batch.position);
        epochs.note(leaderEpochAt(bytes, at), batch.baseOffset);
        addToIndex(index, { bytes, at, ...batch }, target.indexIntervalBytes);
        return true;
      }),
  );
  return { end, uncertainFrom };
}

/** Why the end of the last segment is corruption; null when the log may end there. */
async function judgeEnd(
  env: LogEnvironment,
  target: RecoveryTarget,
  last: { segment: Segment; end: ScanEnd; checkpoint: Checkpoint | null },
): Promise<string | null> {
  const { segment, end, checkpoint } = last;
  const isBeforeCheckpoint = checkpoint !== null && (end.offset < checkpoint.offset ||
    (segment.baseOffset === checkpoint.segmentBase && end.position < checkpoint.position));
  if (isBeforeCheckpoint) {
    return `${end.fault ?? "the log ends"} before its checkpoint at offset ${checkpoint.offset}`;
  }
  if (end.fault === null) return null;
  const path = segmentPath(target.directory, segment.baseOffset);
  const { offset, leaderEpoch } = end;
  const range = { from: end.position + 1, to: segment.sizeBytes, offset, leaderEpoch };
  const mark = await env.files.use(path, (file) => findMarkedBatch(file, range, env.crc32c));
  if (mark === null) return null;
  return mark === "unknown"
    ? `${end.fault}, and it cannot be told whether the bytes behind it were durable`
    : `${end.fault}, but a later write at byte ${mark} proves that the place was durable`;
}
