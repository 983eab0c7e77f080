// Owns Snappy: raw blocks (github.com/google/snappy format_description.txt) and the xerial framing of Kafka's Java clients.
// Refuses Snappy's own framing format, which Kafka does not use. Written framed, read in both forms.
// Invariant: the length a block claims is checked, against the limit and against its size, before memory is taken.
import type { Codec } from "../compression.ts";
import { corruptBatch } from "../record_batch.ts";
import { findMatches } from "./lz_matches.ts";
import { Output } from "./output.ts";

/** Magic, then version 1 and lowest compatible version 1, as xerial's SnappyOutputStream writes them. */
const XERIAL_HEADER = [0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0, 0, 0, 0, 1, 0, 0, 0, 1];
const XERIAL_MAGIC_BYTES = 8;
const XERIAL_BLOCK_BYTES = 32_768;
/** No element makes more of its bytes: a copy of 3 bytes gives 64. */
const MAX_RATIO = 22;
const MAX_COPY_BYTES = 64;
/** Longer literals have their length behind the tag. */
const MAX_SHORT_LITERAL_BYTES = 60;

export const snappy: Codec = {
  compress(bytes) {
    const packed = new Uint8Array(framedBound(bytes.length));
    packed.set(XERIAL_HEADER);
    const view = new DataView(packed.buffer);
    const output = new Output(packed, XERIAL_HEADER.length);
    for (let start = 0; start < bytes.length; start += XERIAL_BLOCK_BYTES) {
      const dataAt = output.at + 4;
      output.at = dataAt;
      const end = Math.min(bytes.length, start + XERIAL_BLOCK_BYTES);
      writeBlock(bytes, { start, end }, output);
      view.setInt32(dataAt - 4, output.at - dataAt);
    }
    return packed.slice(0, output.at);
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
    const output = new Output(new Uint8Array(total), 0);
    for (const block of blocks) readBlock(block, output);
    return output.bytes;
  },
};

/** One raw block of at most 64 KiB, as clients without framing write it. */
export function snappyBlock(bytes: Uint8Array): Uint8Array {
  const output = new Output(new Uint8Array(blockBound(bytes.length)), 0);
  writeBlock(bytes, { start: 0, end: bytes.length }, output);
  return output.bytes.slice(0, output.at);
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

/** Appends the data of `block` to `output`, which has room for it. */
function readBlock(block: Uint8Array, output: Output): void {
  const { length, at: elementsAt } = lengthOf(block);
  const start = output.at;
  const end = start + length;
  let from = elementsAt;
  while (from < block.length) {
    const tag = block[from++]!;
    const kind = tag & 3;
    if (kind === 0) {
      let count = (tag >>> 2) + 1;
      if (count > MAX_SHORT_LITERAL_BYTES) {
        const extra = count - MAX_SHORT_LITERAL_BYTES;
        count = littleEndian(block, from, extra) + 1;
        from += extra;
      }
      if (from + count > block.length || output.at + count > end) {
        throw malformed("has an overlong literal");
      }
      output.copy(block, from, from + count);
      from += count;
      continue;
    }
    const count = kind === 1 ? ((tag >>> 2) & 7) + 4 : (tag >>> 2) + 1;
    const distanceBytes = kind === 3 ? 4 : kind;
    const high = kind === 1 ? (tag >>> 5) * 256 : 0;
    const distance = high + littleEndian(block, from, distanceBytes);
    from += distanceBytes;
    if (distance === 0 || distance > output.at - start || output.at + count > end) {
      throw malformed("has an impossible copy");
    }
    output.repeat(distance, count);
  }
  if (output.at !== end) throw malformed(`gives ${output.at - start} bytes, it claims ${length}`);
}

function littleEndian(bytes: Uint8Array, at: number, count: number): number {
  if (at + count > bytes.length) throw malformed("ends within an element");
  let value = bytes[at]!;
  if (count > 1) value |= bytes[at + 1]! << 8;
  if (count > 2) value |= bytes[at + 2]! << 16;
  if (count > 3) value |= bytes[at + 3]! << 24;
  return value >>> 0;
}

/** Writes the `span` of `bytes`, at most 64 KiB, as one block. */
function writeBlock(
  bytes: Uint8Array,
  span: { start: number; end: number },
  output: Output,
): void {
  const { start, end } = span;
  let rest = end - start;
  for (; rest > 127; rest >>>= 7) output.byte(rest | 128);
  output.byte(rest);
  const matches = findMatches(bytes, start, end);
  let literalsAt = start;
  for (let index = 0; index < matches.count; index++) {
    const matchAt = matches.at[index]!;
    const length = matches.length[index]!;
    writeLiteralTag(output, matchAt - literalsAt);
    output.copy(bytes, literalsAt, matchAt);
    writeCopies(output, matches.distance[index]!, length);
    literalsAt = matchAt + length;
  }
  writeLiteralTag(output, end - literalsAt);
  output.copy(bytes, literalsAt, end);
}

function writeLiteralTag(output: Output, count: number): void {
  if (count === 0) return;
  if (count <= MAX_SHORT_LITERAL_BYTES) {
    output.byte((count - 1) << 2);
  } else if (count <= 256) {
    output.byte(MAX_SHORT_LITERAL_BYTES << 2);
    output.byte(count - 1);
  } else {
    output.byte((MAX_SHORT_LITERAL_BYTES + 1) << 2);
    output.uint16(count - 1);
  }
}

function writeCopies(output: Output, distance: number, length: number): void {
  for (let left = length; left > 0;) {
    const count = Math.min(left, MAX_COPY_BYTES);
    if (count >= 4 && count < 12 && distance < 2_048) {
      output.byte(1 | ((count - 4) << 2) | ((distance >> 8) << 5));
      output.byte(distance);
    } else {
      output.byte(2 | ((count - 1) << 2));
      output.uint16(distance);
    }
    left -= count;
  }
}

function malformed(what: string): Error {
  return corruptBatch(`snappy data ${what}`);
}
