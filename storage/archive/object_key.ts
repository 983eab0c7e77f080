// Owns the names of archived objects, and what an object is known by: its offsets, size, newest timestamp and checksum.
// Refuses to own the list of them (archive_index.ts) and their bytes.
// Invariant: a key says all there is to know of its object but the size, so that a listing alone can stand in for a lost index.

/** One object: whole record batches, concatenated, that hold [baseOffset, endOffset). */
export interface ArchiveEntry {
  readonly baseOffset: number;
  readonly endOffset: number;
  readonly sizeBytes: number;
  /** ms; -1 when no record has a time. */
  readonly maxTimestamp: number;
  /** CRC-32C of all bytes. */
  readonly crc: number;
}

const OFFSET_DIGITS = 16;
const TIME_DIGITS = 16;
const CRC_DIGITS = 8;
const SUFFIX = ".batches";
const NAME = /^(\d{16})-(\d{16})-(\d{16})-([0-9a-f]{8})\.batches$/;

/** Below this lies everything that was archived of the log `name`. */
export function logPrefix(name: string): string {
  return `${name}/`;
}

/** Key of `entry` of the log `name`. In order of keys objects are in order of offsets. */
export function objectKey(name: string, entry: Omit<ArchiveEntry, "sizeBytes">): string {
  const { baseOffset, endOffset, maxTimestamp, crc } = entry;
  const digits = (value: number, count: number) => String(value).padStart(count, "0");
  // A time of -1 has no place in a number without sign.
  const time = digits(maxTimestamp + 1, TIME_DIGITS);
  const checksum = crc.toString(16).padStart(CRC_DIGITS, "0");
  return `${logPrefix(name)}${digits(baseOffset, OFFSET_DIGITS)}-${
    digits(endOffset, OFFSET_DIGITS)
  }-${time}-${checksum}${SUFFIX}`;
}

/** What the object under `key` of the log `name` is; null for a key of something else. */
export function entryOfKey(
  name: string,
  object: { key: string; sizeBytes: number },
): ArchiveEntry | null {
  if (!object.key.startsWith(logPrefix(name))) return null;
  const parts = NAME.exec(object.key.slice(logPrefix(name).length));
  if (parts === null) return null;
  return {
    baseOffset: Number(parts[1]),
    endOffset: Number(parts[2]),
    sizeBytes: object.sizeBytes,
    maxTimestamp: Number(parts[3]) - 1,
    crc: parseInt(parts[4]!, 16),
  };
}
