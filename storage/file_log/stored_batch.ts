// Owns the check whether bytes on disk are the batch that belongs there.
// Refuses to own trust in what clients send (format/validate.ts) and what follows from a fault (recovery.ts, reading).
// Invariant: every header field outside of the CRC (guard, base offset, length, epoch, magic) is checked against what is
// known, so that no flipped bit anywhere in a batch passes.
import {
  crcMatches,
  HEADER_BYTES,
  lastOffsetDeltaAt,
  leaderEpochAt,
  MAGIC,
  sizeBytesAt,
} from "../format/record_batch.ts";
import type { Crc32c } from "../ports.ts";
import { guardFits, storedBaseOffset } from "./guard_byte.ts";

export const AT_MAGIC = 16;

/** What must be true of a batch at some place. */
export interface ExpectedBatch {
  readonly baseOffset: number;
  /** Least epoch it may carry; epochs never fall along a log. */
  readonly leaderEpoch: number;
}

/**
 * What is wrong with the header of the batch at `at`, null when nothing is; at least 61 bytes must be there.
 * The CRC is left to `bodyFault`.
 */
export function headerFault(bytes: Uint8Array, at: number, expected: ExpectedBatch): string | null {
  const baseOffset = storedBaseOffset(bytes, at);
  if (baseOffset !== expected.baseOffset) {
    return `base offset is ${baseOffset}, not ${expected.baseOffset}`;
  }
  if (bytes[at + AT_MAGIC] !== MAGIC) return `magic is ${bytes[at + AT_MAGIC]}, not ${MAGIC}`;
  const sizeBytes = sizeBytesAt(bytes, at);
  if (sizeBytes < HEADER_BYTES) return `length ${sizeBytes} is below that of a header`;
  if (!guardFits(bytes, at)) return "guard byte and leader epoch do not fit";
  const leaderEpoch = leaderEpochAt(bytes, at);
  if (leaderEpoch < expected.leaderEpoch) {
    return `leader epoch ${leaderEpoch} is below ${expected.leaderEpoch}`;
  }
  return null;
}

/** What is wrong with the rest of the batch at `at`, whose header is in order; null when nothing is. */
export function bodyFault(bytes: Uint8Array, at: number, crc32c: Crc32c): string | null {
  if (at + sizeBytesAt(bytes, at) > bytes.length) return "the batch is cut off";
  if (!crcMatches(bytes, at, crc32c)) return "CRC does not match";
  return lastOffsetDeltaAt(bytes, at) < 0 ? "last offset is before the first" : null;
}
