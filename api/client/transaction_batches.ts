// Owns making record batches of a transaction's messages: by partition, in order, with sequence numbers.
// Refuses to own what a message may be (outgoing.ts), the layout of a record (record_writer.ts) and sending.
// Invariant: the sequence numbers of one partition are those of its messages, without gap, whatever batch they are in.
import { partitionForKey } from "../../storage/format/murmur2.ts";
import { HEADER_BYTES, TRANSACTIONAL_BIT, writeHeader } from "../../storage/format/record_batch.ts";
import type { Crc32c } from "../../storage/ports.ts";
import { WaybillError } from "./errors.ts";
import { emptyParts, MessageReader, type Outgoing, type RecordParts } from "./outgoing.ts";
import { recordBound, RecordWriter } from "./record_writer.ts";

/** Messages and bytes of one batch, of which each request has one; a message that is larger goes alone. */
const MAX_BATCH_MESSAGES = 10_000;
const MAX_BATCH_BYTES = 1_048_576;
const encoder = new TextEncoder();

/** Where the next message of a partition goes. */
export interface Producing {
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly baseSequence: number;
}

/** Messages of one partition that make one batch; `indexes` are their places in what was sent. */
export interface PartitionPart {
  readonly partition: number;
  readonly indexes: readonly number[];
  readonly records: readonly RecordParts[];
}

/**
 * `messages` by partition, in order. Without key they go together to partition `sticky`. INVALID_REQUEST,
 * UNKNOWN_PARTITION.
 */
export function partsOf(
  messages: readonly Outgoing[],
  { topic, partitions, sticky, now }: {
    topic: string;
    partitions: number;
    sticky: number;
    now: number;
  },
): PartitionPart[] {
  const reader = new MessageReader();
  const finished: PartitionPart[] = [];
  const open = new Map<number, { indexes: number[]; records: RecordParts[]; bytes: number }>();
  messages.forEach((message, index) => {
    const parts = wholeParts(reader, message, now);
    const partition = placeOf(parts, { topic, partitions, sticky });
    const bytes = recordBound(parts);
    let part = open.get(partition);
    const isFull = part !== undefined &&
      (part.records.length >= MAX_BATCH_MESSAGES || part.bytes + bytes > MAX_BATCH_BYTES);
    if (part === undefined || isFull) {
      part = { indexes: [], records: [], bytes: 0 };
      open.set(partition, part);
      const { indexes, records } = part;
      finished.push({ partition, indexes, records });
    }
    part.indexes.push(index);
    part.records.push(parts);
    part.bytes += bytes;
  });
  return finished;
}

/** Parts that outlive the reader's next message, with text as bytes. */
function wholeParts(reader: MessageReader, message: Outgoing, now: number): RecordParts {
  const parts = emptyParts();
  reader.read(message, now, parts);
  if (parts.key !== null) parts.key = parts.key.slice();
  if (typeof parts.value === "string") parts.value = encoder.encode(parts.value);
  return parts;
}

function placeOf(
  { partition, key }: RecordParts,
  { topic, partitions, sticky }: { topic: string; partitions: number; sticky: number },
): number {
  if (partition >= partitions) {
    throw new WaybillError("UNKNOWN_PARTITION", `${topic} has no partition ${partition}`, {
      retryable: false,
      details: { topic, partition },
    });
  }
  if (partition >= 0) return partition;
  return key === null ? sticky % partitions : partitionForKey(key, partitions);
}

/** The batch of `records`, in the name of its transaction's producer. */
export function transactionBatch(
  records: readonly RecordParts[],
  producing: Producing,
  crc32c: Crc32c,
): Uint8Array {
  const bound = records.reduce((sum, parts) => sum + recordBound(parts), HEADER_BYTES);
  const writer = new RecordWriter(new Uint8Array(bound), HEADER_BYTES);
  const baseTimestamp = records[0]!.timestamp;
  let maxTimestamp = baseTimestamp;
  records.forEach((parts, index) => {
    maxTimestamp = Math.max(maxTimestamp, parts.timestamp);
    if (!writer.write(parts, parts.timestamp - baseTimestamp, index)) {
      throw new Error("a record is larger than its bound");
    }
  });
  const batch = writer.bytes.subarray(0, writer.at);
  writeHeader(batch, {
    sizeBytes: batch.length,
    attributes: TRANSACTIONAL_BIT,
    lastOffsetDelta: records.length - 1,
    baseTimestamp,
    maxTimestamp,
    ...producing,
    recordCount: records.length,
  }, crc32c);
  return batch;
}
