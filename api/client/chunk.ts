// Owns the body of one publish request while it is put together: record batches behind each other in one buffer.
// Refuses to own when it is sent (accumulator.ts, sender.ts) or where its memory comes from (buffer_pool.ts).
// Invariant: what was appended is never encoded again; each batch remembers whose records it holds, in order.
import { HEADER_BYTES, writeHeader } from "../../storage/format/record_batch.ts";
import type { Crc32c } from "../../storage/ports.ts";
import type { Owner } from "./delivery.ts";
import { SEQUENCES, type Stamp } from "./identity.ts";
import type { RecordParts } from "./outgoing.ts";
import type { CrcPort } from "./ports.ts";
import { MAX_RECORD_OVERHEAD_BYTES, recordBound, RecordWriter } from "./record_writer.ts";

/** A batch within a chunk: bytes from `start` to `end`. */
export interface ChunkBatch {
  readonly start: number;
  end: number;
  count: number;
  readonly baseTimestamp: number;
  maxTimestamp: number;
  /** Who waits for what: `owners[i]` has the records from `ownerStarts[i]` to `ownerStarts[i + 1]`. */
  readonly owners: Owner[];
  readonly ownerStarts: number[];
}

export interface ChunkLimits {
  /** A batch is closed when it has reached this size. */
  readonly maxBatchBytes: number;
  /** A request holds more than this only for the sake of one message that is larger. */
  readonly maxRequestBytes: number;
  /** Memory for all that waits. */
  readonly maxBufferedBytes: number;
  /** Most messages in one request. */
  readonly maxRequestMessages: number;
}

/** What a chunk needs of its surroundings. */
export interface ChunkEnv {
  readonly limits: ChunkLimits;
  readonly crc: CrcPort;
}

/** "grow": there is no room in this buffer, but the limits allow a larger one. "full": the limits do not. */
export type Appended = "appended" | "grow" | "full";

export class Chunk {
  readonly batches: ChunkBatch[] = [];
  messages = 0;
  /** No more is appended. */
  closed = false;
  /** Who sends it, with which sequence numbers; null for nobody in particular, and before it is sent. */
  stamp: Stamp | null = null;
  /** Its messages have idempotency keys, by which the broker knows them: they take no sequence numbers. */
  keyed = false;
  /** An attempt had an outcome that is not known: it must be sent again as it was, or not at all. */
  uncertain = false;
  /** Every batch has its header. */
  #sealed = false;
  /** The wait for company is over. */
  lingered = false;
  /** Failed attempts so far. */
  attempts = 0;
  /** Called once when everything in it has been answered for. */
  onSettled: (() => void)[] = [];
  #open: ChunkBatch | null = null;
  #writer: RecordWriter;

  /** What the buffer counts as against the bound of memory. */
  countedBytes: number;

  /** `createdAt` and `deadline` are monotonic, ms. */
  constructor(buffer: Uint8Array, readonly createdAt: number, readonly deadline: number) {
    this.#writer = new RecordWriter(buffer, 0);
    this.countedBytes = buffer.length;
  }

  get buffer(): Uint8Array {
    return this.#writer.bytes;
  }

  get sizeBytes(): number {
    return this.#writer.at;
  }

  /** What to send; the chunk must be sealed. */
  get body(): Uint8Array {
    return this.#writer.bytes.subarray(0, this.#writer.at);
  }

  /** True when waiting for company would not make the first batch any larger. */
  hasWholeBatch(limits: ChunkLimits): boolean {
    const first = this.batches[0];
    if (first === undefined) return false;
    return this.batches.length > 1 || this.#open === null ||
      this.#writer.at - first.start >= limits.maxBatchBytes;
  }

  /** True when the batch under construction takes no more. */
  isBatchFull(limits: ChunkLimits): boolean {
    return this.#open === null || this.#writer.at - this.#open.start >= limits.maxBatchBytes;
  }

  /** Bytes that the buffer must have for the record to fit, at most. */
  boundWith(parts: RecordParts): number {
    return this.#writer.at + HEADER_BYTES + recordBound(parts);
  }

  append(parts: RecordParts, owner: Owner, env: ChunkEnv): Appended {
    const { limits } = env;
    const keyed = parts.idempotencyKey !== null;
    if (this.messages === 0) this.keyed = keyed;
    if (this.messages >= limits.maxRequestMessages || this.keyed !== keyed) return "full";
    let batch = this.#open;
    if (batch !== null && this.#writer.at - batch.start >= limits.maxBatchBytes) {
      this.#closeBatch();
      batch = null;
    }
    const before = this.#writer.at;
    const recordAt = batch === null ? before + HEADER_BYTES : before;
    const excess = recordAt + recordBound(parts) - limits.maxRequestBytes;
    // A chunk that holds nothing takes any record: whoever appends has refused those that no buffer can hold.
    if (excess > 0 && this.messages > 0) return "full";
    batch ??= newBatch(before, parts.timestamp);
    this.#writer.at = recordAt;
    if (!this.#writer.write(parts, parts.timestamp - batch.baseTimestamp, batch.count)) {
      this.#writer.at = before;
      return "grow";
    }
    if (this.#open === null) this.batches.push(this.#open = batch);
    countIn(batch, owner, parts.timestamp);
    this.messages++;
    return "appended";
  }

  /** Goes on in a larger buffer; returns the one that was left. */
  moveTo(larger: Uint8Array): Uint8Array {
    const left = this.#writer.bytes;
    larger.set(this.body);
    this.#writer.bytes = larger;
    this.countedBytes = larger.length;
    return left;
  }

  /** Makes this a closed chunk of one ready batch, which fills the buffer. */
  adopt(batch: ChunkBatch): void {
    this.batches.push(batch);
    this.messages = batch.count;
    this.#writer.at = batch.end;
    this.closed = true;
    this.#sealed = true;
  }

  close(): void {
    if (this.#open !== null) this.#closeBatch();
    this.closed = true;
  }

  /**
   * Closes the chunk and writes the header of every batch, so that it can be sent or read. Late, since the sequence
   * numbers are known only when what came before has been answered for.
   */
  seal(stamp: Stamp | null, crc32c: Crc32c): void {
    this.close();
    if (this.#sealed && sameStamp(this.stamp, stamp)) return;
    this.stamp = stamp;
    let sequence = stamp?.sequence ?? -1;
    for (const batch of this.batches) {
      this.#writeHeader(batch, sequence, crc32c);
      if (stamp !== null) sequence = (sequence + batch.count) % SEQUENCES;
    }
    this.#sealed = true;
  }

  /** For what only wants to read the records. */
  sealAsIs(crc32c: Crc32c): void {
    this.seal(this.stamp, crc32c);
  }

  #closeBatch(): void {
    this.#open!.end = this.#writer.at;
    this.#open = null;
  }

  #writeHeader(batch: ChunkBatch, sequence: number, crc32c: Crc32c): void {
    const identity = this.stamp?.identity;
    writeHeader(this.#writer.bytes.subarray(batch.start, batch.end), {
      sizeBytes: batch.end - batch.start,
      attributes: 0,
      lastOffsetDelta: batch.count - 1,
      baseTimestamp: batch.baseTimestamp,
      maxTimestamp: batch.maxTimestamp,
      producerId: identity?.producerId ?? -1,
      producerEpoch: identity?.producerEpoch ?? -1,
      baseSequence: sequence,
      recordCount: batch.count,
    }, crc32c);
  }
}

function sameStamp(one: Stamp | null, other: Stamp | null): boolean {
  return one?.identity === other?.identity && one?.sequence === other?.sequence;
}

/** Most bytes that a record may take so that the buffer can hold it alone. */
export function largestRecord(limits: ChunkLimits): number {
  return limits.maxBufferedBytes - HEADER_BYTES - MAX_RECORD_OVERHEAD_BYTES;
}

function newBatch(start: number, timestamp: number): ChunkBatch {
  return {
    start,
    end: start,
    count: 0,
    baseTimestamp: timestamp,
    maxTimestamp: timestamp,
    owners: [],
    ownerStarts: [],
  };
}

function countIn(batch: ChunkBatch, owner: Owner, timestamp: number): void {
  if (batch.owners.length === 0 || batch.owners[batch.owners.length - 1] !== owner) {
    batch.owners.push(owner);
    batch.ownerStarts.push(batch.count);
  }
  if (timestamp > batch.maxTimestamp) batch.maxTimestamp = timestamp;
  batch.count++;
}
