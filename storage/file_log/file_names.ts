// Owns the names of what lies in a log's directory.
// Refuses to own what the files hold, and how topics and partitions are named.
// Invariant: no file name is a valid part of a log name, except the two reserved ones that no log may be called.

export const CHECKPOINT_FILE = "checkpoint";
export const LEADER_EPOCH_FILE = "leader-epoch-checkpoint";
/** Half-written files: worthless after a crash. */
export const TEMPORARY_SUFFIX = ".tmp";
/** A log that is being removed: what a crash leaves of it is removed later. */
export const REMOVED_SUFFIX = ".removed";

const OFFSET_DIGITS = 20;
const SEGMENT = /^(\d{20})\.log$/;
const SWAP = /^(\d{20})-(\d{20})\.swap$/;
const NAME_PART = /^[A-Za-z0-9_-]+$/;

/** Path without suffix of the segment that starts at `baseOffset`. */
function stem(directory: string, baseOffset: number): string {
  return `${directory}/${String(baseOffset).padStart(OFFSET_DIGITS, "0")}`;
}

export function segmentPath(directory: string, baseOffset: number): string {
  return `${stem(directory, baseOffset)}.log`;
}

export function offsetIndexPath(directory: string, baseOffset: number): string {
  return `${stem(directory, baseOffset)}.index`;
}

export function timeIndexPath(directory: string, baseOffset: number): string {
  return `${stem(directory, baseOffset)}.timeindex`;
}

/** Base offset of a segment file's name, null for any other name. */
export function baseOffsetOf(fileName: string): number | null {
  const digits = SEGMENT.exec(fileName)?.[1];
  return digits === undefined ? null : Number(digits);
}

/** A whole, durable segment that stands for all from `baseOffset` to `endOffset` and is to take their place. */
export function swapPath(directory: string, baseOffset: number, endOffset: number): string {
  return `${stem(directory, baseOffset)}-${String(endOffset).padStart(OFFSET_DIGITS, "0")}.swap`;
}

/** What a swap file's name says, null for any other name. */
export function swapRangeOf(fileName: string): { baseOffset: number; endOffset: number } | null {
  const [, base, end] = SWAP.exec(fileName) ?? [];
  if (base === undefined || end === undefined) return null;
  return { baseOffset: Number(base), endOffset: Number(end) };
}

/** Whether a directory that holds `names` is a log. */
export function isLogDirectory(names: readonly string[]): boolean {
  return names.some((name) => name === CHECKPOINT_FILE || baseOffsetOf(name) !== null);
}

/** Throws a plain Error for what is no log name: see LogStore. */
export function checkLogName(name: string): void {
  for (const part of name.split("/")) {
    if (!isNamePart(part)) throw new Error(`no log name: ${JSON.stringify(name)}`);
  }
}

/** Whether `part` may be a directory on the way to a log, or a log. */
export function isNamePart(part: string): boolean {
  return NAME_PART.test(part) && part !== CHECKPOINT_FILE && part !== LEADER_EPOCH_FILE;
}
