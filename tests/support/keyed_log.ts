// Owns logs of records with keys for tests of compaction: filling them, and what is in them.
// Refuses to own what should be left.
// Invariant: a record's value tells its offset, so that what is read can be checked against what was written.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { type Compression, installCodecs } from "../../storage/format/compression.ts";
import { allCodecs } from "../../storage/format/all_codecs.ts";
import { encodeMarker } from "../../storage/format/control_batch.ts";
import { decodeBatch } from "../../storage/format/decode.ts";
import { encodeBatch } from "../../storage/format/encode.ts";
import {
  batchSpans,
  CONTROL_BIT,
  readHeader,
  setBaseOffset,
  setLeaderEpoch,
} from "../../storage/format/record_batch.ts";
import type { CompactionPolicy, Log } from "../../storage/log.ts";

installCodecs(allCodecs);

export interface KeyedRecord {
  readonly key: string | null;
  /** Null is a tombstone; left out: the record's offset. */
  readonly value?: null;
}

export interface BatchIdentity {
  readonly producerId?: number;
  readonly baseSequence?: number;
  readonly transactional?: boolean;
  readonly compression?: Compression;
  readonly leaderEpoch?: number;
  readonly timestamp?: number;
  readonly idempotencyKey?: string;
}

/** Appends one batch; its base offset. */
export async function appendKeyed(
  log: Log,
  records: readonly (string | KeyedRecord)[],
  identity: BatchIdentity = {},
): Promise<number> {
  const base = log.logEndOffset;
  const { producerId = -1, leaderEpoch = 3, timestamp = 1_000 + base, ...rest } = identity;
  const { idempotencyKey } = rest;
  const headers = idempotencyKey === undefined
    ? []
    : [["other", "x"], ["idempotency-key", idempotencyKey]] as const;
  const inputs = records.map((record, index) => {
    const { key, value } = typeof record === "string" ? { key: record, value: undefined } : record;
    const text = value === null ? null : `${base + index}`.padEnd(20, ".");
    return { key, value: text, headers, timestamp };
  });
  const numbers = producerId < 0
    ? {}
    : { producerId, producerEpoch: 0, baseSequence: rest.baseSequence ?? 0 };
  const batch = encodeBatch(inputs, { crc32c, ...rest, ...numbers });
  return await put(log, batch, leaderEpoch);
}

/** Appends a marker; its offset. */
export async function appendMarker(
  log: Log,
  marker: { producerId: number; commit: boolean; leaderEpoch?: number },
): Promise<number> {
  const timestamp = 1_000 + log.logEndOffset;
  const { leaderEpoch = 3, ...end } = marker;
  const control = { ...end, producerEpoch: 0, coordinatorEpoch: 0, timestamp };
  return await put(log, encodeMarker(control, crc32c), leaderEpoch);
}

async function put(log: Log, batch: Uint8Array, leaderEpoch: number): Promise<number> {
  const base = log.logEndOffset;
  setBaseOffset(batch, 0, base);
  setLeaderEpoch(batch, 0, leaderEpoch);
  await log.append([batch]);
  return base;
}

export interface LoggedRecord {
  readonly offset: number;
  readonly key: string | null;
  readonly value: string | null;
}

export interface LoggedBatch {
  readonly baseOffset: number;
  readonly endOffset: number;
  readonly producerId: number;
  readonly isControl: boolean;
  readonly records: readonly LoggedRecord[];
}

/** Every batch of the log, which follow each other without a gap. */
export async function batchesOf(log: Log): Promise<LoggedBatch[]> {
  const batches: LoggedBatch[] = [];
  let offset = log.logStartOffset;
  while (offset < log.logEndOffset) {
    const bytes = await log.read(offset, { endOffset: log.logEndOffset, maxBytes: 300 });
    assert.ok(bytes.length > 0, `there is something at ${offset}`);
    for (const { at } of batchSpans(bytes)) {
      const header = readHeader(bytes, at);
      // What was read may have been compacted meanwhile: then the first batch may start before.
      const isNext = at === 0 ? header.baseOffset <= offset : header.baseOffset === offset;
      assert.ok(isNext, `no gap between batches: ${header.baseOffset} at ${offset}`);
      offset = header.baseOffset + header.lastOffsetDelta + 1;
      const isControl = (header.attributes & CONTROL_BIT) !== 0;
      const records = decodeBatch(bytes, at, { maxDecompressedBytes: 1e6 }).map((record) => ({
        offset: record.offset,
        key: text(record.key),
        value: text(record.value),
      }));
      const { baseOffset, producerId } = header;
      batches.push({ baseOffset, endOffset: offset, producerId, isControl, records });
    }
  }
  return batches;
}

/** Messages of the log. */
export async function recordsOf(log: Log): Promise<LoggedRecord[]> {
  return (await batchesOf(log)).filter(({ isControl }) => !isControl)
    .flatMap(({ records }) => records);
}

/** `key@offset` of each message; `key!offset` for tombstones. */
export async function outlineOf(log: Log): Promise<string[]> {
  return (await recordsOf(log)).map(({ key, offset, value }) => {
    if (value !== null) assert.equal(value, `${offset}`.padEnd(20, "."));
    return `${key}${value === null ? "!" : "@"}${offset}`;
  });
}

export function compaction(change: Partial<CompactionPolicy> = {}): CompactionPolicy {
  return {
    now: 1_000_000,
    keepFrom: Number.MAX_SAFE_INTEGER,
    tombstoneMs: 10_000,
    producerMs: 0,
    remembered: null,
    aborted: [],
    ...change,
  };
}

function text(bytes: Uint8Array | null): string | null {
  return bytes === null ? null : new TextDecoder().decode(bytes);
}
