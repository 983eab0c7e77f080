// Owns what a batch's header says, its patching and walking, and what encode refuses.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { decodeBatch } from "../storage/format/decode.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import {
  baseOffsetAt,
  batchSpans,
  CONTROL_BIT,
  crcMatches,
  HEADER_BYTES,
  lastOffsetDeltaAt,
  leaderEpochAt,
  LOG_APPEND_TIME_BIT,
  maxTimestampAt,
  producerIdAt,
  readHeader,
  recordCountAt,
  setBaseOffset,
  setLeaderEpoch,
  sizeBytesAt,
  TRANSACTIONAL_BIT,
} from "../storage/format/record_batch.ts";
import {
  changed,
  codeOf,
  expected,
  LIMITS,
  record,
  SAMPLES,
  T0,
  withRecords,
} from "./support/format_samples.ts";

const TWO = [record({ value: "one" }), record({ value: "two", timestamp: T0 + 5 })];

function joined(...parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(parts.flatMap((part) => [...part]));
}

Deno.test("a batch has the header it was encoded with, as a client leaves it", () => {
  const batch = encodeBatch(TWO, {
    crc32c,
    producerId: 2 ** 40 + 3,
    producerEpoch: 32_767,
    baseSequence: 2 ** 31 - 1,
    transactional: true,
  });
  const { crc, ...header } = readHeader(batch, 0);
  assert.equal(crc, crc32c(batch.subarray(21)));
  assert.deepEqual(header, {
    baseOffset: 0,
    sizeBytes: batch.length,
    leaderEpoch: -1,
    magic: 2,
    attributes: TRANSACTIONAL_BIT,
    lastOffsetDelta: 1,
    baseTimestamp: T0,
    maxTimestamp: T0 + 5,
    producerId: 2 ** 40 + 3,
    producerEpoch: 32_767,
    baseSequence: 2 ** 31 - 1,
    recordCount: 2,
  });
});

Deno.test("a batch without a producer has -1 for id, epoch and sequence", () => {
  const header = readHeader(encodeBatch(TWO, { crc32c, control: true }), 0);
  assert.deepEqual(
    [header.producerId, header.producerEpoch, header.baseSequence, header.attributes],
    [-1, -1, -1, CONTROL_BIT],
  );
});

Deno.test("single fields are read where the batch lies", () => {
  const producer = { producerId: 2 ** 53 - 1, producerEpoch: 3, baseSequence: 7 };
  const batch = joined(new Uint8Array(13), encodeBatch(TWO, { crc32c, ...producer }));
  setBaseOffset(batch, 13, 2 ** 53 - 10);
  setLeaderEpoch(batch, 13, 2 ** 31 - 1);
  assert.deepEqual([
    baseOffsetAt(batch, 13),
    sizeBytesAt(batch, 13),
    lastOffsetDeltaAt(batch, 13),
    maxTimestampAt(batch, 13),
    leaderEpochAt(batch, 13),
    producerIdAt(batch, 13),
    recordCountAt(batch, 13),
  ], [2 ** 53 - 10, batch.length - 13, 1, T0 + 5, 2 ** 31 - 1, 2 ** 53 - 1, 2]);
  assert.equal(producerIdAt(encodeBatch(TWO, { crc32c }), 0), -1);
});

Deno.test("patching base offset and leader epoch leaves the CRC valid", () => {
  const batch = encodeBatch(TWO, { crc32c });
  setBaseOffset(batch, 0, 123_456_789_012);
  setLeaderEpoch(batch, 0, 9);
  assert.ok(crcMatches(batch, 0, crc32c));
  assert.deepEqual(decodeBatch(batch, 0, LIMITS), expected(TWO, 123_456_789_012));
});

Deno.test("a base offset that is no offset is not set", () => {
  const batch = encodeBatch(TWO, { crc32c });
  for (const offset of [-1, 1.5, 2 ** 53, NaN]) {
    assert.throws(() => setBaseOffset(batch, 0, offset), /no base offset/);
  }
});

Deno.test("a CRC does not match for a batch that is changed, cut off or absurd in its length", () => {
  const batch = encodeBatch(TWO, { crc32c });
  const flipped = batch.slice();
  flipped[70]! ^= 1;
  const absurd = batch.slice();
  absurd[8] = 0x80;
  assert.ok(!crcMatches(flipped, 0, crc32c));
  assert.ok(!crcMatches(absurd, 0, crc32c));
  for (let end = 0; end < batch.length; end++) {
    assert.ok(!crcMatches(batch.subarray(0, end), 0, crc32c));
  }
});

Deno.test("a header is read without the records, and not with a byte less", () => {
  const batch = encodeBatch(TWO, { crc32c });
  assert.equal(readHeader(batch.subarray(0, HEADER_BYTES), 0).sizeBytes, batch.length);
  for (const [bytes, at] of [[batch.subarray(0, 60), 0], [batch, batch.length], [batch, -1]]) {
    assert.equal(codeOf(() => readHeader(bytes as Uint8Array, at as number)), "CORRUPT_BATCH");
  }
});

Deno.test("64-bit fields beyond 2^53 - 1 are refused, whatever field it is", () => {
  const batch = encodeBatch(TWO, { crc32c });
  for (const at of [0, 27, 35, 43]) {
    for (const value of [2n ** 53n, -(2n ** 53n), 2n ** 63n - 1n, -(2n ** 63n)]) {
      const bad = changed(batch, (view) => view.setBigInt64(at, value));
      assert.equal(codeOf(() => readHeader(bad, 0)), "CORRUPT_BATCH", `${value} at ${at}`);
    }
    const most = changed(batch, (view) => view.setBigInt64(at, 2n ** 53n - 1n));
    assert.doesNotThrow(() => readHeader(most, 0));
  }
});

Deno.test("concatenated batches are walked to the end, and not past one that is cut off", () => {
  const batches = Object.values(SAMPLES).map((records) => encodeBatch(records, { crc32c }));
  const log = joined(...batches);
  let at = 0;
  const spans = batches.map((batch) => ({
    at: (at += batch.length) - batch.length,
    sizeBytes: batch.length,
  }));
  assert.deepEqual([...batchSpans(log)], spans);
  assert.deepEqual([...batchSpans(new Uint8Array(0))], []);
  const seen: number[] = [];
  const code = codeOf(() => {
    for (const span of batchSpans(log.subarray(0, -1))) seen.push(span.at);
  });
  assert.equal(code, "CORRUPT_BATCH");
  assert.equal(seen.length, batches.length - 1);
});

Deno.test("a length of zero does not walk in place", () => {
  const batch = encodeBatch(TWO, { crc32c });
  new DataView(batch.buffer).setInt32(8, -12);
  assert.equal(codeOf(() => [...batchSpans(batch)]), "CORRUPT_BATCH");
});

Deno.test("encode refuses a timestamp that is no time, and names the record", () => {
  for (const timestamp of [NaN, -2, 1.5, 2 ** 53, Infinity]) {
    const run = () => encodeBatch([record(), record({ timestamp })], { crc32c });
    assert.throws(run, { name: "BrokerError", code: "INVALID_REQUEST", message: /record 1/ });
  }
  assert.throws(() => encodeBatch([], { crc32c }), /at least one record/);
});

Deno.test("a batch owns a buffer of just its size, whatever its strings are made of", () => {
  for (const records of Object.values(SAMPLES)) {
    const batch = encodeBatch(records, { crc32c });
    assert.equal(batch.buffer.byteLength, batch.length);
    assert.equal(batch.byteOffset, 0);
  }
});

Deno.test("a lone surrogate is stored as the replacement character", () => {
  const [decoded] = decodeBatch(
    encodeBatch([record({ value: "a\ud800b" })], { crc32c }),
    0,
    LIMITS,
  );
  assert.equal(new TextDecoder().decode(decoded!.value!), "a\ufffdb");
});

Deno.test("values of an uncompressed batch are views, not copies", () => {
  const batch = encodeBatch(TWO, { crc32c });
  const [first] = decodeBatch(batch, 0, LIMITS);
  assert.equal(first!.value!.buffer, batch.buffer);
});

Deno.test("a batch stamped with log append time gives that time to every record", () => {
  const batch = changed(encodeBatch(TWO, { crc32c }), (view) => {
    view.setInt16(21, LOG_APPEND_TIME_BIT);
    view.setBigInt64(35, BigInt(T0 + 99));
  });
  const times = decodeBatch(batch, 0, LIMITS).map((decoded) => decoded.timestamp);
  assert.deepEqual(times, [T0 + 99, T0 + 99]);
});

Deno.test("a batch that compaction left gaps in, or nothing, is still read", () => {
  const batch = encodeBatch(TWO, { crc32c });
  const gap = changed(batch, (view) => {
    view.setInt32(23, 7);
    // The second record's offset delta: 1 becomes 7.
    view.setUint8(61 + 10 + 3, 14);
  });
  assert.deepEqual(decodeBatch(gap, 0, LIMITS).map((decoded) => decoded.offset), [0, 7]);
  const empty = changed(batch, (view) => view.setInt32(57, 0)).slice(0, HEADER_BYTES);
  new DataView(empty.buffer).setInt32(8, HEADER_BYTES - 12);
  assert.deepEqual(decodeBatch(empty, 0, LIMITS), []);
});

Deno.test("decode refuses records that are not as long or as many as they say", () => {
  const batch = encodeBatch([record()], { crc32c });
  const body = [0, 0, 0, 1, 1, 0];
  assert.deepEqual(decodeBatch(withRecords(batch, [12, ...body]), 0, LIMITS), expected([record()]));
  const bad = {
    "a byte more in the record": [14, ...body, 0],
    "a byte less in the record": [10, ...body],
    "a byte after it": [12, ...body, 0],
    "a record after it": [12, ...body, 12, ...body],
    "a negative length": [1, ...body],
    "a negative offset delta": [12, 0, 0, 1, 1, 1, 0],
    "an offset delta past the last": [12, 0, 0, 2, 1, 1, 0],
    "a value that overruns": [12, 0, 0, 0, 1, 4, 0],
    "more headers than fit": [12, 0, 0, 0, 1, 1, 2],
    "a header key that is not UTF-8": [18, 0, 0, 0, 1, 1, 2, 2, 255, 1],
  };
  for (const [what, records] of Object.entries(bad)) {
    const run = () => decodeBatch(withRecords(batch, records), 0, LIMITS);
    assert.equal(codeOf(run), "CORRUPT_BATCH", what);
  }
  // The first says that it reaches into the second, which is where it should be.
  const two = withRecords(encodeBatch(TWO, { crc32c }), [14, ...body, 12, 0, 0, 2, 1, 1, 0]);
  assert.equal(codeOf(() => decodeBatch(two, 0, LIMITS)), "CORRUPT_BATCH");
});

Deno.test("decode does not read a record out of the next batch", () => {
  const batch = withRecords(encodeBatch([record()], { crc32c }), [12, 0, 0, 0, 1, 1]);
  assert.equal(
    codeOf(() => decodeBatch(joined(batch, new Uint8Array(9)), 0, LIMITS)),
    "CORRUPT_BATCH",
  );
});

Deno.test("decode refuses offsets and times beyond 2^53 - 1", () => {
  const offset = encodeBatch(TWO, { crc32c });
  setBaseOffset(offset, 0, Number.MAX_SAFE_INTEGER);
  assert.equal(codeOf(() => decodeBatch(offset, 0, LIMITS)), "CORRUPT_BATCH");
  const time = changed(
    encodeBatch(TWO, { crc32c }),
    (view) => view.setBigInt64(27, 2n ** 53n - 1n),
  );
  assert.equal(codeOf(() => decodeBatch(time, 0, LIMITS)), "CORRUPT_BATCH");
});

Deno.test("a codec that is unknown or not installed is refused by name", () => {
  const batch = encodeBatch(TWO, { crc32c });
  for (const codec of [5, 6, 7]) {
    const odd = changed(batch, (view) => view.setInt16(21, codec));
    assert.equal(codeOf(() => decodeBatch(odd, 0, LIMITS)), "UNSUPPORTED_COMPRESSION");
  }
  // This file installs no codec, as a browser does not.
  assert.throws(() => encodeBatch(TWO, { crc32c, compression: "gzip" }), {
    code: "UNSUPPORTED_COMPRESSION",
    message: /gzip/,
  });
});
