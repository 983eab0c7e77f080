// Owns reading the messages of a range: committed ones only, no control batches.
// Refuses to own which of them matter (plan.ts).
// Invariant: every message from `offset` up to `next` is in `records`, in order, or is none for readers.
import { decodeBatch, type DecodedRecord } from "../../storage/format/decode.ts";
import {
  type BatchHeader,
  batchSpans,
  CONTROL_BIT,
  readHeader,
  TRANSACTIONAL_BIT,
} from "../../storage/format/record_batch.ts";
import type { FetchResult, TopicPartition } from "../broker.ts";
import type { JobBroker } from "./ports.ts";

/** Bytes of batches asked for at a time. */
const MAX_FETCH_BYTES = 1_048_576;
const MAX_DECOMPRESSED_BYTES = 64 * 1_048_576;

export interface SourceRead {
  readonly records: readonly DecodedRecord[];
  /** Where reading goes on; `offset` itself when nothing more can be read yet (an open transaction). */
  readonly next: number;
  /** Bytes that were read for it. */
  readonly sizeBytes: number;
}

/** Reads on from `offset`, not beyond `to`. Errors: those of a fetch. */
export async function readSource(
  broker: Pick<JobBroker, "fetch">,
  at: TopicPartition,
  range: { readonly offset: number; readonly to: number },
): Promise<SourceRead> {
  const { offset, to } = range;
  const fetched = await broker.fetch(at, offset, {
    maxBytes: MAX_FETCH_BYTES,
    isolation: "read_committed",
  });
  const { batches } = fetched;
  const records: DecodedRecord[] = [];
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
    if (!isVisible(header, fetched)) continue;
    const decoded = decodeBatch(batches, span.at, { maxDecompressedBytes: MAX_DECOMPRESSED_BYTES });
    for (const record of decoded) {
      if (record.offset >= offset && record.offset < to) records.push(record);
    }
  }
  return { records, next, sizeBytes: batches.length };
}

function isVisible(header: BatchHeader, { aborted = [] }: FetchResult): boolean {
  if ((header.attributes & CONTROL_BIT) !== 0) return false;
  if ((header.attributes & TRANSACTIONAL_BIT) === 0) return true;
  return !aborted.some(({ producerId, firstOffset, lastOffset }) =>
    producerId === header.producerId && header.baseOffset >= firstOffset &&
    header.baseOffset <= lastOffset
  );
}
