// Owns the refusals of `validateBatches`: one test for each way in which a batch from the wire can be wrong.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { allCodecs } from "../storage/format/all_codecs.ts";
import { type Compression, installCodecs } from "../storage/format/compression.ts";
import { encodeBatch, type EncodeOptions } from "../storage/format/encode.ts";
import { type BatchLimits, validateBatches } from "../storage/format/validate.ts";
import {
  changed,
  codeOf,
  LIMITS,
  record,
  SAMPLES,
  T0,
  withRecords,
} from "./support/format_samples.ts";

installCodecs(allCodecs);

const RECORDS = [record({ key: "k", value: "v" }), record({ value: "w", timestamp: T0 + 1 })];

function batchOf(options: Partial<EncodeOptions> = {}): Uint8Array {
  return encodeBatch(RECORDS, { crc32c, ...options });
}

function refusal(bytes: Uint8Array, limits: Partial<BatchLimits> = {}): string {
  return codeOf(() => validateBatches(bytes, { ...LIMITS, ...limits }));
}

function passes(bytes: Uint8Array, limits: Partial<BatchLimits> = {}): void {
  assert.equal(validateBatches(bytes, { ...LIMITS, ...limits }).length, 1);
}

/** Zigzag varint of a small number, in as many bytes as asked for. */
function varint(value: number, bytes = 1): number[] {
  let rest = value < 0 ? -2 * value - 1 : 2 * value;
  const encoded: number[] = [];
  while (rest > 127 || encoded.length + 1 < bytes) {
    encoded.push((rest & 127) | 128);
    rest >>>= 7;
  }
  return [...encoded, rest];
}

/** A batch of one record with this body, behind its right length. */
function oneRecord(body: readonly number[]): Uint8Array {
  return withRecords(encodeBatch([record()], { crc32c }), [...varint(body.length), ...body]);
}

const NULL = varint(-1);

Deno.test("batches are found where they lie, with their counts", () => {
  const batches = Object.values(SAMPLES).map((records) => encodeBatch(records, { crc32c }));
  const found = validateBatches(new Uint8Array(batches.flatMap((batch) => [...batch])), LIMITS);
  assert.deepEqual(found.map((batch) => batch.sizeBytes), batches.map((batch) => batch.length));
  assert.deepEqual(
    found.map((batch) => batch.recordCount),
    Object.values(SAMPLES).map((records) => records.length),
  );
  assert.deepEqual(validateBatches(new Uint8Array(0), LIMITS), []);
});

Deno.test("batches that hold a header of interest are told, and who produced them", () => {
  const record = { key: null, value: "v", timestamp: 1 };
  const named = (name: string, producer = {}) =>
    encodeBatch([{ ...record, headers: [] }, { ...record, headers: [["a", "1"], [name, "k"]] }], {
      crc32c,
      ...producer,
    });
  const sequenced = named("wanted", { producerId: 7, producerEpoch: 0, baseSequence: 0 });
  const batches = [named("wanted"), named("wantee"), named("wanted2"), sequenced];
  const bytes = new Uint8Array(batches.flatMap((batch) => [...batch]));
  const headerOfInterest = new TextEncoder().encode("wanted");
  const found = validateBatches(bytes, { ...LIMITS, headerOfInterest });
  assert.deepEqual(found.map(({ hasHeader }) => hasHeader), [true, false, false, true]);
  assert.deepEqual(found.map(({ producerId }) => producerId), [null, null, null, 7]);
  assert.ok(validateBatches(bytes, LIMITS).every(({ hasHeader }) => !hasHeader));
});

Deno.test("another magic is refused", () => {
  for (const magic of [0, 1, 3, 255]) {
    assert.equal(refusal(changed(batchOf(), (view) => view.setUint8(16, magic))), "CORRUPT_BATCH");
  }
});

Deno.test("a length that is too short, too long, negative or huge is refused", () => {
  const batch = batchOf();
  for (const length of [0, 48, batch.length - 13, batch.length - 11, -1, 2 ** 31 - 1, -(2 ** 31)]) {
    const bad = batch.slice();
    new DataView(bad.buffer).setInt32(8, length);
    assert.equal(refusal(bad), "CORRUPT_BATCH", `${length}`);
  }
});

Deno.test("anything after the last batch is refused", () => {
  for (const garbage of [[0], Array(61).fill(0), Array(200).fill(255)]) {
    assert.equal(refusal(Uint8Array.of(...batchOf(), ...garbage)), "CORRUPT_BATCH");
  }
});

Deno.test("anything after the last record of a batch is refused", () => {
  const body = [12, 0, 0, 0, ...NULL, ...NULL, 0];
  const batch = encodeBatch([record()], { crc32c });
  passes(withRecords(batch, body));
  for (const garbage of [[0], [12], body]) {
    assert.equal(refusal(withRecords(batch, [...body, ...garbage])), "CORRUPT_BATCH");
  }
});

Deno.test("a wrong CRC is refused", () => {
  const batch = batchOf();
  batch[17]! ^= 1;
  assert.equal(refusal(batch), "CORRUPT_BATCH");
});

Deno.test("a record count or last offset delta that is not that of the records is refused", () => {
  for (
    const [count, delta] of [[1, 0], [3, 2], [2, 0], [2, 2], [0, -1], [-1, -2], [
      2 ** 31 - 1,
      2 ** 31 - 2,
    ]]
  ) {
    const bad = changed(batchOf(), (view) => {
      view.setInt32(57, count!);
      view.setInt32(23, delta!);
    });
    assert.equal(refusal(bad, { maxRecords: 2 ** 40 }), "CORRUPT_BATCH", `${count}, ${delta}`);
  }
});

Deno.test("offset deltas other than 0 to n-1 are refused", () => {
  for (const delta of [1, -1, 2, 100_000]) {
    const bad = oneRecord([0, ...varint(0), ...varint(delta), ...NULL, ...NULL, 0]);
    assert.equal(refusal(bad), "CORRUPT_BATCH", `${delta}`);
  }
  passes(oneRecord([0, ...varint(0), ...varint(0), ...NULL, ...NULL, 0]));
});

Deno.test("a base offset from which the last offset would pass 2^53 - 1 is refused", () => {
  const last = changed(batchOf(), (view) => view.setBigInt64(0, 2n ** 53n - 2n));
  passes(last);
  const past = changed(batchOf(), (view) => view.setBigInt64(0, 2n ** 53n - 1n));
  assert.equal(refusal(past), "CORRUPT_BATCH");
  const negative = changed(batchOf(), (view) => view.setBigInt64(0, -1n));
  assert.equal(refusal(negative), "CORRUPT_BATCH");
});

Deno.test("varints that are longer than they need be or than 32 bits are refused", () => {
  for (let bytes = 2; bytes <= 6; bytes++) {
    const padded = [0, ...varint(0, bytes), ...varint(0), ...NULL, ...NULL, 0];
    assert.equal(refusal(oneRecord(padded)), "CORRUPT_BATCH", `time in ${bytes} bytes`);
    const paddedKey = [0, ...varint(0), ...varint(0), ...varint(-1, bytes), ...NULL, 0];
    assert.equal(refusal(oneRecord(paddedKey)), "CORRUPT_BATCH", `key in ${bytes} bytes`);
  }
  const over32 = [0, ...varint(0), ...varint(0), ...NULL, 255, 255, 255, 255, 16, 0];
  assert.equal(refusal(oneRecord(over32)), "CORRUPT_BATCH");
});

Deno.test("a record that overruns its batch, or is not as long as it says, is refused", () => {
  const body = [0, ...varint(0), ...varint(0), ...NULL, ...NULL, 0];
  for (const size of [-1, 0, 5, 7, 100_000, 2 ** 30]) {
    const bad = withRecords(encodeBatch([record()], { crc32c }), [...varint(size), ...body]);
    assert.equal(refusal(bad), "CORRUPT_BATCH", `${size}`);
  }
});

Deno.test("lengths of keys, values and headers out of range are refused", () => {
  for (const length of [-2, -64, 10, 1_000_000]) {
    const key = oneRecord([0, 0, 0, ...varint(length), ...NULL, 0]);
    const value = oneRecord([0, 0, 0, ...NULL, ...varint(length), 0]);
    const count = oneRecord([0, 0, 0, ...NULL, ...NULL, ...varint(length)]);
    const headerKey = oneRecord([
      0,
      0,
      0,
      ...NULL,
      ...NULL,
      ...varint(1),
      ...varint(length),
      ...NULL,
    ]);
    const headerValue = oneRecord([0, 0, 0, ...NULL, ...NULL, ...varint(1), 0, ...varint(length)]);
    for (const bad of [key, value, count, headerKey, headerValue]) {
      assert.equal(refusal(bad), "CORRUPT_BATCH", `${length}`);
    }
  }
  const nullHeaderKey = oneRecord([0, 0, 0, ...NULL, ...NULL, ...varint(1), ...NULL, ...NULL]);
  assert.equal(refusal(nullHeaderKey), "CORRUPT_BATCH");
  passes(oneRecord([0, 0, 0, ...NULL, ...NULL, ...varint(1), 0, ...NULL]));
});

Deno.test("a field that stays in the batch but leaves its record is refused", () => {
  // The first record's value swallows the second record.
  const second = [...varint(6), 0, 0, ...varint(1), ...NULL, ...NULL, 0];
  const first = [...varint(6), 0, 0, 0, ...NULL, ...varint(7), 0];
  assert.equal(refusal(withRecords(batchOf(), [...first, ...second])), "CORRUPT_BATCH");
});

Deno.test("a header key that is not UTF-8 is refused", () => {
  const bad = [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xe2, 0x82], [
    0x80,
  ]];
  for (const key of bad) {
    const batch = oneRecord([
      0,
      0,
      0,
      ...NULL,
      ...NULL,
      ...varint(1),
      ...varint(key.length),
      ...key,
      ...NULL,
    ]);
    assert.equal(refusal(batch), "CORRUPT_BATCH", `${key}`);
  }
});

Deno.test("bits that only the broker may set are refused", () => {
  assert.equal(refusal(batchOf({ control: true })), "CORRUPT_BATCH");
  assert.equal(
    refusal(batchOf({ transactional: true, producerId: 1, producerEpoch: 0, baseSequence: 0 })),
    "CORRUPT_BATCH",
  );
  for (let bit = 3; bit < 16; bit++) {
    const bad = changed(batchOf(), (view) => view.setUint16(21, 1 << bit));
    assert.equal(refusal(bad), "CORRUPT_BATCH", `bit ${bit}`);
  }
  const recordBit = oneRecord([1, 0, 0, ...NULL, ...NULL, 0]);
  assert.equal(refusal(recordBit), "CORRUPT_BATCH");
});

Deno.test("control and transactional batches pass where they are allowed", () => {
  const producer = { producerId: 1, producerEpoch: 0 };
  passes(batchOf({ transactional: true, baseSequence: 0, ...producer }), {
    allowTransactional: true,
  });
  passes(batchOf({ transactional: true, control: true, ...producer }), {
    allowTransactional: true,
    allowControl: true,
  });
  const nobody = batchOf({ transactional: true });
  assert.equal(refusal(nobody, { allowTransactional: true }), "CORRUPT_BATCH");
});

Deno.test("a producer id without epoch or sequence is refused, and sequences may wrap", () => {
  passes(batchOf({ producerId: 0, producerEpoch: 0, baseSequence: 2 ** 31 - 1 }));
  passes(batchOf({ producerId: -1, producerEpoch: 0, baseSequence: 0 }));
  const bad = [
    { producerId: 1, producerEpoch: -1, baseSequence: 0 },
    { producerId: 1, producerEpoch: 0, baseSequence: -1 },
    { producerId: -2, producerEpoch: 0, baseSequence: 0 },
    { producerId: 1, producerEpoch: 0, baseSequence: -(2 ** 31) },
    { producerId: -1, producerEpoch: -2, baseSequence: -1 },
  ];
  for (const producer of bad) {
    assert.equal(refusal(batchOf(producer)), "CORRUPT_BATCH", JSON.stringify(producer));
  }
});

Deno.test("times below -1 or beyond 2^53 - 1 are refused, in the header and by their deltas", () => {
  for (const at of [27, 35]) {
    const bad = changed(batchOf(), (view) => view.setBigInt64(at, -2n));
    assert.equal(refusal(bad), "CORRUPT_BATCH");
  }
  const timed = (base: bigint, max: bigint, delta: readonly number[]) =>
    changed(oneRecord([0, ...delta, 0, ...NULL, ...NULL, 0]), (view) => {
      view.setBigInt64(27, base);
      view.setBigInt64(35, max);
    });
  passes(timed(-1n, -1n, varint(0)));
  passes(timed(-1n, 4n, varint(5)));
  passes(timed(0n, -1n, varint(-1)));
  assert.equal(refusal(timed(-1n, -1n, varint(-1))), "CORRUPT_BATCH");
  const most = 2n ** 53n - 1n;
  passes(timed(most, most, varint(0)));
  assert.equal(refusal(timed(most, most, varint(1))), "CORRUPT_BATCH");
  // A delta of 2^53 itself, 9 and 10 bytes long.
  for (const huge of [[128, 128, 128, 128, 128, 128, 128, 32], Array(9).fill(255).concat(1)]) {
    assert.equal(refusal(timed(0n, 0n, huge)), "CORRUPT_BATCH");
  }
});

Deno.test("a max timestamp that is not the records' is refused: the time index rests on it", () => {
  for (const max of [T0, T0 + 2]) {
    const bad = changed(batchOf(), (view) => view.setBigInt64(35, BigInt(max)));
    assert.equal(refusal(bad), "CORRUPT_BATCH");
  }
});

Deno.test("a record larger than allowed is refused as too large: key, value and headers count", () => {
  const batch = encodeBatch([
    record({ key: "12", value: "345", headers: [["6", "78"], ["9", null]] }),
  ], { crc32c });
  passes(batch, { maxRecordBytes: 9 });
  assert.equal(refusal(batch, { maxRecordBytes: 8 }), "MESSAGE_TOO_LARGE");
});

Deno.test("more batches or records than allowed are refused", () => {
  const twice = Uint8Array.of(...batchOf(), ...batchOf());
  assert.equal(validateBatches(twice, { ...LIMITS, maxBatches: 2, maxRecords: 4 }).length, 2);
  assert.equal(refusal(twice, { maxBatches: 1 }), "REQUEST_TOO_LARGE");
  assert.equal(refusal(twice, { maxRecords: 3 }), "REQUEST_TOO_LARGE");
});

for (const compression of ["gzip", "snappy", "lz4", "zstd"] satisfies Compression[]) {
  Deno.test(`${compression} batches together may hold only so much`, () => {
    const records = [record({ value: "x".repeat(10_000) })];
    const batch = encodeBatch(records, { crc32c, compression });
    const plainBytes = encodeBatch(records, { crc32c }).length - 61;
    const twice = Uint8Array.of(...batch, ...batch);
    passes(batch, { maxDecompressedBytes: plainBytes });
    assert.equal(refusal(batch, { maxDecompressedBytes: plainBytes - 1 }), "CORRUPT_BATCH");
    assert.equal(
      validateBatches(twice, { ...LIMITS, maxDecompressedBytes: 2 * plainBytes }).length,
      2,
    );
    assert.equal(refusal(twice, { maxDecompressedBytes: 2 * plainBytes - 1 }), "CORRUPT_BATCH");
    assert.equal(refusal(batch, { maxDecompressedBytes: 0 }), "CORRUPT_BATCH");
  });
}

Deno.test("a compressed batch whose count its data cannot hold is refused", () => {
  const batch = changed(batchOf({ compression: "zstd" }), (view) => {
    view.setInt32(57, 9_000);
    view.setInt32(23, 8_999);
  });
  assert.equal(refusal(batch), "CORRUPT_BATCH");
});
