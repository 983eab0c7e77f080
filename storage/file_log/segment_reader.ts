// Owns reading whole batches of one segment from disk, checked.
// Refuses to own which segment, and what the reader may see.
// Invariant: no byte is returned that was not checked in this very read: CRC, offset continuity, epoch, length; and none
// with a guard on it. One positioned read, one more when the first batch is larger than asked for.
import {
  HEADER_BYTES,
  lastOffsetDeltaAt,
  leaderEpochAt,
  sizeBytesAt,
} from "../format/record_batch.ts";
import type { DiskFile } from "../ports.ts";
import { readRange } from "./batch_scan.ts";
import { segmentPath } from "./file_names.ts";
import { takeGuard } from "./guard_byte.ts";
import type { LogEnvironment, LogState } from "./log_environment.ts";
import { corruptLog } from "./log_faults.ts";
import type { SegmentIndex, SegmentPlace } from "./segment_index.ts";
import type { Segment } from "./segments.ts";
import { bodyFault, headerFault } from "./stored_batch.ts";

/** Largest piece that one read takes from a segment, but for a single batch that is larger. */
export const MAX_READ_BYTES = 16 * 1024 * 1024;

export interface SegmentRead {
  readonly segment: Segment;
  readonly offset: number;
  /** Batches that reach past this are left out. */
  readonly limitOffset: number;
  readonly maxBytes: number;
  /** Whether the first batch is returned even when it is larger than `maxBytes`. */
  readonly oversized: boolean;
}

/** Whole batches as they are stored, where in the segment they lie, and the offset behind them. */
export interface ReadBatches {
  readonly bytes: Uint8Array;
  readonly position: number;
  readonly nextOffset: number;
}

/** Index of `segment`: the active one's, or a closed one's from the store's cache. */
export async function indexOf(
  env: LogEnvironment,
  state: LogState,
  segment: Segment,
): Promise<SegmentIndex> {
  if (segment.baseOffset === state.index.baseOffset) return state.index;
  const { directory, config: { indexIntervalBytes } } = state;
  return await env.indexes.get({ directory, segment, indexIntervalBytes });
}

/**
 * The batches of the segment from the one that holds `offset` on. CORRUPT_LOG when that one is at fault; a later one at
 * fault ends the result before it. Other rejections are the disk's.
 */
export async function readSegment(
  env: LogEnvironment,
  state: LogState,
  read: SegmentRead,
): Promise<ReadBatches> {
  const { segment } = read;
  const index = await indexOf(env, state, segment);
  const sizeBytes = segment.sizeBytes;
  const path = segmentPath(state.directory, segment.baseOffset);
  return await env.files.use(path, async (file) => {
    const chunk = await findBatch(file, state, {
      read,
      sizeBytes,
      place: index.placeOf(read.offset),
    });
    return collect(env, state, { read, chunk });
  });
}

/** Bytes of a segment from `position` on; the batch at `at` starts with `offset`. */
interface Chunk {
  readonly bytes: Uint8Array;
  readonly at: number;
  readonly position: number;
  readonly offset: number;
}

/** Reads from the indexed place on until the batch that holds the offset lies whole in the chunk. */
async function findBatch(
  file: DiskFile,
  state: LogState,
  search: { read: SegmentRead; sizeBytes: number; place: SegmentPlace },
): Promise<Chunk> {
  const { read, sizeBytes } = search;
  const wantedBytes = Math.min(read.maxBytes, MAX_READ_BYTES) + state.config.indexIntervalBytes +
    HEADER_BYTES;
  let { position, offset } = search.place;
  for (;;) {
    const fault = (reason: string) =>
      corruptLog(state.name, { offset, segmentBase: read.segment.baseOffset, position, reason });
    if (sizeBytes - position < HEADER_BYTES) throw fault("the segment ends too early");
    const bytes = await readRange(file, position, Math.min(wantedBytes, sizeBytes - position));
    for (let at = 0;;) {
      if (at + HEADER_BYTES > bytes.length) {
        if (at === 0) throw fault("the file is too short");
        break;
      }
      const wrong = headerFault(bytes, at, { baseOffset: offset, leaderEpoch: -1 });
      if (wrong !== null) throw fault(wrong);
      const batchBytes = sizeBytesAt(bytes, at);
      const nextOffset = offset + lastOffsetDeltaAt(bytes, at) + 1;
      if (nextOffset > read.offset) {
        if (at + batchBytes <= bytes.length) return { bytes, at, position, offset };
        if (position + batchBytes > sizeBytes) throw fault("the batch is cut off");
        const whole = await readRange(file, position, batchBytes);
        return { bytes: whole, at: 0, position, offset };
      }
      if (nextOffset <= offset) throw fault("last offset is before the first");
      offset = nextOffset;
      position += batchBytes;
      at += batchBytes;
    }
  }
}

/** The checked batches in the chunk, as one view of it. */
function collect(
  env: LogEnvironment,
  state: LogState,
  { read, chunk }: { read: SegmentRead; chunk: Chunk },
): ReadBatches {
  const { bytes } = chunk;
  let { at, offset } = chunk;
  while (at + HEADER_BYTES <= bytes.length) {
    const taken = at - chunk.at;
    const sizeBytes = sizeBytesAt(bytes, at);
    const whole = sizeBytes >= HEADER_BYTES && at + sizeBytes <= bytes.length;
    // A later batch that does not lie whole in the chunk is the next read's.
    if (!whole && taken > 0) break;
    const tooMuch = taken + sizeBytes > read.maxBytes;
    if (tooMuch && (taken > 0 || !read.oversized)) break;
    const expected = { baseOffset: offset, leaderEpoch: state.epochs.at(offset) };
    const reason = headerFault(bytes, at, expected) ?? bodyFault(bytes, at, env.crc32c) ??
      epochFault(bytes, at, expected.leaderEpoch);
    if (reason !== null) {
      if (taken > 0) break;
      const { position } = chunk;
      const segmentBase = read.segment.baseOffset;
      throw corruptLog(state.name, { offset, segmentBase, position, reason });
    }
    const nextOffset = offset + lastOffsetDeltaAt(bytes, at) + 1;
    if (nextOffset > read.limitOffset) break;
    takeGuard(bytes, at);
    offset = nextOffset;
    at += sizeBytes;
  }
  return { bytes: bytes.subarray(chunk.at, at), position: chunk.position, nextOffset: offset };
}

/** The epoch lies outside of the CRC: it must be the one that began at or before this offset. */
function epochFault(bytes: Uint8Array, at: number, leaderEpoch: number): string | null {
  const stored = leaderEpochAt(bytes, at);
  return stored === leaderEpoch ? null : `leader epoch is ${stored}, not ${leaderEpoch}`;
}
