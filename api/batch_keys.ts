// Owns a binary publish whose records have idempotency keys: finding the keys, and an answer for each batch.
// Refuses to own appending (keyed_append.ts) and batches without keys (routes/publish_batches.ts).
// Invariant: only batches of no producer are looked into: those of a producer are known again by their sequence.
import type { TopicPartition } from "../actors/broker.ts";
import { keyOf } from "../actors/message_keys/key_scan.ts";
import { IDEMPOTENCY_KEY_HEADER } from "../actors/message_keys/types.ts";
import { decodeBatch } from "../storage/format/decode.ts";
import { lastOffsetDeltaAt, readHeader } from "../storage/format/record_batch.ts";
import type { ValidBatch } from "../storage/format/validate.ts";
import {
  appendKeyed,
  type KeyedAppendPorts,
  type KeyedBatch,
  type Placed,
} from "./keyed_append.ts";

const NO_PRODUCER = -1;
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** What became of one batch. `records` is there when some of them were known. */
export interface BatchPlaced {
  readonly partition: number;
  readonly offset: number;
  readonly lastOffset: number;
  readonly duplicate: boolean;
  readonly records?: readonly Placed[];
}

/** The header of a record's idempotency key, as it stands in a batch. */
export const KEY_HEADER_BYTES = new TextEncoder().encode(IDEMPOTENCY_KEY_HEADER);

/** Whether batches that were checked with `KEY_HEADER_BYTES` as the header of interest hold keys that count. */
export function holdKeys(batches: readonly ValidBatch[]): boolean {
  return batches.some(({ hasHeader, producerId }) => hasHeader && producerId === null);
}

/** Appends what is new of `batches`. Rejects as `Broker.append`; what was known before is then not told. */
export async function appendKeyedBatches(
  ports: KeyedAppendPorts,
  at: TopicPartition,
  batches: readonly Uint8Array[],
) {
  const { keyed, repeats } = keyedBatches(batches, ports.limits);
  const { placed, receipt, error } = await appendKeyed(ports, at, keyed);
  if (receipt === undefined) throw error;
  const placeOf = (number: number): Placed => {
    const first = repeats.get(number);
    return first === undefined ? placed.get(number)! : { ...placed.get(first)!, duplicate: true };
  };
  let next = 0;
  const results = batches.map((batch): BatchPlaced => {
    const count = lastOffsetDeltaAt(batch, 0) + 1;
    const records = Array.from({ length: count }, (_, record) => placeOf(next + record));
    next += count;
    return batchPlaced(records);
  });
  return { results, receipt };
}

function batchPlaced(records: readonly Placed[]): BatchPlaced {
  const { partition, offset } = records[0]!;
  const duplicate = records.every((record) => record.duplicate);
  const whole = { partition, offset, lastOffset: records.at(-1)!.offset, duplicate };
  return records.some((record) => record.duplicate) ? { ...whole, records } : whole;
}

/** The batches with their keys; a key that comes again is told as a repeat of the record that had it first. */
function keyedBatches(
  batches: readonly Uint8Array[],
  limits: { readonly maxDecompressedBytes: number },
): { keyed: KeyedBatch[]; repeats: ReadonlyMap<number, number> } {
  const firsts = new Map<string, number>();
  const repeats = new Map<number, number>();
  let next = 0;
  const keyed = batches.map((bytes): KeyedBatch => {
    const keys = keysOf(bytes, limits);
    const numbers = keys.map(() => next++);
    keys.forEach((key, record) => {
      if (key === null) return;
      const first = firsts.get(key);
      if (first === undefined) firsts.set(key, numbers[record]!);
      else repeats.set(numbers[record]!, first);
    });
    return { bytes, numbers, keys };
  });
  return { keyed, repeats };
}

function keysOf(
  batch: Uint8Array,
  limits: { readonly maxDecompressedBytes: number },
): (string | null)[] {
  const { producerId, recordCount } = readHeader(batch, 0);
  if (producerId !== NO_PRODUCER) return new Array<null>(recordCount).fill(null);
  return decodeBatch(batch, 0, limits).map((record) => {
    const key = keyOf(record);
    return key === null ? null : decoder.decode(key);
  });
}
