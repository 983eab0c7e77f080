// Owns the full check of record batches that come from somebody we do not trust.
// Refuses to own what is allowed where (topic, quota, producer state): limits are handed in.
// Invariant: a batch that passes can be stored, forwarded and decoded by anyone; nothing is allocated for a record.
import { BrokerError } from "../broker_error.ts";
import type { Crc32c } from "../ports.ts";
import { recordsOf } from "./decode.ts";
import {
  type BatchHeader,
  CODEC_MASK,
  CONTROL_BIT,
  corruptBatch,
  CRC_START,
  readHeader,
  TRANSACTIONAL_BIT,
} from "./record_batch.ts";
import { isUtf8 } from "./utf8.ts";
import type { Cursor } from "./varint.ts";

/** Bounds of one call. */
export interface BatchLimits {
  readonly crc32c: Crc32c;
  readonly maxBatches: number;
  /** Records of all batches together. */
  readonly maxRecords: number;
  /** Key, value and headers of one record together, without their lengths. */
  readonly maxRecordBytes: number;
  /** What the compressed batches may hold together. */
  readonly maxDecompressedBytes: number;
  /** What one compressed batch may hold, if less. Default: no less. */
  readonly maxBatchDecompressedBytes?: number;
  /** Let control batches (transaction markers) pass. Default false: no client may write one. */
  readonly allowControl?: boolean;
  /** Let transactional batches pass. Default false. */
  readonly allowTransactional?: boolean;
  /** UTF-8 of a header's name: batches that hold such a header are told. */
  readonly headerOfInterest?: Uint8Array;
}

const NO_HEADER = new Uint8Array(0);

/** One batch that passed. */
export interface ValidBatch {
  readonly at: number;
  readonly sizeBytes: number;
  readonly recordCount: number;
  /** Null: of no producer. */
  readonly producerId: number | null;
  /** Whether a record has the header of interest. */
  readonly hasHeader: boolean;
}

/**
 * Checks concatenated batches from end to end.
 * Throws CORRUPT_BATCH (malformed in any way, or a forbidden attribute), MESSAGE_TOO_LARGE (a record), REQUEST_TOO_LARGE
 * (too many batches or records), UNSUPPORTED_COMPRESSION.
 */
export function validateBatches(bytes: Uint8Array, limits: BatchLimits): ValidBatch[] {
  const valid: ValidBatch[] = [];
  let recordsLeft = limits.maxRecords;
  let decompressedBytesLeft = limits.maxDecompressedBytes;
  for (let at = 0; at < bytes.length;) {
    if (valid.length === limits.maxBatches) {
      throw tooMany(`more than ${limits.maxBatches} batches`, { maxBatches: limits.maxBatches });
    }
    const header = readHeader(bytes, at);
    checkHeader(bytes, at, { header, limits });
    recordsLeft -= header.recordCount;
    if (recordsLeft < 0) {
      throw tooMany(`more than ${limits.maxRecords} records`, { maxRecords: limits.maxRecords });
    }
    const maxDecompressedBytes = Math.min(
      decompressedBytesLeft,
      limits.maxBatchDecompressedBytes ?? Infinity,
    );
    const cursor = recordsOf(bytes, at, { header, maxDecompressedBytes });
    if ((header.attributes & CODEC_MASK) !== 0) decompressedBytesLeft -= cursor.end;
    const { sizeBytes, recordCount, producerId } = header;
    const hasHeader = checkRecords(cursor, header, limits);
    valid.push({
      at,
      sizeBytes,
      recordCount,
      producerId: producerId === -1 ? null : producerId,
      hasHeader,
    });
    at += header.sizeBytes;
  }
  return valid;
}

function checkHeader(
  bytes: Uint8Array,
  at: number,
  options: { header: BatchHeader; limits: BatchLimits },
): void {
  const { header, limits } = options;
  const { sizeBytes, recordCount, lastOffsetDelta, attributes } = header;
  if (at + sizeBytes > bytes.length) {
    throw refused(at, `is cut off: ${sizeBytes} bytes, ${bytes.length - at} are there`);
  }
  const crc = limits.crc32c(bytes.subarray(at + CRC_START, at + sizeBytes));
  if (crc !== header.crc) throw refused(at, `has CRC ${header.crc}, its bytes have ${crc}`);
  if (recordCount < 1) throw refused(at, `has ${recordCount} records`);
  if (lastOffsetDelta !== recordCount - 1) {
    throw refused(at, `has ${recordCount} records and last offset delta ${lastOffsetDelta}`);
  }
  if (header.baseOffset < 0 || header.baseOffset > Number.MAX_SAFE_INTEGER - lastOffsetDelta) {
    throw refused(at, `has base offset ${header.baseOffset}`);
  }
  checkAttributes(at, attributes, limits);
  checkProducer(at, header);
  checkTime(at, "base", header.baseTimestamp);
  checkTime(at, "max", header.maxTimestamp);
}

function checkAttributes(at: number, attributes: number, limits: BatchLimits): void {
  if (attributes & CONTROL_BIT && !limits.allowControl) {
    throw refused(at, "is a control batch, which only the broker writes");
  }
  if (attributes & TRANSACTIONAL_BIT && !limits.allowTransactional) {
    throw refused(at, "is transactional, which is not allowed here");
  }
  // Log append time and delete horizon are the broker's to set; the bits above mean nothing yet.
  if (attributes & ~(CODEC_MASK | CONTROL_BIT | TRANSACTIONAL_BIT)) {
    throw refused(at, `has attributes 0x${attributes.toString(16)}`);
  }
}

/**
 * With a producer id the other two must be there (markers have no sequence); without one clients put 0 or -1 into them.
 * Sequences may wrap from 2^31 - 1 to 0.
 */
function checkProducer(at: number, header: BatchHeader): void {
  const { producerId, producerEpoch, baseSequence } = header;
  const control = (header.attributes & CONTROL_BIT) !== 0;
  const none = producerId === -1 && producerEpoch >= -1 && baseSequence >= -1;
  const all = producerId >= 0 && producerEpoch >= 0 && (control || baseSequence >= 0);
  const transactional = (header.attributes & TRANSACTIONAL_BIT) !== 0;
  if (!all && (!none || transactional)) {
    throw refused(
      at,
      `has producer id ${producerId}, epoch ${producerEpoch} and sequence ${baseSequence}`,
    );
  }
}

function checkTime(at: number, which: string, timestamp: number): void {
  if (timestamp < -1) throw refused(at, `has ${which} timestamp ${timestamp}`);
}

/** Returns whether a record has the header of interest. */
function checkRecords(
  cursor: Cursor,
  header: BatchHeader,
  { maxRecordBytes, headerOfInterest = NO_HEADER }: BatchLimits,
): boolean {
  const found = { name: headerOfInterest, hasHeader: false };
  let maxTimestamp = -1;
  for (let index = 0; index < header.recordCount; index++) {
    const size = cursor.varint();
    const end = cursor.at + size;
    if (size < 0 || end > cursor.end) throw badRecord(index, `overruns with ${size} bytes`);
    if (cursor.byte() !== 0) throw badRecord(index, "has attributes");
    const timestamp = header.baseTimestamp + cursor.varlong();
    if (timestamp < -1 || timestamp > Number.MAX_SAFE_INTEGER) {
      throw badRecord(index, `has timestamp ${timestamp}`);
    }
    if (timestamp > maxTimestamp) maxTimestamp = timestamp;
    const offsetDelta = cursor.varint();
    if (offsetDelta !== index) throw badRecord(index, `has offset delta ${offsetDelta}`);
    const contentBytes = skipField(cursor, index) + skipField(cursor, index) +
      skipHeaders(cursor, index, found);
    if (cursor.at !== end) throw badRecord(index, `is not ${size} bytes long as it says`);
    if (contentBytes > maxRecordBytes) throw tooLarge(index, contentBytes, maxRecordBytes);
  }
  if (cursor.at !== cursor.end) throw corruptBatch("there is something after the last record");
  if (maxTimestamp !== header.maxTimestamp) {
    throw corruptBatch(`max timestamp is ${header.maxTimestamp}, of the records ${maxTimestamp}`);
  }
  return found.hasHeader;
}

/** Returns the bytes of a key or value; 0 for null. */
function skipField(cursor: Cursor, index: number): number {
  const length = cursor.varint();
  if (length > 0) cursor.skip(length);
  else if (length < -1) throw badRecord(index, `has a field of ${length} bytes`);
  return length > 0 ? length : 0;
}

/** Returns the bytes of all header keys and values. */
function skipHeaders(
  cursor: Cursor,
  index: number,
  found: { readonly name: Uint8Array; hasHeader: boolean },
): number {
  const count = cursor.varint();
  if (count < 0) throw badRecord(index, `has ${count} headers`);
  let total = 0;
  for (let left = count; left > 0; left--) {
    const length = cursor.varint();
    if (length < 0) throw badRecord(index, `has a header key of ${length} bytes`);
    const from = cursor.at;
    cursor.skip(length);
    if (!isUtf8(cursor.bytes, from, cursor.at)) {
      throw badRecord(index, "has a header key that is not UTF-8");
    }
    if (!found.hasHeader) found.hasHeader = isAt(cursor.bytes, from, { length, name: found.name });
    total += length + skipField(cursor, index);
  }
  return total;
}

function isAt(
  bytes: Uint8Array,
  at: number,
  { length, name }: { length: number; name: Uint8Array },
): boolean {
  if (length !== name.length) return false;
  for (let index = 0; index < length; index++) {
    if (bytes[at + index] !== name[index]) return false;
  }
  return length > 0;
}

function refused(at: number, what: string): BrokerError {
  return corruptBatch(`batch at ${at} ${what}`, { at });
}

function badRecord(index: number, what: string): BrokerError {
  return corruptBatch(`record ${index} ${what}`, { record: index });
}

function tooMany(what: string, details: Record<string, unknown>): BrokerError {
  return new BrokerError("REQUEST_TOO_LARGE", `the request holds ${what}`, details);
}

function tooLarge(index: number, sizeBytes: number, maxRecordBytes: number): BrokerError {
  return new BrokerError(
    "MESSAGE_TOO_LARGE",
    `record ${index} has ${sizeBytes} bytes, at most ${maxRecordBytes} are allowed`,
    { record: index, sizeBytes, maxRecordBytes },
  );
}
