// Owns reading the messages of a lease from the log: new ones by position, and the same ones again.
// Refuses to own positions (the session) and tokens (leases.ts).
// Invariant: what is read again is what was read before, less what retention has taken since.
import type { Broker, TopicPartition } from "../../actors/broker.ts";
import { asBrokerError, type BrokerError } from "../../storage/broker_error.ts";
import type { DecodedRecord } from "../../storage/format/decode.ts";
import { contentBytes, RecordReader } from "../record_reader.ts";
import type { HeldPartition } from "../stream/held_partition.ts";
import type { LeasedRange } from "./leases.ts";
import type { MemberLimits } from "./limits.ts";

/** Messages of one partition, in order. */
export interface Portion {
  readonly topic: string;
  readonly partition: number;
  readonly records: readonly DecodedRecord[];
  /** Of a redelivery, which then is alone. */
  readonly attempt?: number;
}

type Positioned = HeldPartition & { readonly position: number };

/** What was found beyond the position `from`; perhaps nothing but gaps. */
export interface Found {
  readonly held: HeldPartition;
  readonly from: number;
  readonly nextOffset: number;
  readonly portion: Portion;
}

export interface LeaseReaderOptions {
  readonly broker: Pick<Broker, "fetch">;
  readonly yieldToEventLoop: () => Promise<void>;
  readonly limits: Pick<MemberLimits, "fetchBytes" | "maxDecompressedBytes" | "maxBytes">;
}

/** What is left of the bounds of one answer. */
export class AnswerRoom {
  constructor(public messages: number, public bytes: number) {}

  get full(): boolean {
    return this.messages <= 0 || this.bytes <= 0;
  }
}

export class LeaseReader {
  constructor(private readonly options: LeaseReaderOptions) {}

  /**
   * Messages of `partitions`, in this order, from their positions on, within `room`, which shrinks by them. A partition
   * that cannot be read does not keep the others from being read: `fault` is the last such error.
   */
  async readNew(
    partitions: readonly Positioned[],
    room: AnswerRoom,
  ): Promise<
    { found: readonly Found[]; outOfRange: readonly Positioned[]; fault: BrokerError | null }
  > {
    const found: Found[] = [];
    const outOfRange: Positioned[] = [];
    let fault: BrokerError | null = null;
    for (const held of partitions) {
      if (room.full) break;
      try {
        const read = await this.#readOne(held, room);
        if (read.nextOffset > read.from) found.push(read);
      } catch (error) {
        const failure = asBrokerError(error);
        if (failure.code === "OFFSET_OUT_OF_RANGE") outOfRange.push(held);
        else fault = failure;
      }
    }
    return { found, outOfRange, fault };
  }

  /** What `ranges` hold, as far as retention has left it; `onRecord` may refuse more. Errors: those of fetch, and its own. */
  async readAgain(
    ranges: readonly LeasedRange[],
    onRecord: (record: DecodedRecord) => void,
  ): Promise<Portion[]> {
    const portions: Portion[] = [];
    for (const range of ranges) portions.push(await this.#again(range, onRecord));
    return portions;
  }

  /** The message at `offset`, which then takes its share of `room`; null when it is no longer there. Errors: those of fetch. */
  async readOne(
    at: TopicPartition,
    offset: number,
    room: AnswerRoom,
  ): Promise<DecodedRecord | null> {
    const single = new AnswerRoom(1, Infinity);
    const taken = await this.#fetchAbove({ ...at, from: offset, to: offset + 1 }, single);
    const record = taken?.records[0];
    if (record?.offset !== offset) return null;
    room.messages -= 1;
    room.bytes -= contentBytes(record);
    return record;
  }

  async #readOne(held: Positioned, room: AnswerRoom): Promise<Found> {
    const { topic, partition, position: from } = held;
    const records: DecodedRecord[] = [];
    let nextOffset = from;
    while (!room.full) {
      const taken = await this.#fetch({ topic, partition, from: nextOffset, to: Infinity }, room);
      records.push(...taken.records);
      if (taken.nextOffset === nextOffset) break;
      nextOffset = taken.nextOffset;
    }
    return { held, from, nextOffset, portion: { topic, partition, records } };
  }

  async #again(
    range: LeasedRange,
    onRecord: (record: DecodedRecord) => void,
  ): Promise<Portion> {
    const { topic, partition, to } = range;
    const records: DecodedRecord[] = [];
    const room = new AnswerRoom(Infinity, Infinity);
    let { from } = range;
    while (from < to) {
      const taken = await this.#fetchAbove({ ...range, from }, room);
      if (taken === null || taken.nextOffset === from) break;
      for (const record of taken.records) onRecord(record);
      records.push(...taken.records);
      from = taken.nextOffset;
    }
    return { topic, partition, records };
  }

  /** The same, above the log's start when that has risen; null when nothing of the range is left. */
  async #fetchAbove(range: LeasedRange, room: AnswerRoom): Promise<Taken | null> {
    try {
      return await this.#fetch(range, room);
    } catch (error) {
      const start = logStartOf(asBrokerError(error));
      if (start === null) throw error;
      return start < range.to ? { records: [], nextOffset: Math.max(start, range.from) } : null;
    }
  }

  async #fetch(range: LeasedRange, room: AnswerRoom): Promise<Taken> {
    const { broker, limits, yieldToEventLoop } = this.options;
    const { from, to } = range;
    await yieldToEventLoop();
    const isolation = "read_committed" as const;
    const fetched = await broker.fetch(range, from, { maxBytes: limits.fetchBytes, isolation });
    const reader = new RecordReader({
      offset: from,
      maxMessages: room.messages,
      maxBytes: room.bytes,
      maxDecompressedBytes: limits.maxDecompressedBytes,
    });
    const records: DecodedRecord[] = [];
    let bytes = 0;
    for (const record of reader.records(fetched)) {
      if (record.offset >= to) break;
      records.push(record);
      bytes += contentBytes(record);
    }
    room.messages -= records.length;
    room.bytes = reader.full ? 0 : room.bytes - bytes;
    return { records, nextOffset: Math.min(reader.nextOffset, to) };
  }
}

interface Taken {
  readonly records: readonly DecodedRecord[];
  readonly nextOffset: number;
}

function logStartOf(error: BrokerError): number | null {
  if (error.code !== "OFFSET_OUT_OF_RANGE") return null;
  const { logStartOffset } = error.details;
  return typeof logStartOffset === "number" ? logStartOffset : Infinity;
}
