// Owns cutting fetched record batches into pieces that fit the in-flight window, without decoding them.
// Refuses to own fetching and sending.
// Invariant: every record in [position, end of the bytes) is in exactly one piece, in order; hidden ones count as none.
import { decodeBatch } from "../../storage/format/decode.ts";
import type { AbortedRange } from "../../actors/broker.ts";
import { batchSpans, maxTimestampAt, readHeader } from "../../storage/format/record_batch.ts";
import { isHidden, visibleBatches } from "../hidden_batches.ts";
import type { OffsetRange, OffsetRanges } from "./offset_ranges.ts";

export interface BatchPiece {
  /** Whole batches; a view into what was fetched where nothing of it is hidden. */
  readonly bytes: Uint8Array;
  /** The piece is the records in [offset, nextOffset). */
  readonly offset: number;
  readonly nextOffset: number;
  /** Offsets of its messages. */
  readonly runs: readonly OffsetRange[];
  /** The window ended within its last batch, which has to be sent again for the rest. */
  readonly cut: boolean;
  /** Largest timestamp of its last batch. */
  readonly newestMs: number;
}

export interface PieceOptions {
  /** Messages that fit the window, at least 1. */
  readonly room: number;
  /** Stop before the batch that would go over; the first is taken whatever its size. */
  readonly maxBytes: number;
  readonly maxDecompressedBytes: number;
  readonly aborted?: readonly AbortedRange[] | undefined;
  /** Messages from here on are not for now; default: all are. */
  readonly to?: number;
  /** The piece ends before the first of these. */
  readonly skips?: OffsetRanges;
}

/** The piece that starts at `position`; null when the bytes hold nothing from there on. Throws CORRUPT_BATCH. */
export function pieceAt(
  fetched: Uint8Array,
  position: number,
  options: PieceOptions,
): BatchPiece | null {
  const runs: OffsetRange[] = [];
  let room = options.room;
  let start = -1;
  let last = 0;
  let end = 0;
  let nextOffset = position;
  let cut = false;
  const before = Math.min(options.to ?? Infinity, options.skips?.ranges[0]?.from ?? Infinity);
  for (const { at, sizeBytes } of batchSpans(fetched)) {
    let batch: Messages;
    try {
      batch = messagesOf(fetched, at, { from: position, ...options });
    } catch (error) {
      // What lies before a damaged batch is still delivered; the next piece starts with the damage and throws.
      if (start >= 0) break;
      throw error;
    }
    if (batch.endOffset <= position) continue;
    if (room === 0 || (start >= 0 && at + sizeBytes - start > options.maxBytes)) break;
    const wanted = batch.runs.filter(({ from }) => from < before)
      .map(({ from, to }) => ({ from, to: Math.min(to, before) }));
    const isHeld = batch.endOffset > before;
    if (isHeld && wanted.length === 0 && start >= 0) break;
    if (start < 0) start = at;
    last = at;
    end = at + sizeBytes;
    const taken = take(wanted, room);
    runs.push(...taken.runs);
    room -= taken.count;
    cut = taken.cutAt !== null;
    nextOffset = taken.cutAt ?? Math.min(batch.endOffset, before);
    if (cut || isHeld) break;
  }
  if (start < 0) return null;
  const bytes = visibleBatches(fetched.subarray(start, end), options.aborted);
  const newestMs = maxTimestampAt(fetched, last);
  return { bytes, offset: position, nextOffset, runs, cut, newestMs };
}

/** The whole batch that holds `offset`; null when none does, or when it has no such record. */
export function batchHolding(
  fetched: Uint8Array,
  offset: number,
  options: { maxDecompressedBytes: number; aborted?: readonly AbortedRange[] | undefined },
): Uint8Array | null {
  for (const { at, sizeBytes } of batchSpans(fetched)) {
    const batch = messagesOf(fetched, at, { from: offset, ...options });
    if (batch.endOffset <= offset) continue;
    const holds = batch.runs[0]?.from === offset;
    return holds ? fetched.subarray(at, at + sizeBytes) : null;
  }
  return null;
}

interface Messages {
  readonly runs: readonly OffsetRange[];
  readonly endOffset: number;
}

/** Offsets of the messages of one batch from `from` on. Only a batch with gaps (compaction) has to be decoded for that. */
function messagesOf(
  fetched: Uint8Array,
  at: number,
  options: {
    from: number;
    maxDecompressedBytes: number;
    aborted?: readonly AbortedRange[] | undefined;
  },
): Messages {
  const header = readHeader(fetched, at);
  const { baseOffset, lastOffsetDelta, recordCount } = header;
  const endOffset = baseOffset + lastOffsetDelta + 1;
  const from = Math.max(baseOffset, options.from);
  if (isHidden(header, options.aborted) || endOffset <= from) return { runs: [], endOffset };
  if (recordCount === lastOffsetDelta + 1) return { runs: [{ from, to: endOffset }], endOffset };
  const runs: OffsetRange[] = [];
  for (const { offset } of decodeBatch(fetched, at, options)) {
    if (offset >= from) appendOffset(runs, offset);
  }
  return { runs, endOffset };
}

/** Adds an offset above all others to a list of runs. */
export function appendOffset(runs: OffsetRange[], offset: number): void {
  const last = runs.at(-1);
  if (last?.to === offset) runs[runs.length - 1] = { from: last.from, to: offset + 1 };
  else runs.push({ from: offset, to: offset + 1 });
}

/** The first `room` offsets of `runs`; `cutAt` is where they end when there are more. */
function take(
  runs: readonly OffsetRange[],
  room: number,
): { runs: OffsetRange[]; count: number; cutAt: number | null } {
  const taken: OffsetRange[] = [];
  let count = 0;
  for (const run of runs) {
    if (count === room) return { runs: taken, count, cutAt: run.from };
    const to = Math.min(run.to, run.from + room - count);
    taken.push({ from: run.from, to });
    count += to - run.from;
    if (to < run.to) return { runs: taken, count, cutAt: to };
  }
  return { runs: taken, count, cutAt: null };
}
