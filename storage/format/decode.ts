// Owns reading the records of a stored or received batch.
// Refuses to own trust in its CRC and sequence (validate.ts): what is malformed is refused, what is merely odd is read.
// Invariant: nothing is allocated in proportion to a number the bytes claim before that number is checked.
import { codecNamed, compressionOf } from "./compression.ts";
import {
  type BatchHeader,
  CODEC_MASK,
  corruptBatch,
  HEADER_BYTES,
  LOG_APPEND_TIME_BIT,
  readHeader,
} from "./record_batch.ts";
import { Cursor } from "./varint.ts";

/** One record as read. Key, value and header values may be views into the batch: copy what must outlive it. */
export interface DecodedRecord {
  readonly offset: number;
  /** ms since the epoch, -1 for none. */
  readonly timestamp: number;
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
  readonly headers: [string, Uint8Array | null][];
}

/** Length, attributes, timestamp and offset deltas, key and value lengths, header count: one byte each at least. */
const MIN_RECORD_BYTES = 7;
const MIN_HEADER_BYTES = 2;
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Records of the batch at `at`, whatever codec it has, with their absolute offsets.
 * Throws CORRUPT_BATCH when it is malformed or holds more than `maxDecompressedBytes`, UNSUPPORTED_COMPRESSION when its
 * codec is not known here. The CRC is not checked.
 */
export function decodeBatch(
  bytes: Uint8Array,
  at: number,
  options: { maxDecompressedBytes: number },
): DecodedRecord[] {
  const header = readHeader(bytes, at);
  const cursor = recordsOf(bytes, at, { header, ...options });
  const records: DecodedRecord[] = [];
  const keys = new HeaderKeys();
  for (let index = 0; index < header.recordCount; index++) {
    records.push(decodeRecord(cursor, header, keys));
  }
  if (cursor.at !== cursor.end) {
    throw corruptBatch(`batch at ${at} goes on after its ${header.recordCount} records`, { at });
  }
  return records;
}

/**
 * A cursor over the records of the batch at `at`, decompressed where they are compressed. The count in the header is
 * known to fit into them. Errors: see decodeBatch.
 */
export function recordsOf(
  bytes: Uint8Array,
  at: number,
  options: { header: BatchHeader; maxDecompressedBytes: number },
): Cursor {
  const { header, maxDecompressedBytes } = options;
  const end = at + header.sizeBytes;
  if (end > bytes.length) {
    throw corruptBatch(`batch at ${at} is cut off`, { at, sizeBytes: header.sizeBytes });
  }
  const compression = compressionOf(header.attributes & CODEC_MASK);
  let cursor = new Cursor(bytes, at + HEADER_BYTES, end);
  if (compression !== "none") {
    const packed = bytes.subarray(cursor.at, end);
    const plain = codecNamed(compression).decompress(packed, maxDecompressedBytes);
    cursor = new Cursor(plain, 0, plain.length);
  }
  const { recordCount } = header;
  if (recordCount < 0 || recordCount * MIN_RECORD_BYTES > cursor.end - cursor.at) {
    throw corruptBatch(`batch at ${at} says it has ${recordCount} records`, { at, recordCount });
  }
  return cursor;
}

function decodeRecord(cursor: Cursor, header: BatchHeader, keys: HeaderKeys): DecodedRecord {
  const size = cursor.varint();
  const end = cursor.at + size;
  if (size < MIN_RECORD_BYTES - 1 || end > cursor.end) {
    throw badRecord(cursor, `${size} bytes long`);
  }
  cursor.byte();
  const timestamp = header.baseTimestamp + cursor.varlong();
  const offsetDelta = cursor.varint();
  const offset = header.baseOffset + offsetDelta;
  if (offsetDelta < 0 || offsetDelta > header.lastOffsetDelta || !Number.isSafeInteger(offset)) {
    throw badRecord(cursor, `at offset delta ${offsetDelta}`);
  }
  if (!Number.isSafeInteger(timestamp)) throw badRecord(cursor, `at time ${timestamp}`);
  const key = decodeField(cursor);
  const value = decodeField(cursor);
  const headers = decodeHeaders(cursor, keys);
  if (cursor.at !== end) throw badRecord(cursor, "not as long as it says");
  return {
    offset,
    timestamp: header.attributes & LOG_APPEND_TIME_BIT ? header.maxTimestamp : timestamp,
    key,
    value,
    headers,
  };
}

function decodeField(cursor: Cursor): Uint8Array | null {
  const length = cursor.varint();
  if (length === -1) return null;
  if (length < 0) throw badRecord(cursor, `with a field of ${length} bytes`);
  return cursor.take(length);
}

function decodeHeaders(cursor: Cursor, keys: HeaderKeys): [string, Uint8Array | null][] {
  const count = cursor.varint();
  const headers: [string, Uint8Array | null][] = [];
  if (count === 0) return headers;
  if (count < 0 || count * MIN_HEADER_BYTES > cursor.end - cursor.at) {
    throw badRecord(cursor, `with ${count} headers`);
  }
  for (let index = 0; index < count; index++) {
    const length = cursor.varint();
    if (length < 0) throw badRecord(cursor, "with a header that has no key");
    const from = cursor.at;
    cursor.skip(length);
    headers.push([keys.text(cursor, from, index), decodeField(cursor)]);
  }
  return headers;
}

/**
 * Strings of header keys. Records of a batch mostly have the same ones in the same places: comparing bytes with those
 * of the record before is several times cheaper than decoding them.
 */
class HeaderKeys {
  readonly #texts: string[] = [];
  readonly #spans: number[] = [];

  /** The key from `from` to where the cursor is, the `index`th of its record. */
  text(cursor: Cursor, from: number, index: number): string {
    const { bytes, at } = cursor;
    const known = this.#texts[index];
    if (known !== undefined && this.#same(bytes, from, { to: at, index })) return known;
    try {
      const text = decoder.decode(bytes.subarray(from, at));
      this.#texts[index] = text;
      this.#spans[2 * index] = from;
      this.#spans[2 * index + 1] = at;
      return text;
    } catch {
      throw badRecord(cursor, "with a header key that is not UTF-8");
    }
  }

  #same(bytes: Uint8Array, from: number, other: { to: number; index: number }): boolean {
    const knownAt = this.#spans[2 * other.index]!;
    const length = other.to - from;
    if (this.#spans[2 * other.index + 1]! - knownAt !== length) return false;
    for (let at = 0; at < length; at++) {
      if (bytes[from + at] !== bytes[knownAt + at]) return false;
    }
    return true;
  }
}

function badRecord(cursor: Cursor, what: string): Error {
  return corruptBatch(`record data has a record ${what} before byte ${cursor.at}`, {
    at: cursor.at,
  });
}
