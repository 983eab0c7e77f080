// Owns reading records one after the other out of fetched batches, each batch decoded when it is reached.
// Refuses to own fetching, and how a record looks to a client.
// Invariant: every record from the start position to the end of the bytes is handed out once, in order; hidden ones never.
import { decodeBatch, type DecodedRecord } from "../../storage/format/decode.ts";
import type { AbortedRange } from "../../actors/broker.ts";
import { batchSpans, readHeader } from "../../storage/format/record_batch.ts";
import { isHidden } from "../hidden_batches.ts";

/** A decoded record in memory beside its content, roughly. */
const RECORD_BYTES = 200;

export class RecordSource {
  /** Offset to read on from when nothing more is taken. */
  position: number;
  readonly #fetched: Uint8Array;
  readonly #options: {
    maxDecompressedBytes: number;
    aborted?: readonly AbortedRange[] | undefined;
  };
  readonly #spans: Iterator<{ at: number; sizeBytes: number }>;
  #records: readonly DecodedRecord[] = [];
  #index = 0;
  #endOffset: number;
  #damage: Error | null = null;

  constructor(
    fetched: Uint8Array,
    position: number,
    options: {
      readonly maxDecompressedBytes: number;
      readonly aborted?: readonly AbortedRange[] | undefined;
    },
  ) {
    this.#fetched = fetched;
    this.position = position;
    this.#endOffset = position;
    this.#options = options;
    this.#spans = batchSpans(fetched);
  }

  /** What was fetched, and what it became in memory of the batch that is being read: unpacked, and an object a record. */
  get heldBytes(): number {
    const bytes = this.#fetched.length + this.#records.length * RECORD_BYTES;
    const unpacked = this.#records.find(({ value }) => value !== null)?.value?.buffer;
    const isOwn = unpacked === undefined || unpacked === this.#fetched.buffer;
    return isOwn ? bytes : bytes + unpacked.byteLength;
  }

  /** The record that `next` would hand out; null at the end. Throws CORRUPT_BATCH, UNSUPPORTED_COMPRESSION. */
  peek(): DecodedRecord | null {
    while (this.#index === this.#records.length) {
      this.position = Math.max(this.position, this.#endOffset);
      if (!this.#decodeNext()) return null;
    }
    return this.#records[this.#index]!;
  }

  /** Moves past the record that `peek` showed. */
  advance(): void {
    this.position = this.#records[this.#index]!.offset + 1;
    this.#index++;
    // What a batch says it spans may go beyond its last record.
    if (this.#index === this.#records.length) this.position = this.#endOffset;
  }

  /** What is damaged stays damaged: a source that has met it never gets past it. */
  #decodeNext(): boolean {
    if (this.#damage !== null) throw this.#damage;
    try {
      const span = this.#spans.next();
      if (!span.done) this.#decode(span.value.at);
      return !span.done;
    } catch (error) {
      this.#damage = error as Error;
      throw error;
    }
  }

  #decode(at: number): void {
    const header = readHeader(this.#fetched, at);
    const { baseOffset, lastOffsetDelta } = header;
    const endOffset = Math.max(this.#endOffset, baseOffset + lastOffsetDelta + 1);
    const skipped = isHidden(header, this.#options.aborted) || endOffset <= this.position;
    const records = skipped ? [] : decodeBatch(this.#fetched, at, this.#options);
    this.#endOffset = endOffset;
    this.#records = records;
    this.#index = 0;
    while (this.#index < records.length && this.#before(this.#index)) this.#index++;
  }

  #before(index: number): boolean {
    return this.#records[index]!.offset < this.position;
  }
}
