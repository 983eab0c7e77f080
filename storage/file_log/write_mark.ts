// Owns the mark that tells recovery how far the log was durable when a write began.
// Refuses to own what recovery concludes from it (recovery.ts).
// Invariant: the mark exists on disk only. It lies in the top byte of the stored base offset, which is 0 for every offset
// below 2^56 and outside of what the CRC covers; it is taken off every batch that leaves the log.
//
// A batch is marked when, as its write began, everything before it in the log was durable. With durability "fsync" that
// is the first batch of every append; with "os" the first after each sync. So a whole marked batch behind an invalid
// place proves that the invalid place had been durable: it is corruption, not a write that a crash cut off.

/** Differs from 0 in four bits, so that no flipped bit makes or unmakes a mark unnoticed. */
const MARK = 0x5a;
const TWO_32 = 0x1_0000_0000;

export function putMark(bytes: Uint8Array, at: number): void {
  bytes[at] = MARK;
}

export function takeMark(bytes: Uint8Array, at: number): void {
  bytes[at] = 0;
}

export function isMarked(bytes: Uint8Array, at: number): boolean {
  return bytes[at] === MARK;
}

/** First place from `from` on that could be a marked batch, -1 when there is none. */
export function nextMark(bytes: Uint8Array, from: number): number {
  return bytes.indexOf(MARK, from);
}

/** Base offset of the stored batch at `at` without its mark; -1 when the top byte is neither mark nor 0. */
export function storedBaseOffset(bytes: Uint8Array, at: number): number {
  if (bytes[at] !== 0 && bytes[at] !== MARK) return -1;
  const high = (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
  const low = (bytes[at + 4]! << 24) | (bytes[at + 5]! << 16) | (bytes[at + 6]! << 8) |
    bytes[at + 7]!;
  return high * TWO_32 + (low >>> 0);
}
