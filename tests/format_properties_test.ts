// Owns what must hold of the record batch codec for any input: round trips, bit flips, random bytes.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import fc from "fast-check";
import { allCodecs } from "../storage/format/all_codecs.ts";
import { COMPRESSIONS, installCodecs } from "../storage/format/compression.ts";
import { decodeBatch } from "../storage/format/decode.ts";
import { encodeBatch, type RecordInput } from "../storage/format/encode.ts";
import { batchSpans, CRC_START, readHeader } from "../storage/format/record_batch.ts";
import { validateBatches } from "../storage/format/validate.ts";
import {
  Cursor,
  varintBytes,
  varlongBytes,
  writeVarint,
  writeVarlong,
} from "../storage/format/varint.ts";
import { changed, expected, LIMITS, record, T0 } from "./support/format_samples.ts";

installCodecs(allCodecs);

const text = fc.oneof(
  fc.string({ maxLength: 70 }),
  fc.string({ unit: "grapheme", maxLength: 70 }),
  fc.tuple(fc.string({ unit: "grapheme", maxLength: 3 }), fc.nat(9_000)).map(
    ([end, size]) => "a".repeat(size) + end,
  ),
);
const field = fc.oneof(fc.constant(null), text, fc.uint8Array({ maxLength: 100 }));
const time = fc.oneof(
  fc.integer({ min: T0 - 10_000, max: T0 + 10_000 }),
  // The greatest of all lies too far from none (-1).
  fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER - 1 }),
  fc.constant(-1),
);
const input: fc.Arbitrary<RecordInput> = fc.record({
  key: field,
  value: field,
  headers: fc.array(fc.tuple(text, field), { maxLength: 4 }),
  timestamp: time,
});
const inputs = fc.array(input, { minLength: 1, maxLength: 20 });

/** Runs `read`; anything but a BrokerError is a failure. Returns whether it went through. */
function survives(read: () => unknown): boolean {
  try {
    read();
    return true;
  } catch (error) {
    assert.equal((error as Error).name, "BrokerError", (error as Error).stack);
    return false;
  }
}

Deno.test("timestamps of one batch that lie further apart than a reader takes are refused", () => {
  for (const timestamps of [[Number.MAX_SAFE_INTEGER, -1], [-1, Number.MAX_SAFE_INTEGER]]) {
    const records = timestamps.map((timestamp) => ({
      key: null,
      value: null,
      headers: [],
      timestamp,
    }));
    assert.throws(() => encodeBatch(records, { crc32c }), { code: "INVALID_REQUEST" });
  }
});

Deno.test("what is encoded is valid and decodes to the same, with any codec", () => {
  fc.assert(fc.property(inputs, fc.constantFrom(...COMPRESSIONS), (records, compression) => {
    const batch = encodeBatch(records, { crc32c, compression });
    assert.equal(validateBatches(batch, LIMITS)[0]!.recordCount, records.length);
    assert.deepEqual(decodeBatch(batch, 0, LIMITS), expected(records));
  }));
});

Deno.test("a flip of any single bit after the CRC field is refused", () => {
  const batch = encodeBatch([
    record({ key: "k", value: "value", headers: [["h", "é"]] }),
    record({ value: "w", timestamp: T0 + 300 }),
  ], { crc32c, producerId: 5, producerEpoch: 1, baseSequence: 8 });
  for (let bit = CRC_START * 8; bit < batch.length * 8; bit++) {
    const flipped = batch.slice();
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    assert.ok(!survives(() => validateBatches(flipped, LIMITS)), `bit ${bit}`);
  }
});

Deno.test("a batch cut off anywhere is refused", () => {
  const batch = encodeBatch([record({ value: "one" }), record({ key: "two" })], { crc32c });
  for (let end = 1; end < batch.length; end++) {
    const cut = batch.subarray(0, end);
    assert.ok(!survives(() => validateBatches(cut, LIMITS)), `${end} bytes`);
    assert.ok(!survives(() => decodeBatch(cut, 0, LIMITS)), `${end} bytes`);
    assert.ok(!survives(() => [...batchSpans(cut)]), `${end} bytes`);
  }
});

Deno.test("random bytes give nothing but broker errors", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 300 }), (bytes) => {
      assert.ok(!survives(() => validateBatches(bytes, LIMITS)));
      survives(() => decodeBatch(bytes, 0, LIMITS));
      survives(() => readHeader(bytes, 0));
      survives(() => [...batchSpans(bytes)]);
    }),
    { numRuns: 500 },
  );
});

Deno.test("records spoiled behind a right CRC give nothing but broker errors, and what passes decodes", () => {
  const spoiling = fc.array(
    fc.tuple(fc.nat(10_000), fc.constantFrom(0, 1, 2, 0x7f, 0x80, 0xfe, 0xff)),
    { minLength: 1, maxLength: 3 },
  );
  const small = fc.array(
    fc.record({
      key: fc.constantFrom(null, "k"),
      value: fc.constantFrom("", "value"),
      headers: fc.constantFrom([], [["h", "v"]] as [string, string][]),
      timestamp: fc.constantFrom(T0, T0 + 200),
    }),
    { minLength: 1, maxLength: 4 },
  );
  const codec = fc.constantFrom(...COMPRESSIONS);
  fc.assert(
    fc.property(small, spoiling, codec, (records, spoils, compression) => {
      const batch = changed(encodeBatch(records, { crc32c, compression }), (view) => {
        for (const [at, value] of spoils) view.setUint8(21 + at % (view.byteLength - 21), value);
      });
      survives(() => decodeBatch(batch, 0, LIMITS));
      if (survives(() => validateBatches(batch, LIMITS))) {
        assert.equal(decodeBatch(batch, 0, LIMITS).length, readHeader(batch, 0).recordCount);
      }
    }),
    { numRuns: 2_000 },
  );
});

Deno.test("counts that the bytes claim take no memory", () => {
  const huge = changed(encodeBatch([record({ headers: [["h", "v"]] })], { crc32c }), (view) => {
    view.setInt32(57, 2 ** 31 - 1);
    view.setInt32(23, 2 ** 31 - 2);
  });
  const before = Deno.memoryUsage().heapUsed;
  assert.throws(() => decodeBatch(huge, 0, LIMITS), /says it has 2147483647 records/);
  assert.ok(!survives(() => validateBatches(huge, { ...LIMITS, maxRecords: 2 ** 40 })));
  assert.ok(Deno.memoryUsage().heapUsed - before < 1_000_000);
});

Deno.test("varints and varlongs are minimal, of the size foretold, and read back", () => {
  const edges = [0, 1, 63, 64, 8_191, 8_192, 2 ** 27, 2 ** 31 - 1, 2 ** 31, 2 ** 34, 2 ** 53 - 1];
  const value = fc.oneof(
    fc.maxSafeInteger(),
    fc.integer(),
    fc.constantFrom(...edges, ...edges.map((edge) => -edge), -(2 ** 31)),
  );
  const bytes = new Uint8Array(10);
  fc.assert(
    fc.property(value, (number) => {
      const end = writeVarlong(bytes, 0, number);
      assert.equal(varlongBytes(number), end);
      assert.equal(new Cursor(bytes, 0, end).varlong(), number === 0 ? 0 : number);
      const zigzag = BigInt.asUintN(64, (BigInt(number) << 1n) ^ (BigInt(number) >> 63n));
      assert.equal(end, Math.max(1, Math.ceil(zigzag.toString(2).length / 7)));
      if (number !== (number | 0)) return;
      assert.equal(writeVarint(bytes, 0, number), end);
      assert.equal(varintBytes(number), end);
      assert.equal(new Cursor(bytes, 0, end).varint(), number | 0);
    }),
    { numRuns: 2_000 },
  );
});

Deno.test("a cursor reads no varint past 32 or 53 bits and nothing past its end", () => {
  const cursor = (bytes: number[], end = bytes.length) =>
    new Cursor(Uint8Array.from(bytes), 0, end);
  assert.equal(cursor([255, 255, 255, 255, 15]).varint(), -(2 ** 31));
  assert.equal(cursor([254, 255, 255, 255, 15]).varint(), 2 ** 31 - 1);
  assert.equal(
    cursor([254, 255, 255, 255, 255, 255, 255, 31]).varlong(),
    Number.MAX_SAFE_INTEGER,
  );
  assert.equal(
    cursor([253, 255, 255, 255, 255, 255, 255, 31]).varlong(),
    -Number.MAX_SAFE_INTEGER,
  );
  const refused = [
    () => cursor([128, 128, 128, 128, 16]).varint(),
    () => cursor([255, 255, 255, 255, 255, 1]).varint(),
    () => cursor([128, 128, 128, 128, 128, 128, 128, 32]).varlong(),
    () => cursor([255, 255, 255, 255, 255, 255, 255, 31]).varlong(),
    () => cursor([128, 1], 1).varint(),
    () => cursor([128, 1], 1).varlong(),
    () => cursor([1], 0).varint(),
    () => cursor([1], 0).varlong(),
    () => cursor([1], 0).byte(),
    () => cursor([1, 2, 3], 2).skip(3),
    () => cursor([1, 2, 3], 2).take(3),
  ];
  for (const read of refused) assert.ok(!survives(read), String(read));
});
