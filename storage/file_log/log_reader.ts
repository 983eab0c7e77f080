// Owns reading a log across its segments, by offset and by time.
// Refuses to own the tail cache and what lies in one segment (segment_reader.ts).
// Invariant: the result is contiguous from the batch that holds the offset; a fault is never skipped.
import { BrokerError } from "../broker_error.ts";
import type { LogCipher } from "../encryption/log_cipher.ts";
import { decodeBatch } from "../format/decode.ts";
import { CODEC_MASK, maxTimestampAt, readHeader, recordCountAt } from "../format/record_batch.ts";
import { scanBatches } from "./batch_scan.ts";
import { segmentPath } from "./file_names.ts";
import { takeGuard } from "./guard_byte.ts";
import type { LogEnvironment, LogState } from "./log_environment.ts";
import { corruptLog } from "./log_faults.ts";
import { indexOf, MAX_READ_BYTES, type ReadBatches, readSegment } from "./segment_reader.ts";
import type { Segment } from "./segments.ts";

/** A read that crosses more segments than this is cut short: its caller asks for the rest. */
const MAX_SEGMENTS_PER_READ = 64;

/**
 * Batches from the one that holds `offset`, below `limitOffset`: see Log.read. CORRUPT_LOG when that one is at fault.
 * `stored`: as they lie on disk, which in an encrypted log is not what was appended.
 */
export async function readLog(
  env: LogEnvironment,
  state: LogState,
  read: { offset: number; limitOffset: number; maxBytes: number; stored?: boolean },
): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let { offset } = read;
  let leftBytes = Math.min(read.maxBytes, MAX_READ_BYTES);
  while (offset < read.limitOffset && parts.length < MAX_SEGMENTS_PER_READ) {
    const oversized = parts.length === 0;
    if (!oversized && leftBytes <= 0) break;
    try {
      const { segment, endOffset } = holding(state, offset);
      const limitOffset = Math.min(read.limitOffset, endOffset);
      const found = await readSegment(env, state, {
        segment,
        offset,
        limitOffset,
        maxBytes: leftBytes,
        oversized,
      });
      if (found.bytes.length === 0) break;
      const { cipher } = state;
      const opened = cipher === null || read.stored === true
        ? null
        : await openRead(state, cipher, { segment, found });
      parts.push(opened?.bytes ?? found.bytes);
      if (opened?.isCut === true) break;
      leftBytes -= found.bytes.length;
      offset = found.nextOffset;
      if (offset < endOffset) break;
    } catch (error) {
      // The reader gets what is in order before the fault, and meets the fault when it asks for what follows.
      if (oversized) throw error;
      break;
    }
  }
  return parts.length === 1 ? parts[0]! : joined(parts);
}

/** What was read, opened: up to the first batch that is not what was stored. CORRUPT_LOG when that is the first of all. */
async function openRead(
  state: LogState,
  cipher: LogCipher,
  { segment, found }: { segment: Segment; found: ReadBatches },
): Promise<{ bytes: Uint8Array; isCut: boolean }> {
  const { bytes, fault } = await cipher.open(found.bytes);
  if (fault === null || bytes.length > 0) return { bytes, isCut: fault !== null };
  const { offset, reason } = fault;
  const position = found.position + fault.at;
  throw corruptLog(state.name, { offset, segmentBase: segment.baseOffset, position, reason });
}

function holding(state: LogState, offset: number): { segment: Segment; endOffset: number } {
  const found = state.segments.holding(offset, state.logEndOffset);
  if (found !== null) return found;
  const segmentBase = state.segments.all[0]?.baseOffset ?? -1;
  const reason = `the first segment starts at offset ${segmentBase}`;
  throw corruptLog(state.name, { offset, segmentBase, position: 0, reason });
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Newest timestamp in `segment`, -Infinity when it is empty. */
export async function maxTimestampOf(
  env: LogEnvironment,
  state: LogState,
  segment: Segment,
): Promise<number> {
  if (segment.baseOffset === state.index.baseOffset) return state.index.maxTimestamp;
  segment.maxTimestamp ??= (await indexOf(env, state, segment)).maxTimestamp;
  return segment.maxTimestamp;
}

/** See Log.offsetForTimestamp: to the record in uncompressed batches, to the batch in others. */
export async function findTimestamp(
  env: LogEnvironment,
  state: LogState,
  timestampMs: number,
): Promise<number | null> {
  for (const segment of state.segments.all) {
    if (await maxTimestampOf(env, state, segment) < timestampMs) continue;
    const found = await findInSegment(env, state, { segment, timestampMs });
    if (found !== null) return found;
  }
  return null;
}

async function findInSegment(
  env: LogEnvironment,
  state: LogState,
  { segment, timestampMs }: { segment: Segment; timestampMs: number },
): Promise<number | null> {
  const place = (await indexOf(env, state, segment)).placeOfTime(timestampMs);
  const start = { ...place, leaderEpoch: state.epochs.at(place.offset) };
  const options = { start, to: segment.sizeBytes, crc32c: env.crc32c };
  let found: number | null = null;
  let notOpened: string | null = null;
  const path = segmentPath(state.directory, segment.baseOffset);
  const end = await env.files.use(
    path,
    (file) =>
      scanBatches(file, options, (bytes, at, { baseOffset }) => {
        if (maxTimestampAt(bytes, at) < timestampMs || recordCountAt(bytes, at) === 0) return true;
        takeGuard(bytes, at);
        const opened = state.cipher?.openAt(bytes, at);
        if (typeof opened === "string") notOpened = opened;
        else if (opened !== undefined) found = recordAt(opened, 0, timestampMs) ?? baseOffset;
        else found = recordAt(bytes, at, timestampMs) ?? baseOffset;
        return false;
      }),
  );
  const reason = end.fault ?? notOpened;
  if (reason === null) return found;
  const { offset, position } = end;
  throw corruptLog(state.name, { offset, segmentBase: segment.baseOffset, position, reason });
}

/** Offset of the first record from `timestampMs` on in an uncompressed batch; null when its records cannot be read. */
export function recordAt(bytes: Uint8Array, at: number, timestampMs: number): number | null {
  const { attributes, sizeBytes } = readHeader(bytes, at);
  if ((attributes & CODEC_MASK) !== 0) return null;
  try {
    const records = decodeBatch(bytes, at, { maxDecompressedBytes: sizeBytes });
    return records.find((record) => record.timestamp >= timestampMs)?.offset ?? null;
  } catch (error) {
    if (error instanceof BrokerError) return null;
    throw error;
  }
}
