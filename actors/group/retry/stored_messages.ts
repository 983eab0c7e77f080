// Owns looking up single messages of a partition in its log: their keys, and all of them for dead letters.
// Refuses to own what is done with them. Invariant: what is no longer there, or cannot be read, is null; nothing is guessed.
import { BrokerError } from "../../../storage/broker_error.ts";
import { decodeBatch, type DecodedRecord } from "../../../storage/format/decode.ts";
import { murmur2 } from "../../../storage/format/murmur2.ts";
import { batchSpans, readHeader } from "../../../storage/format/record_batch.ts";
import type { FetchOptions, FetchResult, TopicPartition } from "../../broker.ts";
import { isVisible } from "../../partition/visible_batches.ts";

/** What of a broker is needed to look messages up. */
export type Fetch = (
  at: TopicPartition,
  offset: number,
  options: FetchOptions,
) => Promise<FetchResult>;

const MAX_DECOMPRESSED_BYTES = 64 * 1_048_576;
/** Bytes of one fetch when several messages are looked up; one batch is always read. */
const FETCH_BYTES = 262_144;

/** Unfolded by one look, beyond its last batch. */
const MAX_UNFOLDED_BYTES = 8 * 1_048_576;

/** Errors after which a message is as good as gone. */
const GONE = new Set([
  "OFFSET_OUT_OF_RANGE",
  "UNKNOWN_TOPIC",
  "UNKNOWN_PARTITION",
  "CORRUPT_LOG",
  "CORRUPT_BATCH",
  "UNSUPPORTED_COMPRESSION",
]);

/** The messages at `offsets`, ascending; null for each that is not there (any more), or was aborted. Errors: those that may pass. */
export async function messagesAt(
  fetch: Fetch,
  at: TopicPartition,
  offsets: readonly number[],
): Promise<(DecodedRecord | null)[]> {
  const found: (DecodedRecord | null)[] = [];
  while (found.length < offsets.length) {
    const wanted = offsets.slice(found.length);
    const read = await readFrom(fetch, at, wanted);
    for (const record of read.length === 0 ? [null] : read) found.push(record);
  }
  return found;
}

/** Hashes of the keys of the messages at `offsets`, ascending; null without a key, or without a message. */
export async function keyHashesAt(
  fetch: Fetch,
  at: TopicPartition,
  offsets: readonly number[],
): Promise<(number | null)[]> {
  return (await messagesAt(fetch, at, offsets)).map((record) =>
    record === null || record.key === null ? null : murmur2(record.key) >>> 0
  );
}

/** As many of `wanted`, from the first on, as one fetch answers; none when it answers not even the first. */
async function readFrom(
  fetch: Fetch,
  at: TopicPartition,
  wanted: readonly number[],
): Promise<(DecodedRecord | null)[]> {
  const maxBytes = wanted.length === 1 ? 1 : FETCH_BYTES;
  try {
    return pick(await fetch(at, wanted[0]!, { maxBytes, isolation: "read_committed" }), wanted);
  } catch (error) {
    if (error instanceof BrokerError && GONE.has(error.code)) return [];
    throw error;
  }
}

function pick(fetched: FetchResult, wanted: readonly number[]): (DecodedRecord | null)[] {
  const { batches } = fetched;
  const found: (DecodedRecord | null)[] = [];
  let unfoldedBytes = 0;
  for (const { at } of batchSpans(batches)) {
    const header = readHeader(batches, at);
    const { baseOffset, lastOffsetDelta } = header;
    const end = baseOffset + lastOffsetDelta + 1;
    if (end <= (wanted[found.length] ?? Infinity)) continue;
    const records = isVisible(header, fetched)
      ? decodeBatch(batches, at, { maxDecompressedBytes: MAX_DECOMPRESSED_BYTES })
      : [];
    const byOffset = new Map(records.map((record) => [record.offset, record]));
    while (found.length < wanted.length && wanted[found.length]! < end) {
      const record = byOffset.get(wanted[found.length]!);
      found.push(record === undefined ? null : ownedBytes(record));
    }
    for (const { key, value } of records) {
      unfoldedBytes += (key?.length ?? 0) + (value?.length ?? 0);
    }
    if (found.length === wanted.length || unfoldedBytes >= MAX_UNFOLDED_BYTES) break;
  }
  return found;
}

/** Not views of all that its batch unfolded to, which would stay as long as the record. */
function ownedBytes(record: DecodedRecord): DecodedRecord {
  return {
    ...record,
    key: record.key?.slice() ?? null,
    value: record.value?.slice() ?? null,
    headers: record.headers.map(([name, value]) => [name, value?.slice() ?? null] as const),
  };
}
