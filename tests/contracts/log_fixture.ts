// Owns what the parts of the log contract share: a store per test, filled logs, reading it all back.
// Refuses to hold sentences: those are in log_contract.ts and its neighbours.
// Invariant: a filled log's batches hold two records each and are equally long.
import assert from "node:assert/strict";
import { BrokerError } from "../../storage/broker_error.ts";
import type { Log, LogConfig, LogStore } from "../../storage/log.ts";
import { sampleBatch } from "../support/sample_batches.ts";

export interface OpenedLogStore {
  readonly store: LogStore;
  /** Lets go of the store and opens the same data anew. */
  reopen(): Promise<LogStore>;
  dispose(): Promise<void>;
}

export type OpenLogStore = () => Promise<OpenedLogStore>;

/** Registers one sentence over a new, empty store. */
export type RegisterLogTest = (
  sentence: string,
  run: (store: LogStore, reopen: () => Promise<LogStore>) => Promise<void>,
) => void;

/** One large segment, flushed on every append. */
export const CONFIG: LogConfig = {
  durability: "fsync",
  segmentBytes: 1_000_000,
  segmentMs: 1e12,
  indexIntervalBytes: 256,
};

/** Opens `name` and appends `count` batches of two records, one call each: batch i at time (i + 1) * 1000. */
export async function filled(
  store: LogStore,
  name: string,
  count: number,
  config: LogConfig = CONFIG,
  mark = 0,
): Promise<{ log: Log; batches: Uint8Array[] }> {
  const log = await store.open(name, config);
  const batches: Uint8Array[] = [];
  for (let index = 0; index < count; index++) {
    const time = (index + 1) * 1_000;
    const batch = sampleBatch({
      baseOffset: log.logEndOffset,
      timestamps: [time, time],
      mark: mark + index,
    });
    batches.push(batch.slice());
    await log.append([batch]);
  }
  return { log, batches };
}

/** Every batch of the log, copied, in order, read in small steps. */
export async function readAll(log: Log): Promise<Uint8Array[]> {
  const batches: Uint8Array[] = [];
  let offset = log.logStartOffset;
  while (offset < log.logEndOffset) {
    const bytes = await log.read(offset, { endOffset: log.logEndOffset, maxBytes: 300 });
    const found = split(bytes);
    assert.ok(found.length > 0, `nothing to read at ${offset}, below the end`);
    batches.push(...found);
    offset = endOffsetOf(found.at(-1)!);
  }
  return batches;
}

/** Copies of the batches in `bytes`. */
export function split(bytes: Uint8Array): Uint8Array[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const batches: Uint8Array[] = [];
  for (let at = 0; at < bytes.length;) {
    const sizeBytes = 12 + view.getInt32(at + 8);
    assert.ok(at + sizeBytes <= bytes.length, "a batch is cut off");
    batches.push(new Uint8Array(bytes.subarray(at, at + sizeBytes)));
    at += sizeBytes;
  }
  return batches;
}

function endOffsetOf(batch: Uint8Array): number {
  const view = new DataView(batch.buffer, batch.byteOffset, batch.byteLength);
  return Number(view.getBigInt64(0)) + view.getInt32(23) + 1;
}

/** Reading at `offset` is refused with the range that could be read. */
export async function assertOutOfRange(log: Log, offset: number): Promise<void> {
  await assert.rejects(
    async () => await log.read(offset, { endOffset: log.logEndOffset, maxBytes: 1_000 }),
    (error: unknown) => {
      assert.ok(error instanceof BrokerError, String(error));
      assert.equal(error.code, "OFFSET_OUT_OF_RANGE");
      assert.equal(error.details.logStartOffset, log.logStartOffset);
      assert.equal(error.details.logEndOffset, log.logEndOffset);
      return true;
    },
  );
}
