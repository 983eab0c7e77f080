// Owns walking fetched batches record by record, within a reader's bounds.
// Refuses to own fetching and what records are shown as.
// Invariant: the next offset it tells is right: every record below it was handed out or is none for readers.
import { decodeBatch, type DecodedRecord } from "../storage/format/decode.ts";
import { batchSpans, HEADER_BYTES, readHeader } from "../storage/format/record_batch.ts";
import type { FetchResult } from "../actors/broker.ts";
import { isHidden } from "./hidden_batches.ts";

export interface ReaderBounds {
  /** Records below are skipped: the first batch may start before it. */
  readonly offset: number;
  readonly maxMessages: number;
  /** Keys, values and headers together; the first record is handed out even when it is larger. */
  readonly maxBytes: number;
  readonly maxDecompressedBytes: number;
}

/** Reads fetched batches one record at a time; may be given one fetch after the other. */
export class RecordReader {
  #nextOffset: number;
  #messagesLeft: number;
  #bytesLeft: number;
  #first = true;
  readonly #maxDecompressedBytes: number;

  constructor(bounds: ReaderBounds) {
    this.#nextOffset = bounds.offset;
    this.#messagesLeft = bounds.maxMessages;
    this.#bytesLeft = bounds.maxBytes;
    this.#maxDecompressedBytes = bounds.maxDecompressedBytes;
  }

  /** Where reading goes on. */
  get nextOffset(): number {
    return this.#nextOffset;
  }

  /** True when a bound was reached: no further record will come. */
  get full(): boolean {
    return this.#messagesLeft === 0 || (this.#bytesLeft <= 0 && !this.#first);
  }

  /** What readers are shown of the batches from the next offset on, until a bound is reached. Throws CORRUPT_BATCH. */
  *records(
    { batches, aborted }: Pick<FetchResult, "batches" | "aborted">,
  ): Generator<DecodedRecord> {
    for (const { at } of batchSpans(batches)) {
      const header = readHeader(batches, at);
      const end = header.baseOffset + header.lastOffsetDelta + 1;
      if (end <= this.#nextOffset) continue;
      if (!isHidden(header, aborted)) yield* this.#ofBatch(batches, at);
      if (this.full) return;
      this.#nextOffset = end;
    }
  }

  *#ofBatch(batches: Uint8Array, at: number): Generator<DecodedRecord> {
    const maxDecompressedBytes = this.#maxDecompressedBytes;
    for (const record of decodeBatch(batches, at, { maxDecompressedBytes })) {
      if (record.offset < this.#nextOffset) continue;
      const sizeBytes = contentBytes(record);
      if (this.#messagesLeft === 0) return;
      if (sizeBytes > this.#bytesLeft && !this.#first) {
        this.#bytesLeft = 0;
        return;
      }
      this.#first = false;
      this.#messagesLeft--;
      this.#bytesLeft -= sizeBytes;
      this.#nextOffset = record.offset + 1;
      yield record;
    }
  }
}

/** Offset behind the last of concatenated batches; `fallback` when there is none. */
export function endOffsetOf(batches: Uint8Array, fallback: number): number {
  let end = fallback;
  for (const { at } of batchSpans(batches)) {
    const header = readHeader(batches.subarray(at, at + HEADER_BYTES), 0);
    end = header.baseOffset + header.lastOffsetDelta + 1;
  }
  return end;
}

/** Bytes of key, value and headers, as a topic's maxMessageBytes counts them. */
export function contentBytes(record: DecodedRecord): number {
  let sizeBytes = (record.key?.length ?? 0) + (record.value?.length ?? 0);
  for (const [name, value] of record.headers) sizeBytes += name.length + (value?.length ?? 0);
  return sizeBytes;
}
