// Owns messages as applications get them, with values decoded when they are looked at.
// Refuses to own where they came from and what is committed.
// Invariant: the rules are those of the contract: JSON values as JSON, valid UTF-8 as text, anything else as bytes.
import { decodeBatch, type DecodedRecord } from "../../storage/format/decode.ts";
import {
  batchSpans,
  CONTROL_BIT,
  crcMatches,
  HEADER_BYTES,
  lastOffsetDeltaAt,
  readHeader,
} from "../../storage/format/record_batch.ts";
import type { Crc32c } from "../../storage/ports.ts";
import { base64Of } from "./base64.ts";
import { WaybillError } from "./errors.ts";
import type { TopicPartition } from "./frames.ts";
import type { Json } from "./outgoing.ts";

/** What a compressed batch may unfold to. */
export const MAX_DECOMPRESSED_BYTES = 64 * 1_048_576;

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A message that was read. */
export class Message implements TopicPartition {
  readonly #record: DecodedRecord;
  #value: { readonly decoded: Json | Uint8Array } | null = null;

  constructor(
    readonly topic: string,
    readonly partition: number,
    record: DecodedRecord,
    /** Which delivery of it this is; above 1 after a nack. */
    readonly attempt: number = 1,
  ) {
    this.#record = record;
  }

  get offset(): number {
    return this.#record.offset;
  }

  /** ms since the epoch, -1 for none. */
  get timestamp(): number {
    return this.#record.timestamp;
  }

  /** Null when there is none, or when it is not UTF-8 (see `keyBytes`). */
  get key(): string | null {
    return this.#record.key === null ? null : textOrNull(this.#record.key);
  }

  /** A view: copy what must outlive the message's batch. */
  get keyBytes(): Uint8Array | null {
    return this.#record.key;
  }

  /** JSON, text or bytes, whatever it is; null for a tombstone. */
  get value(): Json | Uint8Array {
    this.#value ??= { decoded: decodeValue(this.#record) };
    return this.#value.decoded;
  }

  /** The value as it is stored, null for a tombstone. A view: copy what must outlive the message's batch. */
  get bytes(): Uint8Array | null {
    return this.#record.value;
  }

  /** Headers as text; of a name that occurs twice the last. */
  get headers(): Readonly<Record<string, string>> {
    const headers: Record<string, string> = Object.create(null);
    for (const [name, value] of this.#record.headers) {
      headers[name] = value === null ? "" : textOrNull(value) ?? "";
    }
    return headers;
  }

  /** Headers as they are stored. */
  get rawHeaders(): readonly (readonly [string, Uint8Array | null])[] {
    return this.#record.headers;
  }

  /** For `JSON.stringify`: as the broker's JSON tells messages, a key or value that is no text in base64. */
  toJSON(): Record<string, unknown> {
    const { topic, partition, offset, timestamp, key, keyBytes, value, headers, attempt } = this;
    return {
      topic,
      partition,
      offset,
      timestamp,
      key,
      ...(key === null && keyBytes !== null ? { keyBase64: base64Of(keyBytes) } : {}),
      ...(value instanceof Uint8Array ? { valueBase64: base64Of(value) } : { value }),
      headers,
      ...(attempt > 1 ? { attempt } : {}),
    };
  }
}

function decodeValue(record: DecodedRecord): Json | Uint8Array {
  if (record.value === null) return null;
  const text = textOrNull(record.value);
  if (text === null) return record.value;
  if (!isJson(record)) return text;
  try {
    return JSON.parse(text) as Json;
  } catch {
    return text;
  }
}

function isJson(record: DecodedRecord): boolean {
  for (const [name, value] of record.headers) {
    if (value === null || name.toLowerCase() !== "content-type") continue;
    const type = textOrNull(value) ?? "";
    return type.split(";", 1)[0]!.trim().toLowerCase() === "application/json";
  }
  return false;
}

function textOrNull(bytes: Uint8Array): string | null {
  try {
    return utf8.decode(bytes);
  } catch {
    return null;
  }
}

export interface RecordRange {
  /** Records in [from, to) are wanted. */
  readonly from: number;
  readonly to: number;
  /** Checks each batch; null trusts them. */
  readonly crc32c: Crc32c | null;
}

/** The records of concatenated batches that are wanted. CORRUPT_BATCH, UNSUPPORTED_COMPRESSION. */
export function recordsIn(batches: Uint8Array, range: RecordRange): DecodedRecord[] {
  const all: DecodedRecord[] = [];
  for (const { at } of batchSpans(batches)) {
    const header = readHeader(batches, at);
    if (header.baseOffset >= range.to) break;
    if (header.baseOffset + lastOffsetDeltaAt(batches, at) < range.from) continue;
    if (range.crc32c !== null && !crcMatches(batches, at, range.crc32c)) {
      const detail = `the batch at offset ${header.baseOffset} does not match its CRC`;
      throw new WaybillError("CORRUPT_BATCH", detail, { retryable: true });
    }
    // What transactions leave behind for the broker is not for readers.
    if (header.attributes & CONTROL_BIT) continue;
    const records = decodeBatch(batches, at, { maxDecompressedBytes: MAX_DECOMPRESSED_BYTES });
    const isWhole = header.baseOffset >= range.from &&
      header.baseOffset + header.lastOffsetDelta < range.to;
    const wanted = isWhole
      ? records
      : records.filter(({ offset }) => offset >= range.from && offset < range.to);
    if (all.length === 0 && at + header.sizeBytes + HEADER_BYTES > batches.length) return wanted;
    for (const record of wanted) all.push(record);
  }
  return all;
}
