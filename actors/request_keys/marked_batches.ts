// Owns the mark by which the batches of one request are known again in a log.
// Refuses to own when that is looked for (request_keys.ts).
// Invariant: a mark stands where a producer's id does, below -1: readers do not see it, and no producer has it.
import {
  batchSpans,
  readHeader,
  recordCountAt,
  writeHeader,
} from "../../storage/format/record_batch.ts";
import type { Crc32c, Randomness } from "../../storage/ports.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import type { RequestPartition } from "./request_partition.ts";

const MAX_READ_BYTES = 1_048_576;
const MARKS = 2 ** 52;
/** -1 is no producer. */
const LAST_MARK = -2;

/** A mark that no other request has, but for a chance of one in `MARKS`. */
export function newMark(randomness: Randomness): number {
  return LAST_MARK - Math.floor(randomness.fraction() * MARKS);
}

/** Marks `batches` in place; each also tells the index of its first record among all of them. */
export function markBatches(batches: readonly Uint8Array[], mark: number, crc32c: Crc32c): void {
  let index = 0;
  for (const batch of batches) {
    const header = readHeader(batch, 0);
    // It was refused before, and comes again.
    if (header.producerId === mark) return;
    if (header.producerId !== -1) throw new Error("a batch that has a producer cannot be marked");
    writeHeader(
      batch,
      { ...header, producerId: mark, producerEpoch: 0, baseSequence: index },
      crc32c,
    );
    index += recordCountAt(batch, 0);
  }
}

/** Records with a mark that lie behind each other. */
interface MarkedRun {
  readonly firstIndex: number;
  readonly recordCount: number;
  readonly baseOffset: number;
}

/** Where each of `batches` is that was appended with `mark`, null for one that was not. */
export async function findMarked(
  partition: Pick<RequestPartition, "fetch" | "readable">,
  mark: number,
  { fromOffset, batches }: { fromOffset: number; batches: readonly Uint8Array[] },
): Promise<(number | null)[]> {
  const found: MarkedRun[] = [];
  let left = batches.reduce((sum, batch) => sum + recordCountAt(batch, 0), 0);
  const { startOffset, endOffset } = await partition.readable();
  let next = Math.max(fromOffset, startOffset);
  while (next < endOffset && left > 0) {
    const { batches: bytes, highWatermark } = await partition.fetch(next, {
      maxBytes: MAX_READ_BYTES,
      isolation: "read_uncommitted",
    });
    if (bytes.length === 0 && highWatermark <= next) {
      throw new BrokerError(
        "LEADER_NOT_AVAILABLE",
        `the leader cannot tell yet what is at ${next}`,
      );
    }
    if (bytes.length === 0) break;
    for (const { at } of batchSpans(bytes)) {
      const { producerId, baseSequence, baseOffset, lastOffsetDelta } = readHeader(bytes, at);
      // Compaction takes records away, never their offsets.
      const recordCount = lastOffsetDelta + 1;
      next = baseOffset + recordCount;
      if (producerId !== mark) continue;
      found.push({ firstIndex: baseSequence, recordCount, baseOffset });
      left -= recordCount;
    }
  }
  let index = 0;
  return batches.map((batch) => {
    const firstIndex = index;
    index += recordCountAt(batch, 0);
    return offsetIn(found, firstIndex, index);
  });
}

/** Records are divided into batches alike whenever they come; were they not, half a batch could not be appended again. */
function offsetIn(runs: readonly MarkedRun[], from: number, to: number): number | null {
  const run = runs.find(({ firstIndex, recordCount }) =>
    firstIndex < to && from < firstIndex + recordCount
  );
  if (run === undefined) return null;
  if (run.firstIndex <= from && to <= run.firstIndex + run.recordCount) {
    return run.baseOffset + from - run.firstIndex;
  }
  throw new Error(`records ${from} to ${to} of a request are divided otherwise than before`);
}
