// Owns the guard byte of stored batches: what it says of the write it was part of, and of the leader epoch.
// Refuses to own what recovery concludes from it (recovery_scan.ts).
// Invariant: it exists on disk only, in the top byte of the stored base offset, which is 0 for every offset below 2^56
// and lies outside of what the CRC covers. It is taken off every batch that leaves the log.
//
// Top bit, the mark: when the write of this batch began, everything before it in the log was durable. With durability
// "fsync" that is the first batch of every append; with "os" the first after each sync. So a whole marked batch behind
// an invalid place proves that the place had been durable: it is corruption, not a write that a crash cut off.
// Other seven bits: a fold of the leader epoch, the one field that neither the CRC nor a known value covers when a log is
// recovered. Every single flipped bit in the epoch or in this byte shows.
import { leaderEpochAt } from "../format/record_batch.ts";

const MARK = 0x80;
const CHECK_MASK = 0x7f;
/** Told into the fold of marked batches, so that a flipped mark does not match its fold. */
const MARKED_FOLD = 0x55;
const TWO_32 = 0x1_0000_0000;

/** Guards the batch at `at`, whose epoch is in place, for writing. */
export function putGuard(bytes: Uint8Array, at: number, options: { marked: boolean }): void {
  bytes[at] = guardOf(leaderEpochAt(bytes, at), options.marked);
}

/** Makes the batch what it was before `putGuard`. */
export function takeGuard(bytes: Uint8Array, at: number): void {
  bytes[at] = 0;
}

export function isMarked(bytes: Uint8Array, at: number): boolean {
  return (bytes[at]! & MARK) !== 0;
}

/** Whether the guard byte of the batch at `at` fits its epoch. */
export function guardFits(bytes: Uint8Array, at: number): boolean {
  return bytes[at] === guardOf(leaderEpochAt(bytes, at), isMarked(bytes, at));
}

/** Base offset of the stored batch at `at`; may be beyond 2^53 for bytes that are no batch. */
export function storedBaseOffset(bytes: Uint8Array, at: number): number {
  const high = (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
  const low = (bytes[at + 4]! << 24) | (bytes[at + 5]! << 16) | (bytes[at + 6]! << 8) |
    bytes[at + 7]!;
  return high * TWO_32 + (low >>> 0);
}

function guardOf(leaderEpoch: number, marked: boolean): number {
  const fold = leaderEpoch ^ (leaderEpoch >>> 7) ^ (leaderEpoch >>> 14) ^ (leaderEpoch >>> 21) ^
    (leaderEpoch >>> 28);
  return marked ? MARK | ((fold ^ MARKED_FOLD) & CHECK_MASK) : fold & CHECK_MASK;
}
