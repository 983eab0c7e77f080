// Owns taking records out of a stored batch without moving the others: what log compaction makes of batches.
// Refuses to own which records go.
// Invariant: base offset, last offset delta, leader epoch and producer fields stay, so offsets and sequences keep their
// meaning, and batches follow each other without a gap: all gaps lie within batches.
import type { Crc32c } from "../ports.ts";
import { codecNamed, compressionOf } from "./compression.ts";
import { recordsOf } from "./decode.ts";
import {
  CODEC_MASK,
  CONTROL_BIT,
  corruptBatch,
  HEADER_BYTES,
  LOG_APPEND_TIME_BIT,
  readHeader,
  setBaseOffset,
  setLeaderEpoch,
  writeHeader,
} from "./record_batch.ts";
import { Cursor } from "./varint.ts";

/** What decides about a record. */
export interface RecordOutline {
  readonly offset: number;
  readonly timestamp: number;
  /** A view into the batch. */
  readonly key: Uint8Array | null;
  readonly hasValue: boolean;
  /** Where it lies in the records, with its length, and where its headers start. */
  readonly from: number;
  readonly to: number;
  readonly headersFrom: number;
}

/** Records of a batch, outlined. */
export interface BatchOutline {
  readonly records: readonly RecordOutline[];
  /** What `from` and `to` are places in. */
  readonly bytes: Uint8Array;
}

/** Most that one delta in a header can span. */
export const MAX_OFFSET_DELTA = 2 ** 31 - 1;

/** Errors as `decodeBatch`. */
export function outlineBatch(
  bytes: Uint8Array,
  at: number,
  options: { maxDecompressedBytes: number },
): BatchOutline {
  const header = readHeader(bytes, at);
  const cursor = recordsOf(bytes, at, { header, ...options });
  const records: RecordOutline[] = [];
  for (let index = 0; index < header.recordCount; index++) {
    const from = cursor.at;
    const size = cursor.varint();
    const to = cursor.at + size;
    if (size < 0 || to > cursor.end) {
      throw corruptBatch(`record ${index} of batch at ${at} overruns`);
    }
    cursor.byte();
    const timestamp = header.baseTimestamp + cursor.varlong();
    const offset = header.baseOffset + cursor.varint();
    const keyLength = cursor.varint();
    const key = keyLength < 0 ? null : cursor.take(keyLength);
    const valueLength = cursor.varint();
    if (valueLength > 0) cursor.skip(valueLength);
    const headersFrom = cursor.at;
    if (headersFrom > to) throw corruptBatch(`record ${index} of batch at ${at} overruns`);
    cursor.skip(to - cursor.at);
    const hasValue = valueLength >= 0;
    records.push({ offset, timestamp, key, hasValue, from, to, headersFrom });
  }
  if (cursor.at !== cursor.end) throw corruptBatch(`batch at ${at} goes on after its records`);
  return { records, bytes: cursor.bytes };
}

/** Whether an outlined record has a header of this name, given as UTF-8. CORRUPT_BATCH when its headers are malformed. */
export function hasHeader(
  { bytes }: BatchOutline,
  { headersFrom, to }: RecordOutline,
  name: Uint8Array,
): boolean {
  const cursor = new Cursor(bytes, headersFrom, to);
  for (let left = cursor.varint(); left > 0; left--) {
    const found = cursor.take(Math.max(0, cursor.varint()));
    if (found.length === name.length && found.every((byte, at) => byte === name[at])) return true;
    cursor.skip(Math.max(0, cursor.varint()));
  }
  return false;
}

/** The batch at `at` with `kept` of its outlined records, at least one. */
export function thinBatch(
  bytes: Uint8Array,
  at: number,
  options: { outline: BatchOutline; kept: readonly RecordOutline[]; crc32c: Crc32c },
): Uint8Array {
  const { outline, kept, crc32c } = options;
  const header = readHeader(bytes, at);
  const plain = new Uint8Array(kept.reduce((sum, { from, to }) => sum + to - from, 0));
  let end = 0;
  for (const { from, to } of kept) {
    plain.set(outline.bytes.subarray(from, to), end);
    end += to - from;
  }
  const compression = compressionOf(header.attributes & CODEC_MASK);
  const body = compression === "none" ? plain : codecNamed(compression).compress(plain);
  const newest = kept.reduce((max, { timestamp }) => Math.max(max, timestamp), -1);
  const thin = new Uint8Array(HEADER_BYTES + body.length);
  thin.set(body, HEADER_BYTES);
  writeHeader(thin, {
    ...header,
    sizeBytes: thin.length,
    maxTimestamp: header.attributes & LOG_APPEND_TIME_BIT ? header.maxTimestamp : newest,
    recordCount: kept.length,
  }, crc32c);
  return placed(thin, header);
}

/** The batch at `at` without any record: what its header says of its producer stays. Not for control batches. */
export function emptyBatch(bytes: Uint8Array, at: number, crc32c: Crc32c): Uint8Array {
  const header = readHeader(bytes, at);
  if ((header.attributes & CONTROL_BIT) !== 0) {
    throw new Error(`control batch at offset ${header.baseOffset} is nothing without its record`);
  }
  const empty = new Uint8Array(HEADER_BYTES);
  writeHeader(empty, {
    ...header,
    sizeBytes: HEADER_BYTES,
    attributes: header.attributes & ~CODEC_MASK,
    recordCount: 0,
  }, crc32c);
  return placed(empty, header);
}

/** A batch of nothing that stands for the offsets in [baseOffset, endOffset). */
export function fillerBatch(
  place: { baseOffset: number; endOffset: number; leaderEpoch: number },
  crc32c: Crc32c,
): Uint8Array {
  const lastOffsetDelta = place.endOffset - place.baseOffset - 1;
  if (lastOffsetDelta < 0 || lastOffsetDelta > MAX_OFFSET_DELTA) {
    throw new Error(`no batch spans the offsets ${place.baseOffset} to ${place.endOffset}`);
  }
  const filler = new Uint8Array(HEADER_BYTES);
  writeHeader(filler, {
    sizeBytes: HEADER_BYTES,
    attributes: 0,
    lastOffsetDelta,
    baseTimestamp: -1,
    maxTimestamp: -1,
    producerId: -1,
    producerEpoch: -1,
    baseSequence: -1,
    recordCount: 0,
  }, crc32c);
  return placed(filler, place);
}

function placed(
  bytes: Uint8Array,
  place: { baseOffset: number; leaderEpoch: number },
): Uint8Array {
  setBaseOffset(bytes, 0, place.baseOffset);
  setLeaderEpoch(bytes, 0, place.leaderEpoch);
  return bytes;
}
