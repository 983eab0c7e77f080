// Owns records and limits for tests of the record batch codec, and changing a batch behind its CRC's back.
// Refuses to share code with what it tests, the CRC apart, which has its own tests.
// Invariant: nothing here is random.
import { crc32c } from "@node-rs/crc32";
import type { DecodedRecord } from "../../storage/format/decode.ts";
import type { RecordInput } from "../../storage/format/encode.ts";
import type { BatchLimits } from "../../storage/format/validate.ts";

export const T0 = 1_700_000_000_000;

export const LIMITS: BatchLimits = {
  crc32c,
  maxBatches: 10,
  maxRecords: 10_000,
  maxRecordBytes: 1_048_576,
  maxDecompressedBytes: 16_777_216,
};

const UNICODE = "Grüße, 世界 🌍 \u0000 é";
const LARGE = 65_536;

export function record(fields: Partial<RecordInput> = {}): RecordInput {
  return { key: null, value: null, headers: [], timestamp: T0, ...fields };
}

/** Batches of records by what is special about them. */
export const SAMPLES: Readonly<Record<string, readonly RecordInput[]>> = {
  "one record with null key and value": [record()],
  "empty keys and values": [
    record({ key: "", value: "" }),
    record({ key: new Uint8Array(0), value: new Uint8Array(0) }),
  ],
  "strings that are not ASCII": [
    record({ key: UNICODE, value: UNICODE.repeat(50) }),
    record({ key: "plain", value: "plain" }),
    record({ key: "é", value: "x".repeat(63) + "é" }),
    record({ key: "ключ", value: "x".repeat(8_190) + "日本語" }),
  ],
  "keys and values of 64 KiB": [
    record({ key: "k".repeat(LARGE), value: new Uint8Array(LARGE).map((_, at) => at * 7) }),
    record({ key: new Uint8Array(LARGE).fill(255), value: "v".repeat(LARGE) }),
  ],
  "headers": [
    record({
      value: "v",
      headers: [["traceparent", "00-abc"], ["empty", ""], ["bytes", Uint8Array.of(0, 255)]],
    }),
    record({ value: "v", headers: [["ключ", UNICODE]] }),
    record({ value: "none" }),
  ],
  "times that go back": [
    record({ timestamp: T0 }),
    record({ timestamp: T0 - 1 }),
    record({ timestamp: T0 - 2 ** 31 + 1 }),
    record({ timestamp: T0 + 2 ** 31 - 1 }),
  ],
  "times far apart": [
    record({ timestamp: T0 }),
    record({ timestamp: 0 }),
    record({ timestamp: T0 + 2 ** 31 }),
    record({ timestamp: T0 + 2 ** 32 + 1 }),
    record({ timestamp: Number.MAX_SAFE_INTEGER }),
  ],
  "a thousand records": Array.from(
    { length: 1_000 },
    (_, index) =>
      record({
        key: `key-${index % 7}`,
        value: `{"index":${index},"text":"${"abc".repeat(index % 40)}"}`,
        timestamp: T0 + index * 3,
      }),
  ),
};

/** What `records` should decode to. */
export function expected(records: readonly RecordInput[], baseOffset = 0): DecodedRecord[] {
  return records.map((input, index) => ({
    offset: baseOffset + index,
    timestamp: input.timestamp,
    key: toBytes(input.key),
    value: toBytes(input.value),
    headers: input.headers.map(([key, value]) => [key, toBytes(value)]),
  }));
}

export function toBytes(field: string | Uint8Array | null): Uint8Array | null {
  return typeof field === "string" ? new TextEncoder().encode(field) : field;
}

/** A copy of one batch with a valid length and CRC after `change` has had its way. */
export function changed(batch: Uint8Array, change: (copy: DataView) => void): Uint8Array {
  const copy = batch.slice();
  change(new DataView(copy.buffer));
  return sealed(copy);
}

/** A batch with other bytes in place of its records, valid length and CRC. */
export function withRecords(batch: Uint8Array, records: ArrayLike<number>): Uint8Array {
  const copy = new Uint8Array(61 + records.length);
  copy.set(batch.subarray(0, 61));
  copy.set(records, 61);
  return sealed(copy);
}

function sealed(batch: Uint8Array): Uint8Array {
  const view = new DataView(batch.buffer, batch.byteOffset, batch.length);
  view.setInt32(8, batch.length - 12);
  view.setUint32(17, crc32c(batch.subarray(21)));
  return batch;
}

/** The BrokerError that `run` throws, as its code; anything else it does is an error. */
export function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof Error && error.name === "BrokerError") {
      return (error as Error & { code: string }).code;
    }
    throw error;
  }
  throw new Error("nothing was thrown");
}
