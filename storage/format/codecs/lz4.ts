// Owns LZ4 frames (lz4_Frame_format.md 1.6.3): one frame a batch, written as Kafka's Java client does.
// Refuses dictionaries, skippable frames and more than one frame: no Kafka client writes them. Blocks: lz4_block.ts.
// Invariant: output grows only as far as the input read so far and the limit allow; every checksum present is checked.
import type { Codec } from "../compression.ts";
import { corruptBatch } from "../record_batch.ts";
import { blockBound, MAX_RATIO, readBlock, writeBlock } from "./lz4_block.ts";
import { MAX_BLOCK_BYTES } from "./lz_matches.ts";
import { Output } from "./output.ts";
import { xxh32 } from "./xxh32.ts";

const MAGIC = 0x184d2204;
const VERSION_MASK = 0xc0;
const VERSION_1 = 0x40;
const INDEPENDENT_BIT = 0x20;
const BLOCK_CHECKSUM_BIT = 0x10;
const CONTENT_SIZE_BIT = 0x08;
const CONTENT_CHECKSUM_BIT = 0x04;
/** One reserved, one for a dictionary. */
const REFUSED_BITS = 0x03;
const BLOCK_64_KIB = 0x40;
const RAW_BIT = 0x80000000;

export const lz4: Codec = {
  compress(bytes) {
    const blocks = Math.ceil(bytes.length / MAX_BLOCK_BYTES);
    const packed = new Uint8Array(11 + blocks * (4 + blockBound(MAX_BLOCK_BYTES)));
    const view = new DataView(packed.buffer);
    view.setUint32(0, MAGIC, true);
    packed[4] = VERSION_1 | INDEPENDENT_BIT;
    packed[5] = BLOCK_64_KIB;
    packed[6] = xxh32(packed.subarray(4, 6)) >>> 8;
    const output = new Output(packed, 7);
    for (let start = 0; start < bytes.length; start += MAX_BLOCK_BYTES) {
      const end = Math.min(bytes.length, start + MAX_BLOCK_BYTES);
      const dataAt = output.at + 4;
      output.at = dataAt;
      writeBlock(bytes, { start, end }, output);
      const raw = output.at - dataAt >= end - start;
      if (raw) {
        output.at = dataAt;
        output.copy(bytes, start, end);
      }
      view.setUint32(dataAt - 4, (raw ? RAW_BIT : 0) + output.at - dataAt, true);
    }
    const { at } = output;
    view.setUint32(at, 0, true);
    return packed.slice(0, at + 4);
  },
  decompress(bytes, maxBytes) {
    return new FrameReader(bytes, maxBytes).read();
  },
};

class FrameReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #maxBytes: number;
  #from = 0;
  #output = new Output(new Uint8Array(0), 0);

  constructor(bytes: Uint8Array, maxBytes: number) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#maxBytes = maxBytes;
  }

  read(): Uint8Array {
    const { flags, maxBlockBytes, contentBytes } = this.#header();
    for (let size = this.#uint32(); size !== 0; size = this.#uint32()) {
      this.#block(size, maxBlockBytes, flags);
    }
    const plain = this.#output.bytes.subarray(0, this.#output.at);
    if (contentBytes !== null && contentBytes !== plain.length) {
      throw malformed(`gives ${plain.length} bytes where it claims ${contentBytes}`);
    }
    if (flags & CONTENT_CHECKSUM_BIT && this.#uint32() !== xxh32(plain)) {
      throw malformed("has another content checksum");
    }
    if (this.#from !== this.#bytes.length) throw malformed("goes on after its end");
    return plain;
  }

  #header(): { flags: number; maxBlockBytes: number; contentBytes: number | null } {
    if (this.#uint32() !== MAGIC) throw malformed("is no frame");
    this.#need(2);
    const descriptorAt = this.#from;
    const flags = this.#bytes[this.#from++]!;
    const blockCode = this.#bytes[this.#from++]!;
    if ((flags & VERSION_MASK) !== VERSION_1 || flags & REFUSED_BITS) {
      throw malformed(`has flags 0x${flags.toString(16)}`);
    }
    if (blockCode < BLOCK_64_KIB || blockCode & 0x8f) throw malformed("has no known block size");
    const contentBytes = flags & CONTENT_SIZE_BIT
      ? this.#uint32() + this.#uint32() * 2 ** 32
      : null;
    if (contentBytes !== null && contentBytes > this.#maxBytes) throw tooLarge(this.#maxBytes);
    const checksum = xxh32(this.#bytes.subarray(descriptorAt, this.#from)) >>> 8 & 255;
    this.#need(1);
    if (this.#bytes[this.#from++] !== checksum) throw malformed("has another header checksum");
    return { flags, maxBlockBytes: 2 ** (8 + 2 * (blockCode >> 4)), contentBytes };
  }

  #block(sizeField: number, maxBlockBytes: number, flags: number): void {
    const raw = sizeField >= RAW_BIT;
    const size = raw ? sizeField - RAW_BIT : sizeField;
    if (size > maxBlockBytes) throw malformed(`has a block of ${size} bytes`);
    this.#need(size);
    const block = this.#bytes.subarray(this.#from, this.#from + size);
    this.#from += size;
    if (flags & BLOCK_CHECKSUM_BIT && this.#uint32() !== xxh32(block)) {
      throw malformed("has another block checksum");
    }
    const { at } = this.#output;
    const most = raw ? size : Math.min(maxBlockBytes, size * MAX_RATIO);
    const limit = Math.min(at + most, this.#maxBytes);
    this.#grow(limit);
    if (raw) {
      if (at + size > limit) throw tooLarge(limit);
      this.#output.copy(block, 0, size);
      return;
    }
    const windowStart = flags & INDEPENDENT_BIT ? at : 0;
    if (!readBlock(block, this.#output, { limit, windowStart })) {
      throw limit === this.#maxBytes ? tooLarge(limit) : malformed("overruns a block");
    }
  }

  #grow(neededBytes: number): void {
    const { bytes, at } = this.#output;
    if (neededBytes <= bytes.length) return;
    const doubled = Math.min(this.#maxBytes, bytes.length * 2);
    const output = new Output(new Uint8Array(Math.max(neededBytes, doubled)), 0);
    output.copy(bytes, 0, at);
    this.#output = output;
  }

  #uint32(): number {
    this.#need(4);
    this.#from += 4;
    return this.#view.getUint32(this.#from - 4, true);
  }

  #need(count: number): void {
    if (this.#from + count > this.#bytes.length) throw malformed("ends too early");
  }
}

function malformed(what: string): Error {
  return corruptBatch(`lz4 data ${what}`);
}

function tooLarge(maxBytes: number): Error {
  return corruptBatch(`lz4 data holds more than the ${maxBytes} bytes that may be`, {
    maxDecompressedBytes: maxBytes,
  });
}
