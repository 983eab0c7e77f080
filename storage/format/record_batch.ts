// Owns the fixed part of a Kafka record batch (magic 2): where its fields lie, reading, patching, walking.
// Refuses to own records (encode.ts, decode.ts), trust (validate.ts) or how a CRC is computed (handed in).
// Invariant: only base offset and leader epoch are ever patched; both lie before the part that the CRC covers.
import { BrokerError } from "../broker_error.ts";
import type { Crc32c } from "../ports.ts";

/** Bytes of a batch before its first record. */
export const HEADER_BYTES = 61;
/** Bytes that the batch length field does not count: base offset and the field itself. */
export const PREFIX_BYTES = 12;
/** Where the part covered by the CRC starts: at the attributes. */
export const CRC_START = 21;
export const MAGIC = 2;

/** Bits of `attributes`, as KIP-98 and KIP-32 have them; bits 0 to 2 are the codec. */
export const CODEC_MASK = 0x07;
export const LOG_APPEND_TIME_BIT = 0x08;
export const TRANSACTIONAL_BIT = 0x10;
export const CONTROL_BIT = 0x20;

const AT_LENGTH = 8;
const AT_LEADER_EPOCH = 12;
const AT_MAGIC = 16;
const AT_CRC = 17;
const AT_ATTRIBUTES = 21;
const AT_LAST_OFFSET_DELTA = 23;
const AT_BASE_TIMESTAMP = 27;
const AT_MAX_TIMESTAMP = 35;
const AT_PRODUCER_ID = 43;
const AT_PRODUCER_EPOCH = 51;
const AT_BASE_SEQUENCE = 53;
const AT_RECORD_COUNT = 57;
const TWO_32 = 0x1_0000_0000;

/** The header of a batch. Offsets, times (ms) and ids are safe integers; -1 where there is none. */
export interface BatchHeader {
  readonly baseOffset: number;
  /** The whole batch, with the 12 bytes that its length field leaves out. */
  readonly sizeBytes: number;
  readonly leaderEpoch: number;
  readonly magic: number;
  readonly crc: number;
  readonly attributes: number;
  readonly lastOffsetDelta: number;
  readonly baseTimestamp: number;
  readonly maxTimestamp: number;
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly baseSequence: number;
  readonly recordCount: number;
}

/** What is written by `writeHeader`; base offset is 0 and leader epoch -1, as a client leaves them. */
export type NewHeader = Omit<BatchHeader, "baseOffset" | "leaderEpoch" | "magic" | "crc">;

/** The error for bytes that are no batch. `details` should name where. */
export function corruptBatch(message: string, details: Record<string, unknown> = {}): BrokerError {
  return new BrokerError("CORRUPT_BATCH", message, details);
}

/**
 * Header of the batch at `at`. The records need not be there; 61 bytes must.
 * Throws CORRUPT_BATCH when they are not, for another magic, for a length below the header's, and for 64-bit values
 * beyond 2^53 - 1.
 */
export function readHeader(bytes: Uint8Array, at: number): BatchHeader {
  if (at < 0 || at + HEADER_BYTES > bytes.length) {
    throw corruptBatch(`a batch header needs ${HEADER_BYTES} bytes at ${at}, there are fewer`, {
      at,
      availableBytes: Math.max(0, bytes.length - at),
    });
  }
  const magic = bytes[at + AT_MAGIC]!;
  if (magic !== MAGIC) {
    throw corruptBatch(`batch at ${at} has magic ${magic}, only 2 is known`, { at, magic });
  }
  const sizeBytes = sizeBytesAt(bytes, at);
  if (sizeBytes < HEADER_BYTES) {
    throw corruptBatch(`batch at ${at} says it is ${sizeBytes} bytes long`, { at, sizeBytes });
  }
  return {
    baseOffset: int64(bytes, at),
    sizeBytes,
    leaderEpoch: int32(bytes, at + AT_LEADER_EPOCH),
    magic,
    crc: int32(bytes, at + AT_CRC) >>> 0,
    attributes: attributesAt(bytes, at),
    lastOffsetDelta: int32(bytes, at + AT_LAST_OFFSET_DELTA),
    baseTimestamp: int64(bytes, at + AT_BASE_TIMESTAMP),
    maxTimestamp: int64(bytes, at + AT_MAX_TIMESTAMP),
    producerId: int64(bytes, at + AT_PRODUCER_ID),
    producerEpoch: int32(bytes, at + AT_PRODUCER_EPOCH - 2) << 16 >> 16,
    baseSequence: int32(bytes, at + AT_BASE_SEQUENCE),
    recordCount: int32(bytes, at + AT_RECORD_COUNT),
  };
}

// The single-field readers below are for batches whose header is known to be there; they check nothing but the range
// of 64-bit values (CORRUPT_BATCH).

/** Offset of the first record. */
export function baseOffsetAt(bytes: Uint8Array, at: number): number {
  return int64(bytes, at);
}

/** Size of the whole batch as its length field tells it: may be nonsense for bytes that are no batch. */
export function sizeBytesAt(bytes: Uint8Array, at: number): number {
  return int32(bytes, at + AT_LENGTH) + PREFIX_BYTES;
}

/** Offset of the last record minus the base offset. */
export function lastOffsetDeltaAt(bytes: Uint8Array, at: number): number {
  return int32(bytes, at + AT_LAST_OFFSET_DELTA);
}

/** Largest timestamp of the records, ms. */
export function maxTimestampAt(bytes: Uint8Array, at: number): number {
  return int64(bytes, at + AT_MAX_TIMESTAMP);
}

/** Codec, transactional and control bits. */
export function attributesAt(bytes: Uint8Array, at: number): number {
  return (bytes[at + AT_ATTRIBUTES]! << 8) | bytes[at + AT_ATTRIBUTES + 1]!;
}

/** Epoch of the leader that appended the batch; -1 before that. */
export function leaderEpochAt(bytes: Uint8Array, at: number): number {
  return int32(bytes, at + AT_LEADER_EPOCH);
}

/** Whether the batch names its producer. */
export function hasProducer(bytes: Uint8Array, at: number): boolean {
  return bytes[at + AT_PRODUCER_ID]! < 0x80;
}

/** The producer that the batch names; -1 when it names none. */
export function producerIdAt(bytes: Uint8Array, at: number): number {
  return int64(bytes, at + AT_PRODUCER_ID);
}

/** Number of records. */
export function recordCountAt(bytes: Uint8Array, at: number): number {
  return int32(bytes, at + AT_RECORD_COUNT);
}

/** Gives the batch its offset; the CRC stays valid. */
export function setBaseOffset(bytes: Uint8Array, at: number, offset: number): void {
  if (!Number.isSafeInteger(offset) || offset < 0) throw new Error(`no base offset: ${offset}`);
  putInt64(bytes, at, offset);
}

/** Stamps the batch with the epoch of the leader that appends it; the CRC stays valid. */
export function setLeaderEpoch(bytes: Uint8Array, at: number, epoch: number): void {
  putInt32(bytes, at + AT_LEADER_EPOCH, epoch);
}

/** Says how long the whole batch is. */
export function setSizeBytes(bytes: Uint8Array, at: number, sizeBytes: number): void {
  putInt32(bytes, at + AT_LENGTH, sizeBytes - PREFIX_BYTES);
}

/** Gives the whole batch at `at` the CRC of its bytes. */
export function stampCrc(bytes: Uint8Array, at: number, crc32c: Crc32c): void {
  putInt32(bytes, at + AT_CRC, crc32c(bytes.subarray(at + CRC_START, at + sizeBytesAt(bytes, at))));
}

/** Whether the batch at `at` is whole and its CRC is that of its bytes. */
export function crcMatches(bytes: Uint8Array, at: number, crc32c: Crc32c): boolean {
  if (at + HEADER_BYTES > bytes.length) return false;
  const sizeBytes = sizeBytesAt(bytes, at);
  if (sizeBytes < HEADER_BYTES || at + sizeBytes > bytes.length) return false;
  return crc32c(bytes.subarray(at + CRC_START, at + sizeBytes)) ===
    (int32(bytes, at + AT_CRC) >>> 0);
}

/** Walks concatenated batches by their lengths. Throws CORRUPT_BATCH where a length is impossible or reaches past the end. */
export function* batchSpans(bytes: Uint8Array): Generator<{ at: number; sizeBytes: number }> {
  let at = 0;
  while (at < bytes.length) {
    const sizeBytes = at + HEADER_BYTES <= bytes.length ? sizeBytesAt(bytes, at) : -1;
    if (sizeBytes < HEADER_BYTES || at + sizeBytes > bytes.length) {
      throw corruptBatch(`no whole batch at byte ${at} of ${bytes.length}`, { at, sizeBytes });
    }
    yield { at, sizeBytes };
    at += sizeBytes;
  }
}

/** Writes a header at the start of `bytes`, whose records are in place, and then the CRC over them. */
export function writeHeader(bytes: Uint8Array, header: NewHeader, crc32c: Crc32c): void {
  putInt64(bytes, 0, 0);
  putInt32(bytes, AT_LENGTH, header.sizeBytes - PREFIX_BYTES);
  putInt32(bytes, AT_LEADER_EPOCH, -1);
  bytes[AT_MAGIC] = MAGIC;
  putInt16(bytes, AT_ATTRIBUTES, header.attributes);
  putInt32(bytes, AT_LAST_OFFSET_DELTA, header.lastOffsetDelta);
  putInt64(bytes, AT_BASE_TIMESTAMP, header.baseTimestamp);
  putInt64(bytes, AT_MAX_TIMESTAMP, header.maxTimestamp);
  putInt64(bytes, AT_PRODUCER_ID, header.producerId);
  putInt16(bytes, AT_PRODUCER_EPOCH, header.producerEpoch);
  putInt32(bytes, AT_BASE_SEQUENCE, header.baseSequence);
  putInt32(bytes, AT_RECORD_COUNT, header.recordCount);
  putInt32(bytes, AT_CRC, crc32c(bytes.subarray(CRC_START, header.sizeBytes)));
}

function int32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
}

function int64(bytes: Uint8Array, at: number): number {
  const value = int32(bytes, at) * TWO_32 + (int32(bytes, at + 4) >>> 0);
  if (!Number.isSafeInteger(value)) {
    throw corruptBatch(`64-bit value at byte ${at} is beyond 2^53 - 1`, { at });
  }
  return value;
}

function putInt16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 8;
  bytes[at + 1] = value;
}

function putInt32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 24;
  bytes[at + 1] = value >> 16;
  bytes[at + 2] = value >> 8;
  bytes[at + 3] = value;
}

function putInt64(bytes: Uint8Array, at: number, value: number): void {
  putInt32(bytes, at, Math.floor(value / TWO_32));
  putInt32(bytes, at + 4, value % TWO_32 | 0);
}
