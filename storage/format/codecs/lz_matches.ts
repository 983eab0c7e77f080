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

/** The matches of one block in order: that `length` bytes at `at` repeat those `distance` before. */
export interface Matches {
  readonly count: number;
  readonly at: Int32Array;
  readonly length: Int32Array;
  readonly distance: Int32Array;
}

const MAX_MATCHES = MAX_BLOCK_BYTES / MIN_MATCH_BYTES;
/** Used again for every block: there are thousands of matches, and each lives for a moment. */
const found = {
  count: 0,
  at: new Int32Array(MAX_MATCHES),
  length: new Int32Array(MAX_MATCHES),
  distance: new Int32Array(MAX_MATCHES),
};

/** Matches in `bytes` from `start` to `end`, valid until the next call. Positions are those in `bytes`. */
export function findMatches(bytes: Uint8Array, start: number, end: number): Matches {
  if (end - start > MAX_BLOCK_BYTES) throw new Error(`a block of ${end - start} bytes`);
  const lastStart = end - LAST_START_BYTES;
  const matchEnd = end - LAST_LITERAL_BYTES;
  let count = 0;
  let misses = 1 << SKIP_SHIFT;
  seenAt.fill(0);
  for (let at = start + 1; at <= lastStart;) {
    const word = wordAt(bytes, at);
    const slot = Math.imul(word, HASH_MULTIPLIER) >>> (32 - TABLE_BITS);
    const candidate = start + seenAt[slot]!;
    seenAt[slot] = at - start;
    if (wordAt(bytes, candidate) !== word) {
      at += misses++ >> SKIP_SHIFT;
      continue;
    }
    let matched = at + MIN_MATCH_BYTES;
    const distance = at - candidate;
    while (matched < matchEnd && bytes[matched] === bytes[matched - distance]) matched++;
    found.at[count] = at;
    found.length[count] = matched - at;
    found.distance[count++] = distance;
    at = matched;
    misses = 1 << SKIP_SHIFT;
  }
  found.count = count;
  return found;
}

function wordAt(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}
