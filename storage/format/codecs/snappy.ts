// Owns Snappy: raw blocks (github.com/google/snappy format_description.txt) and the xerial framing of Kafka's Java clients.
// Refuses Snappy's own framing format, which Kafka does not use. Written framed, read in both forms.
// Invariant: the length a block claims is checked, against the limit and against its size, before memory is taken.
import type { Codec } from "../compression.ts";
import { corruptBatch } from "../record_batch.ts";
import { copyLiterals, copyRepeat } from "./copies.ts";
import { findMatches, MAX_BLOCK_BYTES } from "./lz_matches.ts";

/** Magic, then version 1 and lowest compatible version 1, as xerial's SnappyOutputStream writes them. */
const XERIAL_HEADER = [0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0, 0, 0, 0, 1, 0, 0, 0, 1];
const XERIAL_MAGIC_BYTES = 8;
const XERIAL_BLOCK_BYTES = 32_768;
/** No element makes more of its bytes: a copy of 3 bytes gives 64. */
const MAX_RATIO = 22;
const MAX_COPY_BYTES = 64;

export const snappy: Codec = {
  compress(bytes) {
    const packed = new Uint8Array(framedBound(bytes.length));
    packed.set(XERIAL_HEADER);
    let at = XERIAL_HEADER.length;
    for (let start = 0; start < bytes.length; start += XERIAL_BLOCK_BYTES) {
      const end = Math.min(bytes.length, start + XERIAL_BLOCK_BYTES);
      const blockEnd = writeBlock(bytes.subarray(start, end), packed, at + 4);
      new DataView(packed.buffer).setInt32(at, blockEnd - at - 4);
      at = blockEnd;
    }
    return packed.slice(0, at);
  },
  decompress(bytes, maxBytes) {
    const blocks = isXerial(bytes) ? xerialBlocks(bytes) : [bytes];
    let total = 0;
    for (const block of blocks) {
      total += lengthOf(block).length;
      if (total > maxBytes) {
        throw corruptBatch(`snappy data holds ${total} bytes or more, at most ${maxBytes} may be`, {
          maxDecompressedBytes: maxBytes,
        });
      }
    }
    const plain = new Uint8Array(total);
    let at = 0;
    for (const block of blocks) at = readBlock(block, plain, at);
    return plain;
  },
};

/** One raw block of any size below 64 KiB, as clients without framing write it. */
export function snappyBlock(bytes: Uint8Array): Uint8Array {
  if (bytes.length > MAX_BLOCK_BYTES) throw new Error(`a block of ${bytes.length} bytes`);
  const packed = new Uint8Array(blockBound(bytes.length));
  return packed.slice(0, writeBlock(bytes, packed, 0));
}

function blockBound(sizeBytes: number): number {
  return 32 + sizeBytes + Math.ceil(sizeBytes / 6);
}

function framedBound(sizeBytes: number): number {
  const blocks = Math.ceil(sizeBytes / XERIAL_BLOCK_BYTES);
  return XERIAL_HEADER.length + blocks * (4 + blockBound(XERIAL_BLOCK_BYTES));
}

function isXerial(bytes: Uint8Array): boolean {
  for (let index = 0; index < XERIAL_MAGIC_BYTES; index++) {
    if (bytes[index] !== XERIAL_HEADER[index]) return false;
  }
  return true;
}

function xerialBlocks(bytes: Uint8Array): Uint8Array[] {
  if (bytes.length < XERIAL_HEADER.length) throw malformed("ends within its frame header");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const blocks: Uint8Array[] = [];
  for (let at = XERIAL_HEADER.length; at < bytes.length;) {
    const size = at + 4 <= bytes.length ? view.getInt32(at) : -1;
    // An empty block is not written by anyone, and would let a small input ask for very many.
    if (size < 1 || at + 4 + size > bytes.length) throw malformed(`has a block of ${size} bytes`);
    blocks.push(bytes.subarray(at + 4, at + 4 + size));
    at += 4 + size;
  }
  return blocks;
}

/** Length of the data in a block, and where its elements start. */
function lengthOf(block: Uint8Array): { length: number; at: number } {
  let length = 0;
  for (let at = 0; at < 5 && at < block.length; at++) {
    const byte = block[at]!;
    length += (byte & 127) * 2 ** (7 * at);
    if (byte > 127) continue;
    if (length > block.length * MAX_RATIO) throw malformed(`claims ${length} bytes, too many`);
    return { length, at: at + 1 };
  }
  throw malformed("has no length");
}

/** Puts the data of `block` at `start` of `plain`, which has room for it; returns where it ends. */
function readBlock(block: Uint8Array, plain: Uint8Array, start: number): number {
  const { length, at: elementsAt } = lengthOf(block);
  const end = start + length;
  let from = elementsAt;
  let at = start;
  while (from < block.length) {
    const tag = block[from++]!;
    if ((tag & 3) === 0) {
      let count = (tag >>> 2) + 1;
      if (count > 60) {
        const extra = count - 60;
        count = littleEndian(block, from, extra) + 1;
        from += extra;
      }
      if (from + count > block.length || at + count > end) {
        throw malformed("has an overlong literal");
      }
      copyLiterals(block, plain, { fromAt: from, toAt: at, count });
      from += count;
      at += count;
      continue;
    }
    const near = (tag & 3) === 1;
    const distanceBytes = near ? 1 : (tag & 3) === 2 ? 2 : 4;
    const count = near ? ((tag >>> 2) & 7) + 4 : (tag >>> 2) + 1;
    const distance = littleEndian(block, from, distanceBytes) + (near ? (tag >>> 5) * 256 : 0);
    from += distanceBytes;
    if (distance === 0 || distance > at - start || at + count > end) {
      throw malformed("has an impossible copy");
    }
    copyRepeat(plain, at, { distance, length: count });
    at += count;
  }
  if (at !== end) throw malformed(`gives ${at - start} bytes where it claims ${length}`);
  return end;
}

function littleEndian(bytes: Uint8Array, at: number, count: number): number {
  if (at + count > bytes.length) throw malformed("ends within an element");
  let value = 0;
  for (let index = count - 1; index >= 0; index--) value = value * 256 + bytes[at + index]!;
  return value;
}

/** Writes `bytes` as one block at `start` of `packed`; returns where it ends. */
function writeBlock(bytes: Uint8Array, packed: Uint8Array, start: number): number {
  let at = start;
  let rest = bytes.length;
  for (; rest > 127; rest >>>= 7) packed[at++] = rest | 128;
  packed[at++] = rest;
  const literalsAt = findMatches(bytes, { start: 0, end: bytes.length }, (from, to, repeat) => {
    at = writeLiterals(bytes.subarray(from, to), packed, at);
    at = writeCopies(packed, at, repeat);
  });
  return writeLiterals(bytes.subarray(literalsAt), packed, at);
}

function writeLiterals(literals: Uint8Array, packed: Uint8Array, start: number): number {
  const last = literals.length - 1;
  let at = start;
  if (last < 0) return at;
  if (last < 60) {
    packed[at++] = last << 2;
  } else if (last < 256) {
    packed[at++] = 60 << 2;
    packed[at++] = last;
  } else {
    packed[at++] = 61 << 2;
    packed[at++] = last;
    packed[at++] = last >> 8;
  }
  copyLiterals(literals, packed, { fromAt: 0, toAt: at, count: literals.length });
  return at + literals.length;
}

function writeCopies(
  packed: Uint8Array,
  start: number,
  repeat: { distance: number; length: number },
): number {
  const { distance } = repeat;
  let at = start;
  for (let left = repeat.length; left > 0;) {
    const count = Math.min(left, MAX_COPY_BYTES);
    if (count >= 4 && count < 12 && distance < 2_048) {
      packed[at++] = 1 | ((count - 4) << 2) | ((distance >> 8) << 5);
      packed[at++] = distance;
    } else {
      packed[at++] = 2 | ((count - 1) << 2);
      packed[at++] = distance;
      packed[at++] = distance >> 8;
    }
    left -= count;
  }
  return at;
}

function malformed(what: string): Error {
  return corruptBatch(`snappy data ${what}`);
}
