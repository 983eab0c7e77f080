// Owns reading the messages of a range: committed ones only, no control batches.
// Refuses to own which of them matter (plan.ts).
// Invariant: every message from `offset` up to `next` is in `records`, in order, or is none for readers.
import { decodeBatch, type DecodedRecord } from "../../storage/format/decode.ts";
import { type BatchHeader, batchSpans, readHeader } from "../../storage/format/record_batch.ts";
import type { TopicPartition } from "../broker.ts";
import { isVisible } from "../partition/visible_batches.ts";
import type { JobBroker } from "./ports.ts";

/** Bytes of batches asked for at a time: looking through them keeps everybody else waiting. */
const MAX_FETCH_BYTES = 512 * 1_024;
const MAX_DECOMPRESSED_BYTES = 64 * 1_048_576;

export interface SourceRead {
  readonly records: readonly DecodedRecord[];
  /** Where reading goes on; `offset` itself when nothing more can be read yet (an open transaction). */
  readonly next: number;
  /** Bytes that were read for it. */
  readonly sizeBytes: number;
}

/** Where to read on from, and up to where. */
interface Range {
  readonly offset: number;
  readonly to: number;
}

/** Reads on from `offset`, not beyond `to`. Errors: those of a fetch. */
export async function readSource(
  broker: Pick<JobBroker, "fetch">,
  at: TopicPartition,
  range: Range,
): Promise<SourceRead> {
  const records: DecodedRecord[] = [];
  const { next, sizeBytes } = await walk(broker, at, {
    ...range,
    onBatch: (batches, span) => {
      for (const record of recordsWithin(batches, span, range)) records.push(record);
    },
  });
  return { records, next, sizeBytes };
}

/** Counts on from `offset` as `readSource` would read, by the batches' headers. */
export async function countSource(
  broker: Pick<JobBroker, "fetch">,
  at: TopicPartition,
  range: Range,
): Promise<Omit<SourceRead, "records"> & { readonly messages: number }> {
  let messages = 0;
  const walked = await walk(broker, at, {
    ...range,
    onBatch: (batches, span, header) => {
      const isWithin = header.baseOffset >= range.offset &&
        header.baseOffset + header.lastOffsetDelta < range.to;
      messages += isWithin ? header.recordCount : recordsWithin(batches, span, range).length;
    },
  });
  return { ...walked, messages };
}

/** Calls `onBatch` for each batch of one fetch that readers are shown and that holds offsets of the range. */
async function walk(
  broker: Pick<JobBroker, "fetch">,
  at: TopicPartition,
  options: Range & {
    onBatch: (batches: Uint8Array, at: number, header: BatchHeader) => void;
  },
): Promise<{ next: number; sizeBytes: number }> {
  const { offset, to, onBatch } = options;
  const isolation = "read_committed";
  const fetched = await broker.fetch(at, offset, { maxBytes: MAX_FETCH_BYTES, isolation });
  const { batches } = fetched;
  let next = offset;
  for (const span of batchSpans(batches)) {
    const header = readHeader(batches, span.at);
    if (header.baseOffset >= to) {
      next = to;
      break;
    }
    const end = header.baseOffset + header.lastOffsetDelta + 1;
    if (end <= next) continue;
    next = Math.min(end, to);
    if (isVisible(header, fetched)) onBatch(batches, span.at, header);
  }
  return { next, sizeBytes: batches.length };
}

function recordsWithin(batches: Uint8Array, at: number, range: Range): DecodedRecord[] {
  return decodeBatch(batches, at, { maxDecompressedBytes: MAX_DECOMPRESSED_BYTES })
    .filter(({ offset }) => offset >= range.offset && offset < range.to);
}
