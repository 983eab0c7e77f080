// Owns the codecs by themselves: formats of others, bombs, malformed input.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { constants, zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import kafkajsSnappy from "kafkajs-snappy";
import lz4js from "lz4js";
import { allCodecs } from "../storage/format/all_codecs.ts";
import { snappyBlock } from "../storage/format/codecs/snappy.ts";
import { xxh32 } from "../storage/format/codecs/xxh32.ts";
import type { Codec } from "../storage/format/compression.ts";
import { codeOf } from "./support/format_samples.ts";

const CODECS = Object.entries(allCodecs) as [string, Codec][];
const MEBIBYTE = 1_048_576;

/** Bytes with and without repeats, short and over several blocks. */
const data = fc.oneof(
  fc.uint8Array({ maxLength: 300 }),
  fc.uint8Array({ maxLength: 300, max: 3 }),
  fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 40 }), fc.integer({ min: 1, max: 200_000 }))
    .map(([unit, size]) => Uint8Array.from({ length: size }, (_, at) => unit[at % unit.length]!)),
  fc.tuple(fc.integer({ min: 30_000, max: 140_000 }), fc.nat())
    .map(([size, seed]) => scrambled(size, seed)),
);

/** Text-like bytes: some of it repeats, some does not. */
function scrambled(size: number, seed: number): Uint8Array {
  let state = seed | 1;
  return Uint8Array.from({ length: size }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    return (state >>> 30) === 0 ? state >>> 16 : 97 + (state >>> 29);
  });
}

for (const [name, codec] of CODECS) {
  Deno.test(`${name} gives back what it was given, and not a byte more than allowed`, () => {
    fc.assert(
      fc.property(data, (bytes) => {
        const packed = codec.compress(bytes);
        assert.ok(Buffer.from(codec.decompress(packed, bytes.length)).equals(bytes));
        if (bytes.length > 0) {
          const code = codeOf(() => codec.decompress(packed, bytes.length - 1));
          assert.equal(code, "CORRUPT_BATCH");
        }
      }),
      { numRuns: 60 },
    );
  });

  Deno.test(`${name} refuses a bomb without taking its memory`, () => {
    const bomb = codec.compress(new Uint8Array(64 * MEBIBYTE));
    const before = Deno.memoryUsage();
    const started = before.external + before.heapUsed;
    assert.throws(() => codec.decompress(bomb, 1_000), {
      code: "CORRUPT_BATCH",
      message: /1000/,
    });
    const after = Deno.memoryUsage();
    assert.ok(after.external + after.heapUsed - started < 4 * MEBIBYTE);
  });

  Deno.test(`${name} answers malformed data with nothing but CORRUPT_BATCH or bounded bytes`, () => {
    const packed = codec.compress(scrambled(3_000, 5));
    const spoiled = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.nat(packed.length - 1).map((end) => packed.slice(0, end)),
      fc.tuple(fc.nat(packed.length - 1), fc.integer({ min: 1, max: 255 }), fc.nat(3)).map(
        ([at, mask, more]) => {
          const copy = packed.slice();
          for (let index = at; index <= at + more && index < copy.length; index++) {
            copy[index]! ^= mask;
          }
          return copy;
        },
      ),
    );
    fc.assert(
      fc.property(spoiled, (bytes) => {
        try {
          assert.ok(codec.decompress(bytes, 5_000).length <= 5_000);
        } catch (error) {
          assert.equal((error as { code?: string }).code, "CORRUPT_BATCH", String(error));
        }
      }),
      { numRuns: 500 },
    );
  });
}

Deno.test("snappy is read raw and framed, and written framed as Java's clients do", async () => {
  const other = kafkajsSnappy();
  for (const size of [1, 100, 40_000, 200_000]) {
    const bytes = Buffer.from(scrambled(size, 9));
    const raw = await other.compress({ buffer: bytes });
    assert.ok(bytes.equals(allCodecs.snappy.decompress(raw, size)));
    const framed = Buffer.from(allCodecs.snappy.compress(bytes));
    assert.equal(framed.toString("hex", 0, 16), "82534e41505059000000000100000001");
    assert.ok(bytes.equals(await other.decompress(framed)));
    const block = bytes.subarray(0, 65_536);
    assert.ok(block.equals(await other.decompress(Buffer.from(snappyBlock(block)))));
  }
});

Deno.test("snappy refuses a length that its data cannot make, before taking memory for it", () => {
  const claim = (mebibytes: number) => {
    const bytes = [0, 0];
    for (let rest = mebibytes * MEBIBYTE; rest > 0; rest = Math.floor(rest / 128)) {
      bytes.splice(-2, 0, rest % 128 + (rest > 127 ? 128 : 0));
    }
    return Uint8Array.from(bytes);
  };
  const run = () => allCodecs.snappy.decompress(claim(512), 1_024 * MEBIBYTE);
  assert.throws(run, { code: "CORRUPT_BATCH", message: /too many/ });
});

Deno.test("snappy refuses a block that gives other than it claims, and copies from before its start", () => {
  const blocks = {
    "too few": [10, 4 << 2, 1, 2, 3, 4, 5],
    "too many": [4, 4 << 2, 1, 2, 3, 4, 5],
    "a copy too many": [4, 0, 1, 1, 1],
    "from before": [5, 0, 1, 1, 2],
    "from nowhere": [5, 0, 1, 1, 0],
    "cut off in a copy": [5, 0, 1, 2, 1],
    "cut off in a literal": [5, 4 << 2, 1, 2, 3, 4],
    "without length": [128, 128, 128, 128, 128, 1],
  };
  assert.deepEqual(
    allCodecs.snappy.decompress(Uint8Array.of(5, 0, 1, 1, 1), 9),
    Uint8Array.of(1, 1, 1, 1, 1),
  );
  for (const [what, block] of Object.entries(blocks)) {
    const run = () => allCodecs.snappy.decompress(Uint8Array.from(block), 100);
    assert.equal(codeOf(run), "CORRUPT_BATCH", what);
  }
});

Deno.test("lz4 blocks end as the format demands: five literals, no match in the last twelve bytes", () => {
  for (let size = 1; size < 60; size++) {
    const block = allCodecs.lz4.compress(new Uint8Array(size)).subarray(11, -4);
    if (block.length === size) continue;
    let made = 0;
    let from = 0;
    while (from < block.length) {
      const literals = block[from]! >> 4;
      // At most 60 bytes: no length here needs more than one further byte.
      const extra = (block[from]! & 15) === 15;
      made += literals;
      from += 1 + literals;
      if (from === block.length) {
        assert.ok(literals >= 5, `${size} bytes end with ${literals} literals`);
        break;
      }
      assert.ok(made <= size - 12, `${size} bytes have a match at ${made}`);
      made += 4 + (block[from - 1 - literals]! & 15) + (extra ? block[from + 2]! : 0);
      from += extra ? 3 : 2;
    }
    assert.equal(made, size);
  }
});

Deno.test("lz4 frames open as Kafka's Java client writes them", () => {
  const frame = Buffer.from(allCodecs.lz4.compress(new Uint8Array(10)));
  assert.equal(frame.toString("hex", 0, 7), "04224d18604082");
});

Deno.test("lz4 frames with blocks that look back into earlier ones are read", () => {
  // The other implementation keeps its table of repeats from block to block.
  const bytes = scrambled(4.2 * MEBIBYTE, 3);
  bytes.copyWithin(4 * MEBIBYTE, 4 * MEBIBYTE - 50_000, 4 * MEBIBYTE);
  const frame = lz4js.compress(bytes);
  assert.ok(Buffer.from(allCodecs.lz4.decompress(frame, bytes.length)).equals(bytes));
  const independent = frame.slice();
  independent[4] |= 0x20;
  independent[6] = xxh32(independent.subarray(4, 6)) >>> 8;
  assert.equal(codeOf(() => allCodecs.lz4.decompress(independent, bytes.length)), "CORRUPT_BATCH");
});

Deno.test("lz4 checks content size and every checksum it finds", () => {
  const body = allCodecs.lz4.compress(scrambled(100, 1)).subarray(7, -4);
  const plain = scrambled(100, 1);
  const frame = (change: { size?: number; block?: number; content?: number } = {}) => {
    const bytes = new Uint8Array(15 + body.length + 12);
    const view = new DataView(bytes.buffer);
    bytes.set([4, 0x22, 0x4d, 0x18, 0x7c, 0x40]);
    view.setUint32(6, plain.length + (change.size ?? 0), true);
    bytes[14] = xxh32(bytes.subarray(4, 14)) >>> 8;
    bytes.set(body, 15);
    const at = 15 + body.length;
    view.setUint32(at, xxh32(body.subarray(4)) ^ (change.block ?? 0), true);
    view.setUint32(at + 8, xxh32(plain) ^ (change.content ?? 0), true);
    return bytes;
  };
  assert.deepEqual(allCodecs.lz4.decompress(frame(), 100), plain);
  for (const change of [{ size: 1 }, { size: -1 }, { block: 1 }, { content: 1 }]) {
    assert.equal(codeOf(() => allCodecs.lz4.decompress(frame(change), 1_000)), "CORRUPT_BATCH");
  }
  assert.equal(
    codeOf(() => allCodecs.lz4.decompress(frame({ size: 1e9 }), 1_000)),
    "CORRUPT_BATCH",
  );
  const header = frame();
  header[14]! ^= 1;
  assert.equal(codeOf(() => allCodecs.lz4.decompress(header, 1_000)), "CORRUPT_BATCH");
});

Deno.test("zstd takes the windows of levels up to 19 and refuses those that eat memory", () => {
  const bytes = scrambled(20_000, 2);
  const params = { [constants.ZSTD_c_compressionLevel]: 19 };
  const packed = zstdCompressSync(bytes, { params });
  assert.ok(Buffer.from(allCodecs.zstd.decompress(packed, 20_000)).equals(bytes));
  // One raw block of one byte; the third part is the window: 2^(10 + exponent) bytes.
  const frame = (log: number) =>
    Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0, (log - 10) << 3, 1 | (1 << 3), 0, 0, 65);
  assert.deepEqual(allCodecs.zstd.decompress(frame(23), 10), Uint8Array.of(65));
  assert.equal(codeOf(() => allCodecs.zstd.decompress(frame(24), 10)), "CORRUPT_BATCH");
  assert.equal(codeOf(() => allCodecs.zstd.decompress(frame(31), 10)), "CORRUPT_BATCH");
});
