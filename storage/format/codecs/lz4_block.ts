// Owns LZ4 blocks (lz4_Block_format.md): sequences of literals and a repeat.
// Refuses to own frames, checksums and memory: it reads and writes buffers it is given.
// Invariant: nothing is written at or past the limit, nothing read from before the window.
import { corruptBatch } from "../record_batch.ts";
import { findMatches, MIN_MATCH_BYTES } from "./lz_matches.ts";
import type { Output } from "./output.ts";

/** No byte of a block gives more: a length byte of 255. */
export const MAX_RATIO = 255;
const NIBBLE_MAX = 15;

/** Most bytes that `sizeBytes` can take as a block. */
export function blockBound(sizeBytes: number): number {
  return sizeBytes + Math.ceil(sizeBytes / 255) + 16;
}

/** Writes the `span` of `bytes`, at most 64 KiB, as one block. */
export function writeBlock(
  bytes: Uint8Array,
  span: { start: number; end: number },
  output: Output,
): void {
  const { start, end } = span;
  const matches = findMatches(bytes, start, end);
  let literalsAt = start;
  for (let index = 0; index < matches.count; index++) {
    const matchAt = matches.at[index]!;
    const extra = matches.length[index]! - MIN_MATCH_BYTES;
    writeToken(output, matchAt - literalsAt, extra);
    output.copy(bytes, literalsAt, matchAt);
    output.uint16(matches.distance[index]!);
    writeLength(output, extra);
    literalsAt = matchAt + extra + MIN_MATCH_BYTES;
  }
  writeToken(output, end - literalsAt, 0);
  output.copy(bytes, literalsAt, end);
}

function writeToken(output: Output, literals: number, extra: number): void {
  output.byte((Math.min(literals, NIBBLE_MAX) << 4) | Math.min(extra, NIBBLE_MAX));
  writeLength(output, literals);
}

/** What of a length does not fit into its half of the token. */
function writeLength(output: Output, length: number): void {
  let rest = length - NIBBLE_MAX;
  if (rest < 0) return;
  for (; rest >= 255; rest -= 255) output.byte(255);
  output.byte(rest);
}

/**
 * Appends the data of `block` to `output`, and returns false where it would pass `bounds.limit`. Repeats reach back to
 * `bounds.windowStart` at most. Throws CORRUPT_BATCH.
 */
export function readBlock(
  block: Uint8Array,
  output: Output,
  bounds: { limit: number; windowStart: number },
): boolean {
  const { limit, windowStart } = bounds;
  let from = 0;
  while (from < block.length) {
    const token = block[from++]!;
    let literals = token >>> 4;
    if (literals === NIBBLE_MAX) {
      let byte = 255;
      for (; byte === 255 && from < block.length; literals += byte) byte = block[from++]!;
    }
    if (from + literals > block.length) throw malformed("has literals that overrun");
    if (output.at + literals > limit) return false;
    output.copy(block, from, from + literals);
    from += literals;
    if (from === block.length) return true;
    if (from + 2 > block.length) throw malformed("ends within a sequence");
    const distance = block[from]! | (block[from + 1]! << 8);
    from += 2;
    let length = (token & NIBBLE_MAX) + MIN_MATCH_BYTES;
    if (length === NIBBLE_MAX + MIN_MATCH_BYTES) {
      let byte = 255;
      for (; byte === 255 && from < block.length; length += byte) byte = block[from++]!;
    }
    if (distance === 0 || distance > output.at - windowStart) {
      throw malformed("repeats what is not there");
    }
    if (output.at + length > limit) return false;
    output.repeat(distance, length);
  }
  throw malformed("has a block without end");
}

function malformed(what: string): Error {
  return corruptBatch(`lz4 data ${what}`);
}
