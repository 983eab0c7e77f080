// Owns comparing what brokers have on their disks for one partition, batch by batch and byte for byte.
// Refuses to own what readers are shown (cluster_read_back.ts). Reads files that brokers may be writing to, behind their end.
// Invariant: below the high watermark each replica holds the same bytes from its log start on (rule 10 of the fault list).
import { readHeader } from "../../../storage/format/record_batch.ts";
import { HEADER_BYTES } from "../../../storage/format/record_batch.ts";

const SEGMENT = /^\d{20}\.log$/;

/** A batch as it lies on a disk, but for its guard byte, which each broker writes for itself. */
interface StoredBatch {
  readonly lastOffset: number;
  readonly bytes: Uint8Array;
}

/** By base offset, the batches of a partition's directory that end below `highWatermark`; empty where there is none. */
export async function storedBatches(
  directory: string,
  highWatermark: number,
): Promise<Map<number, StoredBatch>> {
  const batches = new Map<number, StoredBatch>();
  for (const name of await segmentNames(directory)) {
    const bytes = await Deno.readFile(`${directory}/${name}`);
    for (let at = 0; at + HEADER_BYTES <= bytes.length;) {
      bytes[at] = 0;
      const { sizeBytes, baseOffset, lastOffsetDelta } = readHeader(bytes, at);
      const lastOffset = baseOffset + lastOffsetDelta;
      if (lastOffset >= highWatermark) break;
      batches.set(baseOffset, { lastOffset, bytes: bytes.subarray(at, at + sizeBytes) });
      at += sizeBytes;
    }
  }
  return batches;
}

/** What differs between replicas, in words, at most one each; `replicas` by node id. */
export function differences(
  replicas: ReadonlyMap<string, ReadonlyMap<number, StoredBatch>>,
  highWatermark: number,
): string[] {
  const [[firstId, first] = ["", new Map<number, StoredBatch>()], ...others] = replicas;
  const found = [endProblem(firstId, first, highWatermark)];
  for (const [nodeId, batches] of others) {
    const unlike = [...first].find(([baseOffset, { bytes }]) =>
      !isSame(batches.get(baseOffset)?.bytes, bytes)
    );
    found.push(
      unlike === undefined
        ? endProblem(nodeId, batches, highWatermark)
        : `${nodeId} and ${firstId} differ at offset ${unlike[0]}`,
    );
  }
  return found.filter((problem) => problem !== null);
}

function endProblem(
  nodeId: string,
  batches: ReadonlyMap<number, StoredBatch>,
  highWatermark: number,
): string | null {
  let end = 0;
  for (const { lastOffset } of batches.values()) end = Math.max(end, lastOffset + 1);
  return end === highWatermark
    ? null
    : `${nodeId} ends at ${end}, below the high watermark ${highWatermark}`;
}

async function segmentNames(directory: string): Promise<string[]> {
  try {
    const names: string[] = [];
    for await (const { name } of Deno.readDir(directory)) if (SEGMENT.test(name)) names.push(name);
    return names.sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

function isSame(a: Uint8Array | undefined, b: Uint8Array): boolean {
  return a !== undefined && a.length === b.length && a.every((byte, index) => byte === b[index]);
}
