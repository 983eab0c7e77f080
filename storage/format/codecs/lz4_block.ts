// Owns LZ4 blocks (lz4_Block_format.md): sequences of literals and a repeat.
// Refuses to own frames, checksums and memory: it reads and writes buffers it is given.
// Invariant: nothing is written at or past the limit, nothing read from before the window.
import { corruptBatch } from "../record_batch.ts";
import { copyLiterals, copyRepeat } from "./copies.ts";
import { findMatches, MIN_MATCH_BYTES } from "./lz_matches.ts";

/** No byte of a block gives more: a length byte of 255. */
export const MAX_RATIO = 255;
const NIBBLE_MAX = 15;

/** Most bytes that `sizeBytes` can take as a block. */
export function blockBound(sizeBytes: number): number {
  return sizeBytes + Math.ceil(sizeBytes / 255) + 16;
}

/** Writes `bytes`, at most 64 KiB, as one block at `start` of `packed`; returns where it ends. */
export function writeBlock(bytes: Uint8Array, packed: Uint8Array, start: number): number {
  let at = start;
  const literalsAt = findMatches(bytes, { start: 0, end: bytes.length }, (from, to, repeat) => {
    const extra = repeat.length - MIN_MATCH_BYTES;
    at = writeLiterals(bytes.subarray(from, to), packed, { at, low: Math.min(extra, NIBBLE_MAX) });
    packed[at++] = repeat.distance;
    packed[at++] = repeat.distance >> 8;
    at = writeLength(packed, at, extra);
  });
  return writeLiterals(bytes.subarray(literalsAt), packed, { at, low: 0 });
}

function writeLiterals(
  literals: Uint8Array,
  packed: Uint8Array,
  token: { at: number; low: number },
): number {
  const count = literals.length;
  packed[token.at] = (Math.min(count, NIBBLE_MAX) << 4) | token.low;
  const at = writeLength(packed, token.at + 1, count);
  copyLiterals(literals, packed, { fromAt: 0, toAt: at, count });
  return at + count;
}

/** What of a length does not fit into its half of the token. */
function writeLength(packed: Uint8Array, start: number, length: number): number {
  let at = start;
  let rest = length - NIBBLE_MAX;
  if (rest < 0) return at;
  for (; rest >= 255; rest -= 255) packed[at++] = 255;
  packed[at++] = rest;
  return at;
}

/**
 * Puts the data of `block` at `to.at` of `plain` and returns where it ends, or -1 where it would pass `to.limit`.
 * Repeats reach back to `to.windowStart` at most. Throws CORRUPT_BATCH.
 */
export function readBlock(
  block: Uint8Array,
  plain: Uint8Array,
  to: { at: number; limit: number; windowStart: number },
): number {
  let { at } = to;
  let from = 0;
  while (from < block.length) {
    const token = block[from++]!;
    let count = token >>> 4;
    if (count === NIBBLE_MAX) {
      let byte = 255;
      for (; byte === 255 && from < block.length; count += byte) byte = block[from++]!;
    }
    if (from + count > block.length) throw malformed("has literals that overrun");
    if (at + count > to.limit) return -1;
    copyLiterals(block, plain, { fromAt: from, toAt: at, count });
    from += count;
    at += count;
    if (from === block.length) return at;
    if (from + 2 > block.length) throw malformed("ends within a sequence");
    const distance = block[from]! | (block[from + 1]! << 8);
    from += 2;
    let length = token & NIBBLE_MAX;
    if (length === NIBBLE_MAX) {
      let byte = 255;
      for (; byte === 255 && from < block.length; length += byte) byte = block[from++]!;
    }
    length += MIN_MATCH_BYTES;
    if (distance === 0 || distance > at - to.windowStart) {
      throw malformed("repeats what is not there");
    }
    if (at + length > to.limit) return -1;
    copyRepeat(plain, at, { distance, length });
    at += length;
  }
  throw malformed("has a block without end");
}

function malformed(what: string): Error {
  return corruptBatch(`lz4 data ${what}`);
}
