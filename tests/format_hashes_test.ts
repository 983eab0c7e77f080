// Owns the proof that our hashes are those of everyone else: CRC-32C, murmur2, XXH32, and UTF-8 checking.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { crc32c as nativeCrc32c } from "@node-rs/crc32";
import fc from "fast-check";
import kafkajsMurmur2 from "kafkajs/src/producer/partitioners/default/murmur2.js";
import { xxh32 } from "../storage/format/codecs/xxh32.ts";
import { crc32c } from "../storage/format/crc32c.ts";
import { murmur2, partitionForKey } from "../storage/format/murmur2.ts";
import { isUtf8 } from "../storage/format/utf8.ts";

const utf8 = new TextEncoder();

Deno.test("CRC-32C gives the values of RFC 3720", () => {
  const ascending = Uint8Array.from({ length: 32 }, (_, at) => at);
  assert.equal(crc32c(utf8.encode("123456789")), 0xe3069283);
  assert.equal(crc32c(new Uint8Array(32)), 0x8a9136aa);
  assert.equal(crc32c(new Uint8Array(32).fill(255)), 0x62a8ab43);
  assert.equal(crc32c(ascending), 0x46dd794e);
  assert.equal(crc32c(ascending.toReversed()), 0x113fdb5c);
  assert.equal(crc32c(new Uint8Array(0)), 0);
});

Deno.test("CRC-32C is that of the native one for any bytes", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
    assert.equal(crc32c(bytes), nativeCrc32c(bytes));
  }));
});

Deno.test("murmur2 gives the values of Kafka's Java client", () => {
  const values: Record<string, number> = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
  };
  for (const [key, value] of Object.entries(values)) assert.equal(murmur2(utf8.encode(key)), value);
});

Deno.test("murmur2 and the partition are those of another client for any key", () => {
  const key = fc.uint8Array({ maxLength: 100 });
  fc.assert(fc.property(key, fc.integer({ min: 1, max: 10_000 }), (bytes, partitions) => {
    const theirs = kafkajsMurmur2(Buffer.from(bytes));
    assert.equal(murmur2(bytes), theirs);
    assert.equal(partitionForKey(bytes, partitions), (theirs & 0x7fffffff) % partitions);
  }));
});

Deno.test("XXH32 gives the values of its specification", () => {
  assert.equal(xxh32(new Uint8Array(0)), 0x02cc5d05);
  assert.equal(xxh32(utf8.encode("a")), 0x550d7456);
  assert.equal(xxh32(utf8.encode("abc")), 0x32d153ff);
  assert.equal(xxh32(utf8.encode("Nobody inspects the spammish repetition")), 0xe2293b2f);
});

Deno.test("bytes are UTF-8 exactly where a fatal decoder takes them", () => {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 6 }),
    fc.array(
      fc.constantFrom(0x41, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc2, 0xe0, 0xe1, 0xed, 0xf0, 0xf4),
      {
        maxLength: 6,
      },
    ).map((array) => Uint8Array.from(array)),
    fc.string({ unit: "binary" }).map((text) => utf8.encode(text)),
  );
  fc.assert(
    fc.property(bytes, (input) => {
      let valid = true;
      try {
        decoder.decode(input);
      } catch {
        valid = false;
      }
      assert.equal(isUtf8(input, 0, input.length), valid);
    }),
    { numRuns: 1_000 },
  );
});
