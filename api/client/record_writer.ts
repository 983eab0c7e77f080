// Owns laying out records behind each other in a buffer: the client's hottest path.
// Refuses to own the batch around them (chunk.ts) or what a message may be (outgoing.ts).
// Invariant: `at` moves only past whole records; varints are minimal.
import {
  varintBytes,
  varlongBytes,
  writeVarint,
  writeVarlong,
} from "../../storage/format/varint.ts";
import type { RecordParts } from "./outgoing.ts";

/** Lengths, attributes and deltas of a record take at most this many bytes. */
export const MAX_RECORD_OVERHEAD_BYTES = 5 + 1 + 8 + 5 + 5 + 5;
/** Up to this length a loop over the characters beats a call into the engine. */
const SHORT_TEXT_LENGTH = 48;
const encoder = new TextEncoder();

/** Most bytes the record takes, exact but for its lengths and deltas; text counts as ASCII. */
export function recordBound(parts: RecordParts): number {
  return MAX_RECORD_OVERHEAD_BYTES + (parts.key === null ? 0 : parts.key.length) +
    (parts.value === null ? 0 : parts.value.length) + parts.headers.length;
}

/**
 * Writes into `bytes` from `at` on. Text is laid out as if it were ASCII, which is exact when it is and saves
 * measuring it; where it is not, the lengths before it are put right.
 */
export class RecordWriter {
  constructor(public bytes: Uint8Array, public at: number) {}

  /**
   * Writes one record; false when it does not fit, and nothing counts as written. When it was text that turned out
   * longer than ASCII, `parts.value` has become its bytes, so that `recordBound` knows better the next time.
   */
  write(parts: RecordParts, timestampDelta: number, offsetDelta: number): boolean {
    if (this.at + recordBound(parts) > this.bytes.length) return false;
    const { value } = parts;
    const fixedBytes = 1 + varlongBytes(timestampDelta) + varintBytes(offsetDelta) +
      (parts.key === null ? 1 : varintBytes(parts.key.length) + parts.key.length) +
      parts.headers.length;
    if (typeof value === "string") {
      return this.#writeText(value, parts, { fixedBytes, timestampDelta, offsetDelta });
    }
    const valueBytes = value === null ? 1 : varintBytes(value.length) + value.length;
    let at = writeVarint(this.bytes, this.at, fixedBytes + valueBytes);
    at = this.#writeStart(at, parts, timestampDelta, offsetDelta);
    if (value === null) {
      at = writeVarint(this.bytes, at, -1);
    } else {
      at = writeVarint(this.bytes, at, value.length);
      this.bytes.set(value, at);
      at += value.length;
    }
    this.#writeHeaders(at, parts.headers);
    return true;
  }

  #writeText(
    text: string,
    parts: RecordParts,
    known: { fixedBytes: number; timestampDelta: number; offsetDelta: number },
  ): boolean {
    const { fixedBytes, timestampDelta, offsetDelta } = known;
    const guess = text.length;
    const startBytes = fixedBytes - parts.headers.length;
    const prefixBytes = (valueBytes: number) => {
      const lengthBytes = varintBytes(valueBytes);
      return varintBytes(fixedBytes + lengthBytes + valueBytes) + startBytes + lengthBytes;
    };
    const guessedAt = this.at + prefixBytes(guess);
    const written = this.#putText(text, guessedAt);
    const valueAt = written === guess ? guessedAt : this.at + prefixBytes(written);
    const end = valueAt + written + parts.headers.length;
    if (written < 0 || end > this.bytes.length) {
      parts.value = encoder.encode(text);
      return false;
    }
    if (valueAt !== guessedAt) this.bytes.copyWithin(valueAt, guessedAt, guessedAt + written);
    const sizeBytes = fixedBytes + varintBytes(written) + written;
    let at = writeVarint(this.bytes, this.at, sizeBytes);
    at = this.#writeStart(at, parts, timestampDelta, offsetDelta);
    writeVarint(this.bytes, at, written);
    this.#writeHeaders(valueAt + written, parts.headers);
    return true;
  }

  /** Attributes, deltas and key. */
  #writeStart(
    at: number,
    parts: RecordParts,
    timestampDelta: number,
    offsetDelta: number,
  ): number {
    const { bytes } = this;
    const { key } = parts;
    bytes[at++] = 0;
    at = writeVarlong(bytes, at, timestampDelta);
    at = writeVarint(bytes, at, offsetDelta);
    if (key === null) return writeVarint(bytes, at, -1);
    at = writeVarint(bytes, at, key.length);
    if (key.length > SHORT_TEXT_LENGTH) bytes.set(key, at);
    else for (let index = 0; index < key.length; index++) bytes[at + index] = key[index]!;
    return at + key.length;
  }

  #writeHeaders(at: number, headers: Uint8Array): void {
    if (headers.length === 1) this.bytes[at] = headers[0]!;
    else this.bytes.set(headers, at);
    this.at = at + headers.length;
  }

  /** Bytes written, -1 when the text does not fit. */
  #putText(text: string, at: number): number {
    const { length } = text;
    const { bytes } = this;
    if (length <= SHORT_TEXT_LENGTH) {
      let index = 0;
      for (; index < length; index++) {
        const code = text.charCodeAt(index);
        if (code > 127) break;
        bytes[at + index] = code;
      }
      if (index === length) return length;
    }
    const result = encoder.encodeInto(text, bytes.subarray(at));
    return result.read === length ? result.written : -1;
  }
}
