// Owns finding which messages of fetched batches carry which trace.
// Refuses to own fetching (follower.ts) and keeping what is found (trace_index.ts).
// Invariant: a batch is decoded only where it may hold a traceparent; messages that no reader is shown carry nothing.
import { Buffer } from "node:buffer";
import { asBrokerError } from "../../storage/broker_error.ts";
import { decodeBatch, type DecodedRecord } from "../../storage/format/decode.ts";
import {
  type BatchHeader,
  batchSpans,
  CODEC_MASK,
  HEADER_BYTES,
  readHeader,
} from "../../storage/format/record_batch.ts";
import type { FetchResult } from "../broker.ts";
import { isVisible } from "../partition/visible_batches.ts";
import { traceParentIn } from "./trace_id.ts";

/** Larger batches are not looked into: to unfold one keeps everybody else waiting. */
export const MAX_UNFOLDED_BYTES = 16 * 1_048_576;
/** To decode a byte takes so much longer than to look at it. */
const DECODING_COST = 3;
/** Of the header's name, without the letter that some write as a capital. */
const NAME = "raceparent";

export interface FoundRun {
  readonly traceId: string;
  readonly firstOffset: number;
  readonly lastOffset: number;
  readonly at: number;
}

export interface FoundTraces {
  readonly runs: readonly FoundRun[];
  /** Where the batches that were looked at end. */
  readonly next: number;
  /** What it cost, in bytes that are only looked at. */
  readonly costBytes: number;
  /** Batches that could not be looked into. */
  readonly passedOver: number;
  /** Of the first batch, ms; -1: none. */
  readonly firstMs: number;
}

/** Looks through the batches of a `read_committed` fetch, from `fromOffset` on, until `maxCostBytes` and one batch. */
export function tracesIn(
  fetched: Pick<FetchResult, "batches" | "aborted">,
  fromOffset: number,
  maxCostBytes: number,
): FoundTraces {
  const { batches } = fetched;
  const runs: FoundRun[] = [];
  let [next, costBytes, passedOver, firstMs] = [fromOffset, 0, 0, -1];
  for (const { at, sizeBytes } of batchSpans(batches)) {
    if (costBytes >= maxCostBytes) break;
    const header = readHeader(batches, at);
    const end = header.baseOffset + header.lastOffsetDelta + 1;
    if (end <= next) continue;
    if (firstMs < 0) firstMs = header.maxTimestamp;
    const from = next;
    next = end;
    costBytes += sizeBytes;
    if (!isVisible(header, fetched) || !mayCarry(batches, at, header)) continue;
    const records = recordsAt(batches, at);
    if (records === null) {
      passedOver++;
      costBytes += DECODING_COST * MAX_UNFOLDED_BYTES;
      continue;
    }
    costBytes += DECODING_COST * Math.max(sizeBytes, unfoldedBytes(records));
    collect(runs, records, from);
  }
  return { runs, next, costBytes, passedOver, firstMs };
}

/** Runs end with their batch. */
function collect(runs: FoundRun[], records: readonly DecodedRecord[], from: number): void {
  let last: { traceId: string; firstOffset: number; lastOffset: number; at: number } | null = null;
  for (const record of records) {
    if (record.offset < from) continue;
    const traceId = traceParentIn(record)?.traceId;
    if (last !== null && last.traceId === traceId) {
      last.lastOffset = record.offset;
      continue;
    }
    last = traceId === undefined ? null : {
      traceId,
      firstOffset: record.offset,
      lastOffset: record.offset,
      at: record.timestamp,
    };
    if (last !== null) runs.push(last);
  }
}

/**
 * To look for the header's name in plain bytes costs a fraction of decoding them, and looking in a string of them a tenth of
 * looking in the bytes.
 */
export function mayCarry(batches: Uint8Array, at: number, header: BatchHeader): boolean {
  if ((header.attributes & CODEC_MASK) !== 0) return true;
  const from = batches.byteOffset + at + HEADER_BYTES;
  const records = Buffer.from(batches.buffer, from, header.sizeBytes - HEADER_BYTES);
  return records.toString("latin1").includes(NAME);
}

/** Null where it cannot be looked into: too large, or not what it says it is. */
export function recordsAt(batches: Uint8Array, at: number): DecodedRecord[] | null {
  try {
    return decodeBatch(batches, at, { maxDecompressedBytes: MAX_UNFOLDED_BYTES });
  } catch (error) {
    const { code } = asBrokerError(error);
    if (code === "CORRUPT_BATCH" || code === "UNSUPPORTED_COMPRESSION") return null;
    throw error;
  }
}

function unfoldedBytes(records: readonly DecodedRecord[]): number {
  let bytes = 0;
  for (const { key, value } of records) bytes += (key?.length ?? 0) + (value?.length ?? 0);
  return bytes;
}
