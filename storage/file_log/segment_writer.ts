// Owns writing a new segment file out of batches, with its index, before it is part of the log.
// Refuses to own which batches, and putting the file in place (segment_swap.ts).
// Invariant: offsets follow each other from the base offset without a gap; what nothing is left of is held by fillers.
import { baseOffsetAt, lastOffsetDeltaAt, maxTimestampAt } from "../format/record_batch.ts";
import { fillerBatch, MAX_OFFSET_DELTA } from "../format/thin_batch.ts";
import type { Crc32c, Disk, DiskFile } from "../ports.ts";
import { putGuard } from "./guard_byte.ts";
import { SegmentIndex } from "./segment_index.ts";
import { writeFully } from "./whole_files.ts";

/** Offsets of which nothing is left, of one leader epoch. */
interface Nothing {
  readonly baseOffset: number;
  endOffset: number;
  readonly leaderEpoch: number;
}

export interface SegmentWriterOptions {
  readonly disk: Disk;
  readonly crc32c: Crc32c;
  readonly path: string;
  readonly baseOffset: number;
  readonly indexIntervalBytes: number;
  /** What a batch is on disk; left out: as it is. */
  readonly seal?: (batch: Uint8Array) => Uint8Array;
}

export class SegmentWriter {
  readonly index: SegmentIndex;
  #endOffset: number;
  #position = 0;
  #nothing: Nothing | null = null;
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;

  private constructor(
    private readonly options: SegmentWriterOptions,
    private readonly file: DiskFile,
  ) {
    this.index = new SegmentIndex(options.baseOffset);
    this.#endOffset = options.baseOffset;
  }

  /** Begins the file anew. Rejects as the disk does. */
  static async begin(options: SegmentWriterOptions): Promise<SegmentWriter> {
    const file = await options.disk.open(options.path, { create: true });
    await file.truncate(0);
    return new SegmentWriter(options, file);
  }

  get endOffset(): number {
    return this.#nothing?.endOffset ?? this.#endOffset;
  }

  /** With what is not written yet. */
  get sizeBytes(): number {
    return this.#position + this.#pendingBytes;
  }

  /** Bytes that `flush` would write. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /** Takes over a batch without guard that continues the segment. */
  add(batch: Uint8Array): void {
    this.#endNothing();
    this.#push(batch);
  }

  /** Notes that nothing is left of the offsets up to `endOffset`. */
  addNothing(endOffset: number, leaderEpoch: number): void {
    const nothing = this.#nothing;
    const extends_ = nothing !== null && nothing.leaderEpoch === leaderEpoch &&
      endOffset - nothing.baseOffset <= MAX_OFFSET_DELTA;
    if (extends_) nothing.endOffset = endOffset;
    else {
      const baseOffset = this.endOffset;
      this.#endNothing();
      this.#nothing = { baseOffset, endOffset, leaderEpoch };
    }
  }

  async flush(): Promise<void> {
    const pending = this.#pending;
    const bytes = new Uint8Array(this.#pendingBytes);
    let at = 0;
    for (const batch of pending) {
      bytes.set(batch, at);
      // All of the file is durable before it is part of the log.
      putGuard(bytes, at, { marked: true });
      at += batch.length;
    }
    this.#pending = [];
    this.#pendingBytes = 0;
    await writeFully(this.file, bytes, this.#position);
    this.#position += bytes.length;
  }

  /** Writes the rest and makes all of it durable; the file is closed. */
  async finish(): Promise<void> {
    this.#endNothing();
    await this.flush();
    await this.file.sync();
    await this.file.close();
  }

  /** Closes and removes the file. */
  async discard(): Promise<void> {
    await this.file.close().catch(() => undefined);
    await this.options.disk.remove(this.options.path);
  }

  #endNothing(): void {
    const nothing = this.#nothing;
    this.#nothing = null;
    if (nothing !== null) this.#push(fillerBatch(nothing, this.options.crc32c));
  }

  #push(batch: Uint8Array): void {
    const baseOffset = baseOffsetAt(batch, 0);
    if (baseOffset !== this.#endOffset) {
      throw new Error(
        `batch at ${baseOffset} does not continue ${this.options.path} at ${this.#endOffset}`,
      );
    }
    const stored = this.options.seal?.(batch) ?? batch;
    const place = { baseOffset, position: this.sizeBytes, sizeBytes: stored.length };
    const maxTimestamp = maxTimestampAt(batch, 0);
    this.index.add({ ...place, maxTimestamp }, this.options.indexIntervalBytes);
    this.#endOffset = baseOffset + lastOffsetDeltaAt(batch, 0) + 1;
    this.#pending.push(stored);
    this.#pendingBytes += stored.length;
  }
}
