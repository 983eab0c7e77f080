// Owns proof of transactions within a partition: who may append, markers, what readers may see, what was aborted.
// Refuses to own the coordinator (transaction tests) and the filter of the edges.
import assert from "node:assert/strict";
import { TransactionIndex } from "../actors/partition/transaction_index.ts";
import type { ProducerEvent } from "../actors/partition/producer_state.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { markerAt } from "../storage/format/control_batch.ts";
import { decodeBatch } from "../storage/format/decode.ts";
import { batchSpans, readHeader } from "../storage/format/record_batch.ts";
import type { LogStore } from "../storage/log.ts";
import { partitionScene, plain, stamped } from "./support/partition_scene.ts";
import { settle } from "./support/virtual_time.ts";
import { wrappedLogs } from "./support/wrapped_logs.ts";

const MAX_BYTES = 1_048_576;
const COMMITTED = { maxBytes: MAX_BYTES, isolation: "read_committed" } as const;
const all = { acks: "all" } as const;

const hasCode = (code: string) => (error: unknown) =>
  error instanceof BrokerError && error.code === code;

function transactional(values: readonly string[], sequence: number, epoch = 0, id = 7) {
  return stamped(values, { id, sequence, epoch, transactional: true });
}

function end(commit: boolean, producerEpoch = 0, coordinatorEpoch = 0, producerId = 7) {
  return { producerId, producerEpoch, coordinatorEpoch, commit };
}

Deno.test("read_committed ends where the first open transaction starts, read_uncommitted at the high watermark", async () => {
  const partition = await partitionScene().open();
  await partition.append([plain("a", "b")], all);
  await partition.append([transactional(["c"], 0)], all);
  await partition.append([plain("d")], all);
  const { highWatermark, lastStableOffset } = partition.info();
  assert.deepEqual([highWatermark, lastStableOffset], [4, 2]);
  const ends = async (isolation: "read_committed" | "read_uncommitted") => {
    const { batches } = await partition.fetch(0, { maxBytes: MAX_BYTES, isolation });
    const last = [...batchSpans(batches)].at(-1)!;
    const { baseOffset, lastOffsetDelta } = readHeader(batches, last.at);
    return baseOffset + lastOffsetDelta + 1;
  };
  assert.deepEqual([await ends("read_committed"), await ends("read_uncommitted")], [2, 4]);
  const beyond = await partition.fetch(3, COMMITTED);
  assert.deepEqual([beyond.batches.length, beyond.lastStableOffset], [0, 2]);
  await partition.close();
});

Deno.test("a marker ends the transaction for good, is Kafka's control record, and changes nothing when repeated", async () => {
  const partition = await partitionScene().open();
  await partition.append([transactional(["a"], 0)], all);
  assert.equal(await partition.writeMarker(end(true, 0, 3)), 1);
  assert.equal(await partition.writeMarker(end(true, 0, 3)), null);
  assert.equal(await partition.writeMarker(end(true, 0, 4)), null);
  assert.deepEqual(partition.stable(), { lastStableOffset: 2, aborted: [] });
  const { batches } = await partition.fetch(1, COMMITTED);
  const header = readHeader(batches, 0);
  assert.equal(header.attributes, 0x30);
  assert.deepEqual([header.producerId, header.producerEpoch, header.baseSequence], [7, 0, -1]);
  const [record] = decodeBatch(batches, 0, { maxDecompressedBytes: MAX_BYTES });
  assert.deepEqual([...record!.key!], [0, 0, 0, 1]);
  assert.deepEqual([...record!.value!], [0, 0, 0, 0, 0, 3]);
  assert.deepEqual(markerAt(batches, 0), { commit: true, coordinatorEpoch: 3 });
  await partition.close();
});

Deno.test("a reader is told which aborted transactions lie in what it got, and of no other", async () => {
  const partition = await partitionScene().open();
  await partition.append([transactional(["a"], 0, 0, 1)], all);
  await partition.append([transactional(["b"], 0, 0, 2)], all);
  await partition.writeMarker(end(false, 0, 0, 1));
  await partition.append([plain("c")], all);
  await partition.writeMarker(end(true, 0, 0, 2));
  await partition.append([transactional(["d"], 0, 0, 3)], all);
  await partition.writeMarker(end(false, 0, 0, 3));
  const first = { producerId: 1, firstOffset: 0, lastOffset: 2 };
  const last = { producerId: 3, firstOffset: 5, lastOffset: 6 };
  assert.deepEqual((await partition.fetch(0, COMMITTED)).aborted, [first, last]);
  assert.deepEqual((await partition.fetch(0, { ...COMMITTED, maxBytes: 1 })).aborted, [first]);
  assert.equal((await partition.fetch(3, { ...COMMITTED, maxBytes: 1 })).aborted, undefined);
  assert.deepEqual((await partition.fetch(4, COMMITTED)).aborted, [last]);
  assert.equal((await partition.fetch(0, { maxBytes: MAX_BYTES })).aborted, undefined);
  assert.deepEqual(partition.stable().aborted, [first, last]);
  await partition.close();
});

Deno.test("what comes after the marker does not open the transaction again, not even where it had nothing", async () => {
  const partition = await partitionScene().open();
  await partition.append([transactional(["a"], 0)], all);
  await partition.writeMarker(end(false));
  const invalid = hasCode("INVALID_TRANSACTION_STATE");
  await assert.rejects(partition.append([transactional(["b"], 1)], all), invalid);
  // A repeat of what was stored is told so.
  assert.deepEqual((await partition.append([transactional(["a"], 0)], all)).duplicates, [true]);
  assert.equal(await partition.writeMarker(end(false, 4, 0, 8)), 2);
  await assert.rejects(partition.append([transactional(["c"], 0, 4, 8)], all), invalid);
  await assert.rejects(
    partition.append([transactional(["c"], 0, 3, 8)], all),
    hasCode("PRODUCER_FENCED"),
  );
  await partition.append([transactional(["d"], 0, 5, 8)], all);
  assert.equal(partition.stable().lastStableOffset, 3);
  await partition.close();
});

Deno.test("a producer in a transaction appends nothing outside of it, nor under another epoch", async () => {
  const partition = await partitionScene().open();
  await partition.append([transactional(["a"], 0)], all);
  const invalid = hasCode("INVALID_TRANSACTION_STATE");
  await assert.rejects(partition.append([stamped(["b"], { id: 7, sequence: 1 })], all), invalid);
  await assert.rejects(partition.append([transactional(["b"], 0, 1)], all), invalid);
  // The marker of a newer epoch ends what the older one has left open.
  await partition.writeMarker(end(false, 1));
  await assert.rejects(
    partition.append([transactional(["b"], 1)], all),
    hasCode("PRODUCER_FENCED"),
  );
  await partition.append([transactional(["b"], 0, 2)], all);
  await partition.close();
});

Deno.test("markers of a coordinator that has been replaced are refused, those of an older transaction do nothing", async () => {
  const partition = await partitionScene().open();
  await partition.append([transactional(["a"], 0, 1)], all);
  await partition.writeMarker(end(true, 1, 5));
  await partition.append([transactional(["b"], 0, 2)], all);
  await assert.rejects(partition.writeMarker(end(true, 2, 4)), hasCode("STALE_EPOCH"));
  assert.equal(await partition.writeMarker(end(false, 1, 5)), null);
  assert.equal(partition.stable().lastStableOffset, 2);
  await partition.close();
});

Deno.test("who waits for committed data sleeps until the marker, who waits for any is woken by the batch", async () => {
  const partition = await partitionScene().open();
  const woken: string[] = [];
  const wait = (isolation: "read_committed" | "read_uncommitted") =>
    partition.waitForData(0, { timeoutMs: 60_000, isolation }).then(() => woken.push(isolation));
  wait("read_committed");
  wait("read_uncommitted");
  await partition.append([transactional(["a"], 0)], all);
  await settle();
  assert.deepEqual(woken, ["read_uncommitted"]);
  await partition.writeMarker(end(true));
  await settle();
  assert.deepEqual(woken, ["read_uncommitted", "read_committed"]);
  await partition.close();
});

Deno.test("a transaction counts as open until the high watermark has passed its marker", () => {
  const index = new TransactionIndex();
  const batch = {
    producerId: 7,
    producerEpoch: 0,
    baseSequence: 0,
    recordCount: 1,
    transactional: true,
  };
  const events: ProducerEvent[] = [
    { type: "ProducerAppended", batch, baseOffset: 10, at: 0 },
    { type: "MarkerAppended", marker: end(true), offset: 20, at: 0 },
  ];
  index.apply(events[0]!);
  assert.deepEqual([index.lastStableOffset(5), index.lastStableOffset(30)], [5, 10]);
  index.apply(events[1]!);
  assert.deepEqual([index.lastStableOffset(20), index.lastStableOffset(21)], [10, 21]);
});

Deno.test("aborted transactions are found by where they lie, and forgotten with the log", () => {
  const index = new TransactionIndex();
  const expected: { producerId: number; firstOffset: number; lastOffset: number }[] = [];
  for (let id = 0; id < 3_000; id++) {
    const batch = {
      producerId: id,
      producerEpoch: 0,
      baseSequence: 0,
      recordCount: 1,
      transactional: true,
    };
    index.apply({ type: "ProducerAppended", batch, baseOffset: id * 2, at: 0 });
    if (id % 3 === 0) continue;
    index.apply({
      type: "MarkerAppended",
      marker: end(false, 0, 0, id),
      offset: id * 2 + 1,
      at: 0,
    });
    expected.push({ producerId: id, firstOffset: id * 2, lastOffset: id * 2 + 1 });
  }
  // One that spans all the others.
  index.apply({ type: "MarkerAppended", marker: end(false, 0, 0, 0), offset: 9_000, at: 0 });
  expected.push({ producerId: 0, firstOffset: 0, lastOffset: 9_000 });
  const within = (from: number, to: number) =>
    expected.filter((each) => each.lastOffset >= from && each.firstOffset < to);
  for (const [from, to] of [[0, 1], [100, 110], [0, 9_001], [5_990, 8_000], [9_001, 9_100]]) {
    assert.deepEqual(index.abortedWithin(from!, to!), within(from!, to!));
  }
  index.dropBelow(4_000);
  assert.deepEqual(index.abortedWithin(0, 9_001), within(4_000, 9_001));
});

Deno.test("one transaction that lasted long does not have every look at the aborted go through all of them", () => {
  const index = new TransactionIndex();
  let looks = 0;
  const aborted = Array.from({ length: 100_000 }, (_, id) => ({
    producerId: id,
    get firstOffset() {
      looks++;
      return id === 99_999 ? 0 : id * 2;
    },
    lastOffset: id * 2 + 1,
  }));
  index.restore({ aborted, ended: [] });
  looks = 0;
  const found = index.abortedWithin(100, 110).map(({ producerId }) => producerId);
  assert.deepEqual(found, [50, 51, 52, 53, 54, 99_999]);
  assert.ok(looks < 2_000, `${looks} were looked at`);
});

Deno.test("a fetch that was under way while the log was recovered is refused rather than answered without the aborted", async () => {
  const gate = Promise.withResolvers<void>();
  const faults = { holdReads: false, failAppend: false };
  const wrap = (logs: LogStore) =>
    wrappedLogs(logs, (log) => ({
      read: async (offset, options) => {
        const held = faults.holdReads;
        const bytes = await log.read(offset, options);
        if (held) await gate.promise;
        return bytes;
      },
      append: (batches) =>
        faults.failAppend
          ? Promise.reject(new BrokerError("STORAGE_FAILED", "the sync failed"))
          : log.append(batches),
    }));
  const partition = await partitionScene({ wrap }).open();
  await partition.append([transactional(["a"], 0)], all);
  await partition.writeMarker(end(false));
  faults.holdReads = true;
  const fetched = partition.fetch(0, COMMITTED);
  faults.failAppend = true;
  await assert.rejects(partition.append([plain("b")], all), hasCode("STORAGE_FAILED"));
  gate.resolve();
  await assert.rejects(fetched, hasCode("STORAGE_FAILED"));
  await partition.close();
});
