// Owns walking the batches of a segment file from a known place, and searching for a marked one in what is left.
// Refuses to own what a fault means.
// Invariant: memory is bounded by one window plus one batch, work by a small multiple of the bytes looked at.
import {
  HEADER_BYTES,
  lastOffsetDeltaAt,
  leaderEpochAt,
  MAGIC,
  sizeBytesAt,
} from "../format/record_batch.ts";
import type { Crc32c, DiskFile } from "../ports.ts";
import { isMarked, storedBaseOffset } from "./guard_byte.ts";
import { AT_MAGIC, bodyFault, headerFault } from "./stored_batch.ts";
import { readFully } from "./whole_files.ts";

const WINDOW_BYTES = 1024 * 1024;
/** A search may compute CRCs over this many times the bytes it looks through; false starts that overlap need more. */
const MAX_SEARCH_FACTOR = 4;

/** Where a scan starts: the batch at `position` must start with `offset` and carry `leaderEpoch` or a later one. */
export interface ScanStart {
  readonly position: number;
  readonly offset: number;
  readonly leaderEpoch: number;
}

/** Where a scan ended; `fault` is null when it was told to stop or came to the end of the range. */
export interface ScanEnd {
  readonly position: number;
  readonly offset: number;
  readonly leaderEpoch: number;
  readonly fault: string | null;
}

/** Called for each valid batch: it lies at `at` in `bytes`, which is reused, and at `position` in the file. False stops. */
export type OnBatch = (
  bytes: Uint8Array,
  at: number,
  batch: { position: number; baseOffset: number },
) => boolean;

/** Walks the batches between `start` and byte `to`, checking each in full, until one is at fault. */
export async function scanBatches(
  file: DiskFile,
  options: { start: ScanStart; to: number; crc32c: Crc32c; windowBytes?: number },
  onBatch: OnBatch,
): Promise<ScanEnd> {
  const { to, crc32c, windowBytes = WINDOW_BYTES } = options;
  let { position, offset, leaderEpoch } = options.start;
  const end = (fault: string | null): ScanEnd => ({ position, offset, leaderEpoch, fault });
  let window = new Uint8Array(Math.min(windowBytes, Math.max(0, to - position)));
  while (position < to) {
    if (to - position < HEADER_BYTES) return end("the header is cut off");
    const wanted = Math.min(window.length, to - position);
    const bytes = window.subarray(0, await readFully(file, window.subarray(0, wanted), position));
    if (bytes.length < wanted) return end("the file is shorter than it was");
    let at = 0;
    while (at + HEADER_BYTES <= bytes.length) {
      const header = headerFault(bytes, at, { baseOffset: offset, leaderEpoch });
      if (header !== null) return end(header);
      const sizeBytes = sizeBytesAt(bytes, at);
      if (position + sizeBytes > to) return end("the batch is cut off");
      if (at + sizeBytes > bytes.length) break;
      const body = bodyFault(bytes, at, crc32c);
      if (body !== null) return end(body);
      const goOn = onBatch(bytes, at, { position, baseOffset: offset });
      leaderEpoch = leaderEpochAt(bytes, at);
      offset += lastOffsetDeltaAt(bytes, at) + 1;
      at += sizeBytes;
      position += sizeBytes;
      if (!goOn) return end(null);
    }
    // Not even one batch fitted: the window grows to hold it. Its length is known to end within the range.
    if (at === 0) window = new Uint8Array(sizeBytesAt(bytes, 0));
  }
  return end(null);
}

/**
 * Position of a whole, valid and marked batch between byte `from` and `to` whose offset is above `offset`; null when
 * there is none, "unknown" when so much in between looks like one that finding out would take too long.
 */
export async function findMarkedBatch(
  file: DiskFile,
  range: { from: number; to: number; offset: number; leaderEpoch: number },
  crc32c: Crc32c,
): Promise<number | "unknown" | null> {
  const { to } = range;
  let checkableBytes = Math.max(WINDOW_BYTES, (to - range.from) * MAX_SEARCH_FACTOR);
  const window = new Uint8Array(Math.min(WINDOW_BYTES, Math.max(0, to - range.from)));
  for (let position = range.from; to - position >= HEADER_BYTES;) {
    const wanted = Math.min(window.length, to - position);
    const bytes = window.subarray(0, await readFully(file, window.subarray(0, wanted), position));
    if (bytes.length < HEADER_BYTES) return null;
    for (let at = nextMagic(bytes, 0); at >= 0; at = nextMagic(bytes, at + 1)) {
      if (at + HEADER_BYTES > bytes.length) break;
      const baseOffset = storedBaseOffset(bytes, at);
      if (!isMarked(bytes, at) || baseOffset <= range.offset) continue;
      if (headerFault(bytes, at, { baseOffset, leaderEpoch: range.leaderEpoch }) !== null) continue;
      const sizeBytes = sizeBytesAt(bytes, at);
      if (position + at + sizeBytes > to) continue;
      checkableBytes -= sizeBytes;
      if (checkableBytes < 0) return "unknown";
      const whole = at + sizeBytes <= bytes.length
        ? bytes.subarray(at, at + sizeBytes)
        : await readRange(file, position + at, sizeBytes);
      if (bodyFault(whole, 0, crc32c) === null) return position + at;
    }
    // Headers that start in the last bytes of this window are looked at in the next.
    position += bytes.length < to - position ? bytes.length - HEADER_BYTES + 1 : bytes.length;
  }
  return null;
}

/** First place from `from` on where a batch could start, by its magic; -1 when there is none. */
function nextMagic(bytes: Uint8Array, from: number): number {
  const found = bytes.indexOf(MAGIC, from + AT_MAGIC);
  return found < 0 ? -1 : found - AT_MAGIC;
}

/** Up to `sizeBytes` from `position`: fewer when the file ends before. */
export async function readRange(
  file: DiskFile,
  position: number,
  sizeBytes: number,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(sizeBytes);
  return bytes.subarray(0, await readFully(file, bytes, position));
}
