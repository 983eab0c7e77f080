// Owns making message frames: messages decoded for json and msgpack, whole record batches for batch.
// Refuses to own which partition is next, the window and the socket.
// Invariant: a parcel's runs are exactly the messages in its frame; its next offset is past all of them.
import type { FetchResult, TopicPartition } from "../../actors/broker.ts";
import type { DecodedRecord } from "../../storage/format/decode.ts";
import { messageFromRecord, messageJson } from "../message.ts";
import { appendOffset, batchHolding, pieceAt } from "./batch_source.ts";
import { encodeFrame, type StreamFormat } from "./frames.ts";
import type { OffsetRange, OffsetRanges } from "./offset_ranges.ts";
import { RecordSource } from "./record_source.ts";
import type { Redelivery } from "./redeliveries.ts";

/** A frame to send, and what it holds. `frame` is null when there was nothing but gaps and control records. */
export interface Parcel {
  readonly frame: string | Uint8Array | null;
  readonly runs: readonly OffsetRange[];
  readonly nextOffset: number;
  /** The rest of its last batch has to be sent again, for want of room. */
  readonly cut: boolean;
  /** Timestamp of its newest message, or of the batch with it; -1: none is known. */
  readonly newestMs: number;
}

export interface ParcelOptions {
  /** Messages that fit the window, at least 1. */
  readonly room: number;
  readonly maxBytes: number;
  /** Messages from here on are not for now; default: all are. */
  readonly to?: number;
  /** Messages that are passed over. */
  readonly skips?: OffsetRanges;
}

/** Fetched batches of one partition, from which parcels are made until nothing is left. */
export interface Source {
  /** What it holds in memory; 0: nothing was fetched. */
  readonly sizeBytes: number;
  readonly highWatermark: number;
  /** Offset of the next message; what the session's position must still be for this source to be of use. */
  readonly position: number;
  /** Null at the end. Throws CORRUPT_BATCH, UNSUPPORTED_COMPRESSION. */
  next(options: ParcelOptions): Parcel | null;
  /** The parcel was sent: the next one starts behind it. */
  accept(parcel: Parcel): void;
}

export interface Parcels {
  open(at: TopicPartition, fetched: FetchResult, position: number): Source;
  /** A frame with the one nacked message; null when it is no longer in the log. */
  redelivery(at: TopicPartition, fetched: FetchResult, redelivery: Redelivery):
    | string
    | Uint8Array
    | null;
}

/** Bytes of a message beside key, value and headers, roughly, as text. */
const MESSAGE_OVERHEAD_BYTES = 100;

/** Parcels in `format`. `maxDecompressedBytes` bounds one batch. */
export function parcelsFor(
  format: StreamFormat,
  options: { readonly maxDecompressedBytes: number },
): Parcels {
  return format === "batch" ? new BatchParcels(options) : new DecodedParcels(format, options);
}

class DecodedParcels implements Parcels {
  constructor(
    readonly format: "json" | "msgpack",
    readonly options: { readonly maxDecompressedBytes: number },
  ) {}

  open(at: TopicPartition, fetched: FetchResult, position: number): Source {
    const { highWatermark, aborted } = fetched;
    const records = new RecordSource(fetched.batches, position, { ...this.options, aborted });
    return {
      get sizeBytes() {
        return records.heldBytes;
      },
      highWatermark,
      get position() {
        return records.position;
      },
      next: (options) => {
        const taken = takeRecords(records, options);
        if (taken.length === 0 && records.position === position) return beyond(records, options);
        const runs: OffsetRange[] = [];
        for (const record of taken) appendOffset(runs, record.offset);
        const frame = taken.length === 0 ? null : this.#frame(at, taken, { highWatermark });
        const newestMs = taken.at(-1)?.timestamp ?? -1;
        return { frame, runs, nextOffset: records.position, cut: false, newestMs };
      },
      accept: (parcel) => {
        position = parcel.nextOffset;
      },
    };
  }

  redelivery(at: TopicPartition, fetched: FetchResult, redelivery: Redelivery) {
    const { highWatermark, aborted } = fetched;
    const bounds = { ...this.options, aborted };
    const record = new RecordSource(fetched.batches, redelivery.offset, bounds).peek();
    if (record?.offset !== redelivery.offset) return null;
    return this.#frame(at, [record], { highWatermark, attempt: redelivery.attempt });
  }

  #frame(
    at: TopicPartition,
    records: readonly DecodedRecord[],
    more: { highWatermark: number; attempt?: number },
  ): string | Uint8Array {
    const { topic, partition } = at;
    const { highWatermark, attempt } = more;
    const place = attempt === undefined ? { topic, partition } : { topic, partition, attempt };
    if (this.format === "json") {
      const messages = records.map((record) => messageJson(record, place)).join();
      return `{"type":"messages","topic":"${topic}","partition":${partition},` +
        `"messages":[${messages}],"highWatermark":${highWatermark}}`;
    }
    const messages = records.map((record) => messageFromRecord(record, place));
    return encodeFrame({ type: "messages", topic, partition, messages, highWatermark }, "msgpack");
  }
}

/** A gap reaches up to what is not for now; null when there is nothing at all. */
function beyond(records: RecordSource, { to = Infinity }: ParcelOptions): Parcel | null {
  const next = records.peek();
  if (next === null || next.offset < to) return null;
  return { frame: null, runs: [], nextOffset: to, cut: false, newestMs: -1 };
}

function takeRecords(records: RecordSource, options: ParcelOptions): DecodedRecord[] {
  const taken: DecodedRecord[] = [];
  let bytes = 0;
  while (taken.length < options.room) {
    const record = peekBehind(records, taken.length > 0);
    if (record === null || record.offset >= (options.to ?? Infinity)) break;
    if (options.skips?.has(record.offset)) {
      records.advance();
      continue;
    }
    bytes += sizeOf(record);
    if (bytes > options.maxBytes && taken.length > 0) break;
    taken.push(record);
    records.advance();
  }
  return taken;
}

/** What was read before a damaged batch is still delivered; the next turn meets the damage first and throws. */
function peekBehind(records: RecordSource, hasTaken: boolean): DecodedRecord | null {
  try {
    return records.peek();
  } catch (error) {
    if (hasTaken) return null;
    throw error;
  }
}

/** Bytes of a message in a frame, roughly: what is bounded by it is a turn, not memory. */
export function sizeOf(record: DecodedRecord): number {
  let bytes = MESSAGE_OVERHEAD_BYTES + (record.key?.length ?? 0) + (record.value?.length ?? 0);
  for (const [name, value] of record.headers) bytes += name.length + (value?.length ?? 0) + 6;
  return bytes;
}

class BatchParcels implements Parcels {
  constructor(readonly options: { readonly maxDecompressedBytes: number }) {}

  open(at: TopicPartition, fetched: FetchResult, position: number): Source {
    const { batches, highWatermark, aborted } = fetched;
    const bounds = { ...this.options, aborted };
    return {
      sizeBytes: batches.length,
      highWatermark,
      get position() {
        return position;
      },
      next: (options) => {
        const piece = pieceAt(batches, position, { ...options, ...bounds });
        if (piece === null) return null;
        const { offset, nextOffset, runs, cut, newestMs } = piece;
        const frame = runs.length === 0
          ? null
          : batchFrame(at, piece.bytes, { highWatermark, offset, nextOffset });
        return { frame, runs, nextOffset, cut, newestMs };
      },
      accept: (parcel) => {
        position = parcel.nextOffset;
      },
    };
  }

  redelivery(at: TopicPartition, fetched: FetchResult, redelivery: Redelivery) {
    const { offset, attempt } = redelivery;
    const { highWatermark, aborted } = fetched;
    const bytes = batchHolding(fetched.batches, offset, { ...this.options, aborted });
    if (bytes === null) return null;
    return batchFrame(at, bytes, { highWatermark, offset, nextOffset: offset + 1, attempt });
  }
}

const encoder = new TextEncoder();
const LENGTH_BYTES = 4;

/** `[u32 big-endian header length][header as JSON][whole record batches]` */
function batchFrame(
  at: TopicPartition,
  batches: Uint8Array,
  more: { highWatermark: number; offset: number; nextOffset: number; attempt?: number },
): Uint8Array {
  const { topic, partition } = at;
  const header = encoder.encode(JSON.stringify({ type: "messages", topic, partition, ...more }));
  const frame = new Uint8Array(LENGTH_BYTES + header.length + batches.length);
  new DataView(frame.buffer).setUint32(0, header.length);
  frame.set(header, LENGTH_BYTES);
  frame.set(batches, LENGTH_BYTES + header.length);
  return frame;
}
