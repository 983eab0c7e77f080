// Owns the durable checkpoint of a log: where it starts, and up to where all of it is known to be on disk.
// Refuses to own when it moves: the log does. What it covers must be durable before it is written.
// Invariant: after any crash the newer of two valid slots holds; at most the newest write is lost, never both slots.
//
// Two slots in one file of fixed size, written in turn, instead of a new file renamed over the old one: on a full disk
// it can still be written (retention must be able to raise the log start there), and it costs one sync instead of three.
// The slots lie 4 KiB apart, so that one torn or stale chunk cannot take both. A checkpoint at the end of the log is the
// mark of a clean shutdown: nothing lies behind it to be checked. It consumes itself, since the next append grows the log.
import type { Crc32c, Disk, DiskFile } from "../ports.ts";
import { CHECKPOINT_FILE } from "./file_names.ts";
import { readWhole, writeFully } from "./whole_files.ts";

export interface Checkpoint {
  readonly logStartOffset: number;
  /** Base offset of the segment and the byte in it up to which everything is durable. */
  readonly segmentBase: number;
  readonly position: number;
  /** Offset of the first record at or after `position`. */
  readonly offset: number;
  /** Wall time, ms, at which that segment was begun. */
  readonly segmentCreatedMs: number;
}

const SLOT_SPACING_BYTES = 4_096;
const FILE_BYTES = 2 * SLOT_SPACING_BYTES;
const MAGIC = 0x57424b31;
const SLOT_BYTES = 60;
const AT_CRC = SLOT_BYTES - 4;

/** The checkpoint file of one log. One call at a time. */
export class CheckpointFile {
  #sequence = 0;
  #nextSlot = 0;
  #exists = false;
  #current: Checkpoint | null = null;

  constructor(
    private readonly disk: Disk,
    private readonly directory: string,
    private readonly crc32c: Crc32c,
  ) {}

  /** What was last read or written; null when there is none that can be trusted. */
  get current(): Checkpoint | null {
    return this.#current;
  }

  /** Whether the file was there, good or bad. */
  get exists(): boolean {
    return this.#exists;
  }

  /** Reads the newest valid checkpoint. */
  async load(): Promise<Checkpoint | null> {
    const bytes = await readWhole(this.disk, `${this.directory}/${CHECKPOINT_FILE}`, FILE_BYTES);
    this.#exists = bytes !== null;
    if (bytes === null) return null;
    for (const slot of [0, 1]) {
      const found = decodeSlot(bytes, slot * SLOT_SPACING_BYTES, this.crc32c);
      if (found === null || found.sequence <= this.#sequence) continue;
      this.#sequence = found.sequence;
      this.#nextSlot = 1 - slot;
      this.#current = found.checkpoint;
    }
    return this.#current;
  }

  /** Makes `checkpoint` durable. A new file's directory is left for the caller to sync. Rejects as the disk does. */
  async write(checkpoint: Checkpoint): Promise<void> {
    const slot = this.#nextSlot;
    const sequence = this.#sequence + 1;
    const bytes = encodeSlot({ sequence, checkpoint }, this.crc32c);
    const file = await this.disk.open(`${this.directory}/${CHECKPOINT_FILE}`, { create: true });
    try {
      if (!this.#exists) await writeFully(file, new Uint8Array(FILE_BYTES), 0);
      await this.#put(file, bytes, slot);
    } finally {
      await file.close();
    }
    this.#exists = true;
    this.#sequence = sequence;
    this.#nextSlot = 1 - slot;
    this.#current = checkpoint;
  }

  /** Like `write`, and no older checkpoint can come back: for one that lies behind the last, or drops segments. */
  async writeBoth(checkpoint: Checkpoint): Promise<void> {
    await this.write(checkpoint);
    await this.write(checkpoint);
  }

  async #put(file: DiskFile, bytes: Uint8Array, slot: number): Promise<void> {
    await writeFully(file, bytes, slot * SLOT_SPACING_BYTES);
    await file.sync();
  }
}

interface Slot {
  readonly sequence: number;
  readonly checkpoint: Checkpoint;
}

function encodeSlot({ sequence, checkpoint }: Slot, crc32c: Crc32c): Uint8Array {
  const bytes = new Uint8Array(SLOT_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC);
  const { logStartOffset, segmentBase, position, offset, segmentCreatedMs } = checkpoint;
  [sequence, logStartOffset, segmentBase, position, offset, segmentCreatedMs]
    .forEach((value, index) => view.setFloat64(8 + 8 * index, value));
  view.setUint32(AT_CRC, crc32c(bytes.subarray(0, AT_CRC)));
  return bytes;
}

function decodeSlot(bytes: Uint8Array, at: number, crc32c: Crc32c): Slot | null {
  if (at + SLOT_BYTES > bytes.length) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, SLOT_BYTES);
  if (view.getUint32(0) !== MAGIC) return null;
  if (view.getUint32(AT_CRC) !== crc32c(bytes.subarray(at, at + AT_CRC))) return null;
  const value = (index: number) => view.getFloat64(8 + 8 * index);
  return {
    sequence: value(0),
    checkpoint: {
      logStartOffset: value(1),
      segmentBase: value(2),
      position: value(3),
      offset: value(4),
      segmentCreatedMs: value(5),
    },
  };
}
