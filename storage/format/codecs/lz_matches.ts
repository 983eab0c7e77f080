// Owns finding repeats in a block of bytes (greedy LZ77), for the formats that write them down: LZ4 and Snappy.
// Refuses to own how they are written, and to look further back than one block of at most 64 KiB.
// Invariant: every match is real, starts at least 12 bytes and ends at least 5 bytes before the end, as LZ4 demands.

export const MAX_BLOCK_BYTES = 65_536;
export const MIN_MATCH_BYTES = 4;
const LAST_START_BYTES = 12;
const LAST_LITERAL_BYTES = 5;
const TABLE_BITS = 14;
/** After 2^5 misses in a row every second position is tried, then every third: data that has no repeats costs little. */
const SKIP_SHIFT = 5;
const HASH_MULTIPLIER = 0x9e3779b1;

/** Last position in the block, from its start, at which four bytes of that hash were seen. */
const seenAt = new Uint16Array(1 << TABLE_BITS);

/** Gets the literals `[literalsAt, matchAt)` and that `length` bytes from `matchAt` repeat those `distance` before. */
export type OnMatch = (
  literalsAt: number,
  matchAt: number,
  repeat: { distance: number; length: number },
) => void;

/** Calls `onMatch` in order for the repeats in `bytes` from `start` to `end`; returns where the last literals start. */
export function findMatches(
  bytes: Uint8Array,
  block: { start: number; end: number },
  onMatch: OnMatch,
): number {
  const { start, end } = block;
  const matchEnd = end - LAST_LITERAL_BYTES;
  const repeat = { distance: 0, length: 0 };
  let literalsAt = start;
  let misses = 1 << SKIP_SHIFT;
  seenAt.fill(0);
  for (let at = start + 1; at <= end - LAST_START_BYTES;) {
    const word = wordAt(bytes, at);
    const slot = Math.imul(word, HASH_MULTIPLIER) >>> (32 - TABLE_BITS);
    const candidate = start + seenAt[slot]!;
    seenAt[slot] = at - start;
    if (wordAt(bytes, candidate) !== word) {
      at += misses++ >> SKIP_SHIFT;
      continue;
    }
    let matched = MIN_MATCH_BYTES;
    while (at + matched < matchEnd && bytes[at + matched] === bytes[candidate + matched]) matched++;
    repeat.distance = at - candidate;
    repeat.length = matched;
    onMatch(literalsAt, at, repeat);
    at += matched;
    literalsAt = at;
    misses = 1 << SKIP_SHIFT;
  }
  return literalsAt;
}

function wordAt(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}
