// Owns which objects of one log are in the archive and where the archive starts, in memory and as the local file of that.
// Refuses to own the objects and when they come and go (archived_log.ts).
// Invariant: entries are contiguous and cover all from `startOffset` on. A kept start is never below what the archive has.
//
// The file is written whole at each change and put in place at once. It can be made again from a listing of the archive;
// so where there is no space for it, what was archived is known in memory alone until there is: dropping it here makes room.
import { lowerBound } from "../lower_bound.ts";
import { type Crc32c, type Disk, DiskFullError } from "../ports.ts";
import { readWhole, replaceFile } from "../file_log/whole_files.ts";
import type { ArchiveEntry } from "./object_key.ts";

/** No valid part of a log's name, so no log can come to lie there. */
export const ARCHIVE_INDEX_FILE = "archive.index";
const MAGIC = 0x57424131;
const HEADER_BYTES = 24;
const NUMBERS_PER_ENTRY = 5;
const ENTRY_BYTES = NUMBERS_PER_ENTRY * 8;
/** A million objects: 8 TB of one partition. */
export const MAX_ARCHIVE_ENTRIES = 1_000_000;
const MAX_FILE_BYTES = HEADER_BYTES + MAX_ARCHIVE_ENTRIES * ENTRY_BYTES;

export interface IndexAccess {
  readonly disk: Disk;
  readonly crc32c: Crc32c;
}

export class ArchiveIndex {
  #entries: readonly ArchiveEntry[];
  #startOffset: number;
  #sizeBytes: number;

  private constructor(
    private readonly access: IndexAccess,
    private readonly directory: string,
    kept: { entries: readonly ArchiveEntry[]; startOffset: number },
  ) {
    this.#entries = kept.entries;
    this.#startOffset = kept.startOffset;
    this.#sizeBytes = servedBytes(this.entries);
  }

  /** The index as it was kept; "none" when nothing was ever archived, "damaged" when what was kept cannot be read. */
  static async load(
    access: IndexAccess,
    directory: string,
  ): Promise<ArchiveIndex | "none" | "damaged"> {
    const bytes = await readWhole(
      access.disk,
      `${directory}/${ARCHIVE_INDEX_FILE}`,
      MAX_FILE_BYTES,
    );
    if (bytes === null) return "none";
    const kept = decode(bytes, access.crc32c);
    return kept === null ? "damaged" : new ArchiveIndex(access, directory, kept);
  }

  /** An index that is not kept yet: of a log without archive, or made from a listing. */
  static of(
    access: IndexAccess,
    directory: string,
    entries: readonly ArchiveEntry[],
  ): ArchiveIndex {
    return new ArchiveIndex(access, directory, {
      entries,
      startOffset: entries[0]?.baseOffset ?? 0,
    });
  }

  /** First offset that is served from the archive; null when it is empty. */
  get startOffset(): number | null {
    return this.isEmpty ? null : this.#startOffset;
  }

  /** Offset behind the last archived record; null when the archive is empty. */
  get endOffset(): number | null {
    return this.isEmpty ? null : this.#entries.at(-1)!.endOffset;
  }

  get isEmpty(): boolean {
    return this.#startOffset >= (this.#entries.at(-1)?.endOffset ?? 0);
  }

  /** Whether the archive may hold something of the log, served or still to be removed. */
  get hasObjects(): boolean {
    return this.#entries.length > 0;
  }

  /** Entries that are served, oldest first. */
  get entries(): readonly ArchiveEntry[] {
    return this.#entries.slice(this.#countBelow(this.#startOffset));
  }

  /** Entries below the start: their objects may still have to be removed. */
  get leaving(): readonly ArchiveEntry[] {
    return this.#entries.slice(0, this.#countBelow(this.#startOffset));
  }

  /** Of what is served. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** The served entry that holds `offset`, null when none does. */
  holding(offset: number): ArchiveEntry | null {
    if (offset < this.#startOffset) return null;
    return this.#entries[this.#countBelow(offset)] ?? null;
  }

  /** Keeps more entries, which continue the last; rejects as the disk does. */
  async append(entries: readonly ArchiveEntry[]): Promise<void> {
    // What is only still to be removed need not lead up to what comes.
    let end = this.endOffset ?? entries[0]?.baseOffset;
    for (const entry of entries) {
      if (entry.baseOffset !== end) {
        throw new Error(`archived offset ${entry.baseOffset} does not continue at ${end}`);
      }
      end = entry.endOffset;
    }
    const all = [...this.#entries, ...entries];
    if (all.length > MAX_ARCHIVE_ENTRIES) {
      throw new Error(`more than ${MAX_ARCHIVE_ENTRIES} archived objects in ${this.directory}`);
    }
    const startOffset = this.isEmpty ? entries[0]?.baseOffset ?? 0 : this.#startOffset;
    const kept = { entries: all, startOffset };
    await this.#keep(kept).catch((error) => {
      if (!(error instanceof DiskFullError)) throw error;
      this.#take(kept);
    });
  }

  /** Serves nothing any more, also where there is no space to say so: without the file, the archive is looked through. */
  async endService(): Promise<void> {
    const { disk } = this.access;
    if (this.isEmpty) return;
    try {
      await this.raiseStart(this.endOffset!);
    } catch (error) {
      if (!(error instanceof DiskFullError)) throw error;
      await disk.remove(`${this.directory}/${ARCHIVE_INDEX_FILE}`);
      await disk.syncDirectory(this.directory);
      this.#take({ entries: this.#entries, startOffset: this.endOffset! });
    }
  }

  /** Serves nothing below `offset` any more; rejects as the disk does. */
  async raiseStart(offset: number): Promise<void> {
    if (offset <= this.#startOffset) return;
    await this.#keep({ entries: this.#entries, startOffset: offset });
  }

  /** Forgets the first `count` of `leaving`, whose objects are gone. */
  async forget(count: number): Promise<void> {
    if (count === 0) return;
    await this.#keep({ entries: this.#entries.slice(count), startOffset: this.#startOffset });
  }

  async #keep(kept: { entries: readonly ArchiveEntry[]; startOffset: number }): Promise<void> {
    const { disk, crc32c } = this.access;
    const { directory } = this;
    const bytes = encode(kept, crc32c);
    await replaceFile(disk, { directory, name: ARCHIVE_INDEX_FILE }, { bytes, durable: true });
    this.#take(kept);
  }

  #take(kept: { entries: readonly ArchiveEntry[]; startOffset: number }): void {
    this.#entries = kept.entries;
    this.#startOffset = kept.startOffset;
    this.#sizeBytes = servedBytes(this.entries);
  }

  /** Number of entries that end at or below `offset`. */
  #countBelow(offset: number): number {
    return lowerBound(this.#entries.length, (index) => this.#entries[index]!.endOffset <= offset);
  }
}

/**
 * The entries among `found` that lead without a gap to `endOffset` or beyond: what a listing says of a log that goes on
 * there. Of objects that overlap, which a crash may leave, those that reach furthest back are taken; they hold the same.
 */
export function chainTo(found: readonly ArchiveEntry[], endOffset: number): ArchiveEntry[] {
  const byEnd = new Map<number, ArchiveEntry>();
  for (const entry of found) {
    const known = byEnd.get(entry.endOffset);
    if (known === undefined || entry.baseOffset < known.baseOffset) {
      byEnd.set(entry.endOffset, entry);
    }
  }
  const ends = [...byEnd.keys()].filter((end) => end >= endOffset).sort((a, b) => b - a);
  let best: ArchiveEntry[] = [];
  for (const end of ends) {
    const chain: ArchiveEntry[] = [];
    for (let entry = byEnd.get(end); entry !== undefined; entry = byEnd.get(entry.baseOffset)) {
      if (entry.baseOffset >= entry.endOffset) break;
      chain.push(entry);
    }
    if ((chain.at(-1)?.baseOffset ?? Infinity) < (best[0]?.baseOffset ?? Infinity)) {
      best = chain.reverse();
    }
  }
  return best;
}

function servedBytes(entries: readonly ArchiveEntry[]): number {
  return entries.reduce((sum, entry) => sum + entry.sizeBytes, 0);
}

function encode(
  kept: { entries: readonly ArchiveEntry[]; startOffset: number },
  crc32c: Crc32c,
): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + kept.entries.length * ENTRY_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC);
  view.setFloat64(8, kept.startOffset);
  view.setUint32(16, kept.entries.length);
  kept.entries.forEach(({ baseOffset, endOffset, sizeBytes, maxTimestamp, crc }, index) => {
    [baseOffset, endOffset, sizeBytes, maxTimestamp, crc].forEach((value, field) =>
      view.setFloat64(HEADER_BYTES + index * ENTRY_BYTES + field * 8, value)
    );
  });
  view.setUint32(20, checksum(bytes, crc32c));
  return bytes;
}

function decode(
  bytes: Uint8Array,
  crc32c: Crc32c,
): { entries: ArchiveEntry[]; startOffset: number } | null {
  if (bytes.length < HEADER_BYTES) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = view.getUint32(16);
  if (view.getUint32(0) !== MAGIC) return null;
  if (bytes.length !== HEADER_BYTES + count * ENTRY_BYTES) return null;
  if (view.getUint32(20) !== checksum(bytes, crc32c)) return null;
  const entries = Array.from({ length: count }, (_, index): ArchiveEntry => {
    const field = (at: number) => view.getFloat64(HEADER_BYTES + index * ENTRY_BYTES + at * 8);
    return {
      baseOffset: field(0),
      endOffset: field(1),
      sizeBytes: field(2),
      maxTimestamp: field(3),
      crc: field(4),
    };
  });
  return { entries, startOffset: view.getFloat64(8) };
}

/** Over all but the checksum itself, which lies last in the header. */
function checksum(bytes: Uint8Array, crc32c: Crc32c): number {
  const head = crc32c(bytes.subarray(0, 20));
  const rest = crc32c(bytes.subarray(HEADER_BYTES));
  return (head ^ Math.imul(rest, 31)) >>> 0;
}
