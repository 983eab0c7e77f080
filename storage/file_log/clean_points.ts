// Owns up to where a log has been compacted and since when, in memory and as the file `compaction.points`.
// Refuses to own compaction (compactor.ts).
// Invariant: nothing is claimed to be clean that is not; a lost file makes compaction begin again, and tombstones stay longer.
import type { Crc32c, Disk } from "../ports.ts";
import { readWhole, replaceFile } from "./whole_files.ts";

/** No valid part of a log's name. */
export const CLEAN_POINTS_FILE = "compaction.points";
/** Points that are kept; were there more, tombstones would only stay longer. */
const MAX_POINTS = 128;
/** Points lie this part of the tombstones' time apart, however often the log is compacted. */
const POINTS_PER_TOMBSTONE_TIME = 32;
const MAX_FILE_BYTES = 64 * 1024;

/** All below `offset` was compacted at `atMs`, wall time. */
interface CleanPoint {
  readonly offset: number;
  readonly atMs: number;
}

interface Kept {
  readonly points: readonly CleanPoint[];
  /** Tombstones below it have been taken away. */
  readonly reapedOffset: number;
  /** Whether there is anything below that only time takes away. */
  readonly pending: boolean;
}

const NOTHING_CLEAN: Kept = { points: [], reapedOffset: 0, pending: false };

export class CleanPoints {
  /** Wall time, ms, before which no more can be compacted than was already. Not kept: then it is found again. */
  waitsUntil = -Infinity;
  #kept: Kept = NOTHING_CLEAN;

  constructor(
    private readonly access: { readonly disk: Disk; readonly crc32c: Crc32c },
    private readonly directory: string,
  ) {}

  /** Reads the file; one that is missing, damaged or beyond `logEndOffset` says nothing. */
  async load(logEndOffset: number): Promise<void> {
    const { disk, crc32c } = this.access;
    const path = `${this.directory}/${CLEAN_POINTS_FILE}`;
    const bytes = await readWhole(disk, path, MAX_FILE_BYTES);
    const kept = bytes === null ? null : decode(bytes, crc32c);
    const isPossible = kept !== null && (kept.points.at(-1)?.offset ?? 0) <= logEndOffset;
    this.#kept = isPossible ? kept : NOTHING_CLEAN;
  }

  /** Everything below is compacted. */
  get cleanOffset(): number {
    return this.#kept.points.at(-1)?.offset ?? 0;
  }

  /** Up to where tombstones have stayed for `tombstoneMs`. */
  ripeOffset(now: number, tombstoneMs: number): number {
    return this.#kept.points.findLast(({ atMs }) => atMs + tombstoneMs <= now)?.offset ?? 0;
  }

  /** Whether a compaction would take away what only time could let go. */
  isReapingDue(now: number, tombstoneMs: number): boolean {
    return this.#kept.pending && this.ripeOffset(now, tombstoneMs) > this.#kept.reapedOffset;
  }

  /** Notes a compaction that went through. Rejects as the disk does. */
  async add(
    done: CleanPoint & { tombstoneMs: number; reapedOffset: number; pending: boolean },
  ): Promise<void> {
    const { offset, atMs, tombstoneMs, reapedOffset, pending } = done;
    // What was stamped later than now cannot be true. A point that is there already keeps its time.
    const before = this.#kept.points.filter((point) =>
      point.offset <= offset && point.atMs <= atMs
    );
    const newest = before.at(-1)?.offset === offset ? before.pop()! : { offset, atMs };
    const spacingMs = tombstoneMs / POINTS_PER_TOMBSTONE_TIME;
    const last = before.at(-2);
    const isClose = last !== undefined && before.at(-1)!.atMs - last.atMs < spacingMs;
    if (isClose) before.pop();
    const ripe = before.findLastIndex((point) => point.atMs + tombstoneMs <= atMs);
    const points = [...before.slice(Math.max(0, ripe)), newest].slice(-MAX_POINTS);
    await this.#keep({ points, reapedOffset, pending });
  }

  /** Claims nothing any more: before the log is cut within closed segments. Rejects as the disk does. */
  async forget(): Promise<void> {
    if (this.#kept.points.length > 0) await this.#keep(NOTHING_CLEAN);
  }

  async #keep(kept: Kept): Promise<void> {
    const { disk, crc32c } = this.access;
    const bytes = encode(kept, crc32c);
    const at = { directory: this.directory, name: CLEAN_POINTS_FILE };
    await replaceFile(disk, at, { bytes, durable: true });
    this.#kept = kept;
  }
}

function encode(kept: Kept, crc32c: Crc32c): Uint8Array {
  const body = JSON.stringify(kept);
  return new TextEncoder().encode(`${crc32c(new TextEncoder().encode(body))}\n${body}`);
}

function decode(bytes: Uint8Array, crc32c: Crc32c): Kept | null {
  const text = new TextDecoder().decode(bytes);
  const at = text.indexOf("\n");
  const body = text.slice(at + 1);
  if (text.slice(0, at) !== String(crc32c(new TextEncoder().encode(body)))) return null;
  return JSON.parse(body) as Kept;
}
