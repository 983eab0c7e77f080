// Owns small, valid record batches (magic 2, no compression) for tests of what stores them.
// Refuses to share code with storage/format/: written from the format's description, so that one can check the other.
// Invariant: the same options give the same bytes.
import { crc32c } from "@node-rs/crc32";

export interface SampleBatchOptions {
  baseOffset: number;
  leaderEpoch?: number;
  /** Timestamp of each record, ms; one record at time 0 when left out. */
  timestamps?: readonly number[];
  /** Length of each record's value. */
  valueBytes?: number;
  /** First byte of every value, to tell two batches with the same offsets apart. */
  mark?: number;
}

/** A record batch as it lies in a log: base offset and leader epoch are set. */
export function sampleBatch(options: SampleBatchOptions): Uint8Array {
  const { baseOffset, leaderEpoch = 0, timestamps = [0], valueBytes = 20, mark = 0 } = options;
  const baseTimestamp = timestamps[0] ?? 0;
  const records = timestamps.map((timestamp, index) => {
    const value = Uint8Array.from({ length: valueBytes }, (_, at) => (mark + index + at) & 0xff);
    const before = [0, ...varint(timestamp - baseTimestamp), ...varint(index), ...varint(-1)];
    before.push(...varint(value.length));
    // No headers follow the value.
    const lengthBytes = varint(before.length + value.length + 1);
    return { before: [...lengthBytes, ...before], value };
  });
  const sizeBytes = records.reduce(
    (sum, { before, value }) => sum + before.length + value.length + 1,
    61,
  );
  const bytes = new Uint8Array(sizeBytes);
  let at = 61;
  for (const { before, value } of records) {
    bytes.set(before, at);
    bytes.set(value, at + before.length);
    at += before.length + value.length + 1;
  }
  const view = new DataView(bytes.buffer);
  view.setBigInt64(0, BigInt(baseOffset));
  view.setInt32(8, bytes.length - 12);
  view.setInt32(12, leaderEpoch);
  view.setInt8(16, 2);
  view.setInt32(23, timestamps.length - 1);
  view.setBigInt64(27, BigInt(baseTimestamp));
  view.setBigInt64(35, BigInt(Math.max(...timestamps)));
  view.setBigInt64(43, -1n);
  view.setInt16(51, -1);
  view.setInt32(53, -1);
  view.setInt32(57, timestamps.length);
  view.setUint32(17, crc32c(bytes.subarray(21)));
  return bytes;
}

/** Zigzag variable-length integer, least significant group first. */
function varint(value: number): number[] {
  let rest = BigInt.asUintN(64, (BigInt(value) << 1n) ^ (BigInt(value) >> 63n));
  const bytes: number[] = [];
  for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  bytes.push(Number(rest));
  return bytes;
}
