// Owns building a record batch from records: the broker's hottest path on publish.
// Refuses to own offsets and leader epochs (0 and -1 here; whoever appends patches them) and limits (the edge's).
// Invariant: the result owns a buffer of exactly its size, and its varints are minimal.
import { BrokerError } from "../broker_error.ts";
import type { Crc32c } from "../ports.ts";
import { codecNamed, type Compression, COMPRESSIONS } from "./compression.ts";
import { CONTROL_BIT, HEADER_BYTES, TRANSACTIONAL_BIT, writeHeader } from "./record_batch.ts";
import { varintBytes, varlongBytes, writeVarint, writeVarlong } from "./varint.ts";

/** One record to encode. Strings become UTF-8; `timestamp` is ms since the epoch, or -1 for none. */
export interface RecordInput {
  readonly key: string | Uint8Array | null;
  readonly value: string | Uint8Array | null;
  readonly headers: readonly (readonly [string, string | Uint8Array | null])[];
  readonly timestamp: number;
}

export interface EncodeOptions {
  readonly crc32c: Crc32c;
  /** Default "none". UNSUPPORTED_COMPRESSION when its codec is not installed. */
  readonly compression?: Compression;
  /** These three are -1 (none) unless given. */
  readonly producerId?: number;
  readonly producerEpoch?: number;
  readonly baseSequence?: number;
  readonly transactional?: boolean;
  readonly control?: boolean;
}

const MAX_BATCH_BYTES = 0x7fffffff;
/** Below this length a loop over the characters beats a call into the engine. */
const SHORT_TEXT_LENGTH = 24;
/** UTF-8 takes at most three bytes for each UTF-16 unit. */
const MAX_UTF8_RATIO = 3;
const encoder = new TextEncoder();

/**
 * One batch of `records` (at least one) with base offset 0 and leader epoch -1.
 * Throws INVALID_REQUEST for a timestamp that is not an integer from -1 to 2^53 - 1, MESSAGE_TOO_LARGE beyond 2 GiB.
 */
export function encodeBatch(records: readonly RecordInput[], options: EncodeOptions): Uint8Array {
  const first = records[0];
  if (first === undefined) throw new Error("a batch needs at least one record");
  const writer = new RecordWriter(records, first.timestamp);
  let maxTimestamp = -1;
  for (let index = 0; index < records.length; index++) {
    const record = records[index]!;
    if (record.timestamp > maxTimestamp) maxTimestamp = record.timestamp;
    writer.record(record, index);
  }
  const compression = options.compression ?? "none";
  const bytes = compression === "none" ? writer.finish() : compressed(writer.finish(), compression);
  writeHeader(bytes, {
    sizeBytes: bytes.length,
    attributes: COMPRESSIONS.indexOf(compression) |
      (options.transactional ? TRANSACTIONAL_BIT : 0) | (options.control ? CONTROL_BIT : 0),
    lastOffsetDelta: records.length - 1,
    baseTimestamp: first.timestamp,
    maxTimestamp,
    producerId: options.producerId ?? -1,
    producerEpoch: options.producerEpoch ?? -1,
    baseSequence: options.baseSequence ?? -1,
    recordCount: records.length,
  }, options.crc32c);
  return bytes;
}

function compressed(plain: Uint8Array, compression: Exclude<Compression, "none">): Uint8Array {
  const body = codecNamed(compression).compress(plain.subarray(HEADER_BYTES));
  const bytes = new Uint8Array(HEADER_BYTES + body.length);
  bytes.set(body, HEADER_BYTES);
  return bytes;
}

/**
 * Writes records behind each other. Sizes are first guessed as if every string were ASCII, which is exact when they
 * are and saves measuring them; where one is not, lengths already written are put right afterwards.
 */
class RecordWriter {
  #bytes: Uint8Array;
  #at = HEADER_BYTES;
  /** Size of the batch by what is known so far; `#bytes` is never smaller. */
  #expected: number;
  /** No string so far was anything else. The engine is twice as fast where the target has just the right size. */
  #ascii = true;
  readonly #baseTimestamp: number;

  constructor(records: readonly RecordInput[], baseTimestamp: number) {
    this.#baseTimestamp = baseTimestamp;
    let expected = HEADER_BYTES;
    for (let index = 0; index < records.length; index++) {
      const size = this.#guessedBody(records[index]!, index);
      expected += varintBytes(size) + size;
    }
    if (expected > MAX_BATCH_BYTES) throw tooLarge(expected);
    this.#expected = expected;
    this.#bytes = new Uint8Array(expected);
  }

  record(record: RecordInput, index: number): void {
    const guess = this.#guessedBody(record, index);
    const start = this.#at;
    let at = writeVarint(this.#bytes, start, guess);
    const bodyStart = at;
    this.#bytes[at++] = 0;
    at = writeVarlong(this.#bytes, at, record.timestamp - this.#baseTimestamp);
    this.#at = writeVarint(this.#bytes, at, index);
    this.#field(record.key);
    this.#field(record.value);
    this.#at = writeVarint(this.#bytes, this.#at, record.headers.length);
    for (let i = 0; i < record.headers.length; i++) {
      const header = record.headers[i]!;
      this.#field(header[0]);
      this.#field(header[1]);
    }
    const size = this.#at - bodyStart;
    if (size !== guess) this.#correctLength(start, bodyStart - start, size);
  }

  /** The batch so far, in a buffer of its own size. */
  finish(): Uint8Array {
    return this.#at === this.#bytes.length ? this.#bytes : this.#bytes.slice(0, this.#at);
  }

  #guessedBody(record: RecordInput, index: number): number {
    const { timestamp, headers } = record;
    if (!Number.isSafeInteger(timestamp) || timestamp < -1) {
      throw new BrokerError("INVALID_REQUEST", `record ${index} has the timestamp ${timestamp}`, {
        index,
      });
    }
    let size = 1 + varlongBytes(timestamp - this.#baseTimestamp) + varintBytes(index) +
      guessedField(record.key) + guessedField(record.value) + varintBytes(headers.length);
    for (let i = 0; i < headers.length; i++) {
      const header = headers[i]!;
      size += guessedField(header[0]) + guessedField(header[1]);
    }
    return size;
  }

  #field(field: string | Uint8Array | null): void {
    if (field === null) {
      this.#at = writeVarint(this.#bytes, this.#at, -1);
    } else if (typeof field === "string") {
      this.#text(field);
    } else {
      this.#at = writeVarint(this.#bytes, this.#at, field.length);
      this.#bytes.set(field, this.#at);
      this.#at += field.length;
    }
  }

  #text(text: string): void {
    const length = text.length;
    const start = this.#at;
    const at = writeVarint(this.#bytes, start, length);
    if (length <= SHORT_TEXT_LENGTH && putAscii(this.#bytes, at, text)) {
      this.#at = at + length;
      return;
    }
    const written = this.#encode(text, at);
    this.#at = at + written;
    if (written === length) return;
    this.#makeRoom(written - length);
    this.#correctLength(start, at - start, written);
  }

  /** Writes `text` at `at` and returns the bytes it took; the buffer grows where the guess was too small. */
  #encode(text: string, at: number): number {
    if (this.#ascii) {
      const end = at + text.length;
      const result = encoder.encodeInto(text, this.#bytes.subarray(at, end));
      if (result.read === text.length) return result.written;
      this.#ascii = false;
    }
    const result = encoder.encodeInto(text, this.#bytes.subarray(at));
    if (result.read === text.length) return result.written;
    this.#grow(at + text.length * MAX_UTF8_RATIO);
    return encoder.encodeInto(text, this.#bytes.subarray(at)).written;
  }

  /** Puts `size` in place of the length of `lengthBytes` bytes at `start`, for all that was written after it. */
  #correctLength(start: number, lengthBytes: number, size: number): void {
    const shift = varintBytes(size) - lengthBytes;
    if (shift > 0) {
      this.#makeRoom(shift);
      this.#bytes.copyWithin(start + lengthBytes + shift, start + lengthBytes, this.#at);
      this.#at += shift;
    }
    writeVarint(this.#bytes, start, size);
  }

  #makeRoom(extraBytes: number): void {
    this.#expected += extraBytes;
    if (this.#expected > this.#bytes.length) this.#grow(this.#expected);
  }

  #grow(neededBytes: number): void {
    if (neededBytes > MAX_BATCH_BYTES) throw tooLarge(neededBytes);
    const bytes = new Uint8Array(Math.min(MAX_BATCH_BYTES, neededBytes + (neededBytes >>> 2)));
    bytes.set(this.#bytes);
    this.#bytes = bytes;
  }
}

function guessedField(field: string | Uint8Array | null): number {
  return field === null ? 1 : varintBytes(field.length) + field.length;
}

/** False when `text` is not ASCII; what was written is then without meaning. */
function putAscii(bytes: Uint8Array, at: number, text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 127) return false;
    bytes[at + i] = code;
  }
  return true;
}

function tooLarge(sizeBytes: number): BrokerError {
  return new BrokerError("MESSAGE_TOO_LARGE", `a batch cannot be ${sizeBytes} bytes long`, {
    sizeBytes,
  });
}
