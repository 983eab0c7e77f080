// Owns walking a closed segment from end to end in small pieces, for work that must not hold up others.
// Refuses to own what is done with the batches.
// Invariant: a segment that is damaged anywhere, or ends elsewhere than where the next one starts, is refused, not skipped.
import { sizeBytesAt } from "../format/record_batch.ts";
import { type OnBatch, scanBatches } from "./batch_scan.ts";
import { segmentPath } from "./file_names.ts";
import { takeGuard } from "./guard_byte.ts";
import type { LogEnvironment, LogState } from "./log_environment.ts";
import { corruptLog } from "./log_faults.ts";
import type { Segment } from "./segments.ts";

/** What is looked at in one piece: others wait for no more than that. */
const PIECE_BYTES = 128 * 1024;

/** A segment that is written no more; the next one starts at `endOffset`. */
export interface ClosedSegment {
  readonly segment: Segment;
  readonly endOffset: number;
}

export interface Visit {
  /** Batches come without guard, and opened where the log is encrypted. */
  readonly onBatch: OnBatch;
  readonly afterPiece?: () => Promise<void>;
}

/** Whether it came to the end: `onBatch` may end it, and so may `isStopped`. CORRUPT_LOG for a damaged segment. */
export async function walkClosed(
  env: LogEnvironment,
  state: LogState,
  walk: ClosedSegment & Visit & { isStopped(): boolean },
): Promise<boolean> {
  const { segment, endOffset } = walk;
  const path = segmentPath(state.directory, segment.baseOffset);
  const to = segment.sizeBytes;
  let start = { position: 0, offset: segment.baseOffset, leaderEpoch: -1 };
  const damage = (reason: string) => {
    const { offset, position } = start;
    const segmentBase = segment.baseOffset;
    return corruptLog(state.name, { offset, segmentBase, position, reason });
  };
  while (start.position < to) {
    if (walk.isStopped()) return false;
    let isEnded = false;
    let notOpened: string | null = null;
    let pieceBytes = 0;
    const options = { start, to, crc32c: env.crc32c, windowBytes: PIECE_BYTES };
    const end = await env.files.use(
      path,
      (file) =>
        scanBatches(file, options, (bytes, at, batch) => {
          takeGuard(bytes, at);
          pieceBytes += sizeBytesAt(bytes, at);
          const opened = state.cipher?.openAt(bytes, at);
          if (typeof opened === "string") {
            notOpened = opened;
            return false;
          }
          isEnded = opened === undefined
            ? !walk.onBatch(bytes, at, batch)
            : !walk.onBatch(opened, 0, batch);
          return !isEnded && pieceBytes < PIECE_BYTES;
        }),
    );
    if (notOpened !== null) throw damage(notOpened);
    start = end;
    if (end.fault !== null) throw damage(end.fault);
    if (isEnded) return false;
    await walk.afterPiece?.();
  }
  if (start.offset !== endOffset) throw damage(`the next segment starts at offset ${endOffset}`);
  return true;
}
