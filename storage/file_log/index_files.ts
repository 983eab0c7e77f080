// Owns the bytes of `.index` and `.timeindex`: the sparse index of one segment on disk.
// Refuses to own rebuilding them (segment_indexes.ts): here a file is whole and valid, or as good as none.
// Invariant: deleting or garbling either file costs time, never data. An index is written only when what it covers is
// durable, and is taken away, durably, before any of that is cut: so whatever version a crash leaves fits the segment.
//
// Both: a header (magic, base offset, bytes covered, newest timestamp, entry count, CRC of the entries, CRC of the
// header), then entries. An offset entry is two 32-bit integers (relative offset, position); a time entry a 64-bit float
// (newest timestamp before) and a 32-bit relative offset.
import type { Crc32c, Disk } from "../ports.ts";
import { offsetIndexPath, timeIndexPath } from "./file_names.ts";
import { SegmentIndex } from "./segment_index.ts";
import { readWhole, replaceFile } from "./whole_files.ts";

const OFFSET_MAGIC = 0x57424f31;
const TIME_MAGIC = 0x57425431;
const HEADER_BYTES = 44;
const OFFSET_ENTRY_BYTES = 8;
const TIME_ENTRY_BYTES = 12;
const AT_ENTRIES_CRC = 36;
const AT_HEADER_CRC = 40;
/** More than any index of a segment below 2 GiB with entries a batch apart. */
const MAX_INDEX_FILE_BYTES = 1 << 29;

export interface IndexFileAccess {
  readonly disk: Disk;
  readonly crc32c: Crc32c;
}

/** An index as it was at some moment, ready to be written. */
export interface EncodedIndex {
  readonly baseOffset: number;
  readonly offsets: Uint8Array;
  readonly times: Uint8Array;
}

/** Writes both files; they are not synced: a checksum tells when a power cut took them. Rejects as the disk does. */
export async function saveIndex(
  disk: Disk,
  directory: string,
  { baseOffset, offsets, times }: EncodedIndex,
): Promise<void> {
  const save = async (path: string, bytes: Uint8Array) => {
    const name = path.slice(directory.length + 1);
    await replaceFile(disk, { directory, name }, { bytes, durable: false });
  };
  await save(offsetIndexPath(directory, baseOffset), offsets);
  await save(timeIndexPath(directory, baseOffset), times);
}

/** The index as saved; null when a file is missing, invalid or not the other's twin. */
export async function loadIndex(
  { disk, crc32c }: IndexFileAccess,
  directory: string,
  baseOffset: number,
): Promise<SegmentIndex | null> {
  const offsetPath = offsetIndexPath(directory, baseOffset);
  const offsets = await readWhole(disk, offsetPath, MAX_INDEX_FILE_BYTES);
  if (offsets === null) return null;
  const times = await readWhole(disk, timeIndexPath(directory, baseOffset), MAX_INDEX_FILE_BYTES);
  return times === null ? null : decodeIndex({ offsets, times, baseOffset }, crc32c);
}

export async function removeIndex(
  disk: Disk,
  directory: string,
  baseOffset: number,
): Promise<void> {
  await disk.remove(offsetIndexPath(directory, baseOffset));
  await disk.remove(timeIndexPath(directory, baseOffset));
}

/** The bytes of both files for `index` as it is now. */
export function encodeIndex(index: SegmentIndex, crc32c: Crc32c): EncodedIndex {
  const count = index.entryCount;
  const offsets = new Uint8Array(HEADER_BYTES + count * OFFSET_ENTRY_BYTES);
  const times = new Uint8Array(HEADER_BYTES + count * TIME_ENTRY_BYTES);
  const offsetView = new DataView(offsets.buffer);
  const timeView = new DataView(times.buffer);
  for (let at = 0; at < count; at++) {
    const { relativeOffset, position, timeBefore } = index.entry(at);
    offsetView.setUint32(HEADER_BYTES + at * OFFSET_ENTRY_BYTES, relativeOffset);
    offsetView.setUint32(HEADER_BYTES + at * OFFSET_ENTRY_BYTES + 4, position);
    timeView.setFloat64(HEADER_BYTES + at * TIME_ENTRY_BYTES, timeBefore);
    timeView.setUint32(HEADER_BYTES + at * TIME_ENTRY_BYTES + 8, relativeOffset);
  }
  putHeader(offsets, { magic: OFFSET_MAGIC, index }, crc32c);
  putHeader(times, { magic: TIME_MAGIC, index }, crc32c);
  return { baseOffset: index.baseOffset, offsets, times };
}

function putHeader(
  bytes: Uint8Array,
  { magic, index }: { magic: number; index: SegmentIndex },
  crc32c: Crc32c,
): void {
  const view = new DataView(bytes.buffer);
  view.setUint32(0, magic);
  view.setFloat64(8, index.baseOffset);
  view.setFloat64(16, index.coveredBytes);
  view.setFloat64(24, index.maxTimestamp);
  view.setUint32(32, index.entryCount);
  view.setUint32(AT_ENTRIES_CRC, crc32c(bytes.subarray(HEADER_BYTES)));
  view.setUint32(AT_HEADER_CRC, crc32c(bytes.subarray(0, AT_HEADER_CRC)));
}

interface IndexHeader {
  readonly baseOffset: number;
  readonly coveredBytes: number;
  readonly maxTimestamp: number;
  readonly count: number;
}

function readHeader(
  bytes: Uint8Array,
  expected: { magic: number; entryBytes: number },
  crc32c: Crc32c,
): IndexHeader | null {
  if (bytes.length < HEADER_BYTES) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0) !== expected.magic) return null;
  if (view.getUint32(AT_HEADER_CRC) !== crc32c(bytes.subarray(0, AT_HEADER_CRC))) return null;
  const count = view.getUint32(32);
  if (bytes.length !== HEADER_BYTES + count * expected.entryBytes) return null;
  if (view.getUint32(AT_ENTRIES_CRC) !== crc32c(bytes.subarray(HEADER_BYTES))) return null;
  return {
    baseOffset: view.getFloat64(8),
    coveredBytes: view.getFloat64(16),
    maxTimestamp: view.getFloat64(24),
    count,
  };
}

function decodeIndex(
  files: { offsets: Uint8Array; times: Uint8Array; baseOffset: number },
  crc32c: Crc32c,
): SegmentIndex | null {
  const { offsets, times, baseOffset } = files;
  const header = readHeader(
    offsets,
    { magic: OFFSET_MAGIC, entryBytes: OFFSET_ENTRY_BYTES },
    crc32c,
  );
  const twin = readHeader(times, { magic: TIME_MAGIC, entryBytes: TIME_ENTRY_BYTES }, crc32c);
  if (header === null || twin === null) return null;
  if (header.baseOffset !== baseOffset || twin.baseOffset !== baseOffset) return null;
  if (header.coveredBytes !== twin.coveredBytes || header.count !== twin.count) return null;
  const index = new SegmentIndex(baseOffset);
  const offsetView = new DataView(offsets.buffer, offsets.byteOffset);
  const timeView = new DataView(times.buffer, times.byteOffset);
  for (let at = 0; at < header.count; at++) {
    index.pushEntry(
      offsetView.getUint32(HEADER_BYTES + at * OFFSET_ENTRY_BYTES),
      offsetView.getUint32(HEADER_BYTES + at * OFFSET_ENTRY_BYTES + 4),
      timeView.getFloat64(HEADER_BYTES + at * TIME_ENTRY_BYTES),
    );
  }
  index.cover(header.coveredBytes, header.maxTimestamp);
  return index;
}
