// Owns the indexes of closed segments in memory: loading, rebuilding, and how many are kept.
// Refuses to own the active segments' indexes: each log holds its own.
// Invariant: an index that is handed out covers the segment's whole batches up to its end or its first fault.
import { lastOffsetDeltaAt, maxTimestampAt, sizeBytesAt } from "../format/record_batch.ts";
import type { Crc32c, Disk } from "../ports.ts";
import { scanBatches } from "./batch_scan.ts";
import { segmentPath } from "./file_names.ts";
import type { FilePool } from "./file_pool.ts";
import { encodeIndex, loadIndex, saveIndex } from "./index_files.ts";
import { SegmentIndex } from "./segment_index.ts";
import type { Segment } from "./segments.ts";

/** Indexes of closed segments kept in memory, over all logs of a store: 32 segments of 256 MiB with entries 4 KiB apart. */
export const MAX_INDEX_CACHE_BYTES = 32 * 1024 * 1024;

export interface SegmentIndexAccess {
  readonly disk: Disk;
  readonly files: FilePool;
  readonly crc32c: Crc32c;
}

/** A closed segment of the log in `directory`. */
export interface IndexedSegment {
  readonly directory: string;
  readonly segment: Segment;
  readonly indexIntervalBytes: number;
}

export class SegmentIndexes {
  /** Least recently used first. */
  readonly #kept = new Map<string, SegmentIndex>();
  readonly #loading = new Map<string, Promise<SegmentIndex>>();
  #keptBytes = 0;

  constructor(
    private readonly access: SegmentIndexAccess,
    private readonly maxBytes = MAX_INDEX_CACHE_BYTES,
  ) {}

  /** The segment's index: from memory, else from its files, else from its batches. */
  async get(at: IndexedSegment): Promise<SegmentIndex> {
    const path = segmentPath(at.directory, at.segment.baseOffset);
    const kept = this.#kept.get(path);
    if (kept !== undefined) {
      this.#kept.delete(path);
      this.#kept.set(path, kept);
      return kept;
    }
    const loading = this.#loading.get(path) ?? this.#load(path, at);
    this.#loading.set(path, loading);
    return await loading;
  }

  /** Keeps the index of a segment that was just closed. */
  put(directory: string, index: SegmentIndex): void {
    this.#keep(segmentPath(directory, index.baseOffset), index);
  }

  drop(directory: string, baseOffset: number): void {
    const path = segmentPath(directory, baseOffset);
    this.#loading.delete(path);
    this.#forget(path);
  }

  /** Drops every index of the log in `directory`. */
  dropBelow(directory: string): void {
    const within = (path: string) => path.slice(0, path.lastIndexOf("/")) === directory;
    for (const path of [...this.#loading.keys()].filter(within)) this.#loading.delete(path);
    for (const path of [...this.#kept.keys()].filter(within)) this.#forget(path);
  }

  async #load(path: string, at: IndexedSegment): Promise<SegmentIndex> {
    try {
      const { directory, segment } = at;
      const saved = await loadIndex(this.access, directory, segment.baseOffset);
      const valid = saved !== null && saved.coveredBytes === segment.sizeBytes;
      const index = valid ? saved : await this.#rebuild(path, at);
      if (this.#loading.has(path)) this.#keep(path, index);
      return index;
    } finally {
      this.#loading.delete(path);
    }
  }

  async #rebuild(path: string, at: IndexedSegment): Promise<SegmentIndex> {
    const { directory, segment, indexIntervalBytes } = at;
    const index = new SegmentIndex(segment.baseOffset);
    await this.access.files.use(path, (file) =>
      scanBatches(
        file,
        {
          start: { position: 0, offset: segment.baseOffset, leaderEpoch: -1 },
          to: segment.sizeBytes,
          crc32c: this.access.crc32c,
        },
        (bytes, at, batch) => {
          addToIndex(index, { bytes, at, ...batch }, indexIntervalBytes);
          return true;
        },
      ));
    if (index.coveredBytes === segment.sizeBytes) {
      // A cache of a cache: when it cannot be written, it is rebuilt next time.
      const { disk, crc32c } = this.access;
      await saveIndex(disk, directory, encodeIndex(index, crc32c)).catch(() => undefined);
    }
    return index;
  }

  #keep(path: string, index: SegmentIndex): void {
    this.#forget(path);
    this.#kept.set(path, index);
    this.#keptBytes += index.memoryBytes;
    for (const oldest of this.#kept.keys()) {
      if (this.#keptBytes <= this.maxBytes || oldest === path) break;
      this.#forget(oldest);
    }
  }

  #forget(path: string): void {
    this.#keptBytes -= this.#kept.get(path)?.memoryBytes ?? 0;
    this.#kept.delete(path);
  }
}

/** Takes the stored batch at `at` in `bytes`, which lies at `position` in its segment, into `index`; the offset behind it. */
export function addToIndex(
  index: SegmentIndex,
  batch: { bytes: Uint8Array; at: number; position: number; baseOffset: number },
  intervalBytes: number,
): number {
  const { bytes, at, position, baseOffset } = batch;
  const sizeBytes = sizeBytesAt(bytes, at);
  const maxTimestamp = maxTimestampAt(bytes, at);
  index.add({ baseOffset, position, sizeBytes, maxTimestamp }, intervalBytes);
  return baseOffset + lastOffsetDeltaAt(bytes, at) + 1;
}
