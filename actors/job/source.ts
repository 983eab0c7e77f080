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
/**
 * Unfolded bytes of batches looked through in one read, one batch at least: what is read is kept, and a few compressed
 * bytes may hold very many.
 */
const MAX_UNFOLDED_BYTES = 8 * 1_048_576;
/** Records and headers of one read, one batch at least: an empty one, too, takes memory. */
const MAX_PARTS = 100_000;

export interface SourceRead {
  readonly records: readonly DecodedRecord[];
  /** Where reading goes on; `offset` itself when nothing more can be read yet (an open transaction). */
  readonly next: number;
  /** Bytes that were read for it, or that they unfolded to when that is more. */
  readonly sizeBytes: number;
}

/** What was decoded of batches. */
interface Unfolded {
  readonly bytes: number;
  /** Records and headers. */
  readonly parts: number;
}

const NOTHING: Unfolded = { bytes: 0, parts: 0 };

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
      const found = recordsWithin(batches, span, range);
      for (const record of found.records) records.push(record);
      return found.unfolded;
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
      if (isWithin) {
        messages += header.recordCount;
        return NOTHING;
      }
      const found = recordsWithin(batches, span, range);
      messages += found.records.length;
      return found.unfolded;
    },
  });
  return { ...walked, messages };
}

/**
 * Calls `onBatch` for each batch of one fetch that readers are shown and that holds offsets of the range, as long as the
 * batches have not unfolded to too much; it tells what its batch unfolded to.
 */
async function walk(
  broker: Pick<JobBroker, "fetch">,
  at: TopicPartition,
  options: Range & {
    onBatch: (batches: Uint8Array, at: number, header: BatchHeader) => Unfolded;
  },
): Promise<{ next: number; sizeBytes: number }> {
  const { offset, to, onBatch } = options;
  const isolation = "read_committed";
  const fetched = await broker.fetch(at, offset, { maxBytes: MAX_FETCH_BYTES, isolation });
  const { batches } = fetched;
  let next = offset;
  let { bytes, parts } = NOTHING;
  for (const span of batchSpans(batches)) {
    const header = readHeader(batches, span.at);
    if (header.baseOffset >= to) {
      next = to;
      break;
    }
    const end = header.baseOffset + header.lastOffsetDelta + 1;
    if (end <= next) continue;
    if (bytes >= MAX_UNFOLDED_BYTES || parts >= MAX_PARTS) break;
    next = Math.min(end, to);
    if (isVisible(header, fetched)) {
      const unfolded = onBatch(batches, span.at, header);
      bytes += unfolded.bytes;
      parts += unfolded.parts;
    }
  }
  return { next, sizeBytes: Math.max(batches.length, bytes) };
}

function recordsWithin(
  batches: Uint8Array,
  at: number,
  range: Range,
): { readonly records: DecodedRecord[]; readonly unfolded: Unfolded } {
  const decoded = decodeBatch(batches, at, { maxDecompressedBytes: MAX_DECOMPRESSED_BYTES });
  let { bytes, parts } = NOTHING;
  for (const { key, value, headers } of decoded) {
    bytes += (key?.length ?? 0) + (value?.length ?? 0);
    parts += 1 + headers.length;
    for (const [name, header] of headers) bytes += name.length + (header?.length ?? 0);
  }
  const isWithin = ({ offset }: DecodedRecord) => offset >= range.offset && offset < range.to;
  return { records: decoded.filter(isWithin), unfolded: { bytes, parts } };
}
