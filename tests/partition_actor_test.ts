// Owns proof that a partition acknowledges only what is flushed, groups what waits, and recovers from its disk.
import assert from "node:assert/strict";
import { ByteBudget } from "../actors/partition/byte_budget.ts";
import { LeaderEpochs } from "../actors/partition/leader_epochs.ts";
import { DEFAULT_PRODUCER_BOUNDS, ProducerCensus } from "../actors/partition/producer_census.ts";
import { Partition } from "../actors/partition/partition.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { crc32c } from "../storage/format/crc32c.ts";
import { decodeBatch } from "../storage/format/decode.ts";
import { batchSpans, leaderEpochAt } from "../storage/format/record_batch.ts";
import { MemoryLogStore } from "../storage/memory/memory_log.ts";
import { MemoryMetadataStore } from "../storage/memory/memory_metadata.ts";
import { MemorySnapshotStore } from "../storage/memory/memory_snapshots.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";
import { FaultyLogStore } from "./support/faulty_logs.ts";
import { settle, VirtualClock } from "./support/virtual_time.ts";

const MAX_BYTES = 1_048_576;

function batch(...values: string[]): Uint8Array {
  const records = values.map((value) => ({ key: null, value, headers: [], timestamp: 1 }));
  return encodeBatch(records, { crc32c });
}

async function scene(options: { budgetBytes?: number } = {}) {
  const time = new VirtualClock();
  const logs = new FaultyLogStore(new MemoryLogStore(time));
  const metadata = new MemoryMetadataStore({ timers: time, randomness: seededRandomness(1) });
  const epochs = await LeaderEpochs.open(metadata);
  const reports: string[] = [];
  const partition = await Partition.open({
    name: "orders/0",
    partition: 0,
    logName: "topics/x/0",
    nodeId: "1",
    logs,
    logConfig: {
      durability: "fsync",
      segmentBytes: 1_048_576,
      segmentMs: 3_600_000,
      indexIntervalBytes: 4096,
    },
    clock: time,
    timers: time,
    budget: new ByteBudget(options.budgetBytes ?? 1_048_576, "publishes"),
    epochs,
    census: new ProducerCensus(DEFAULT_PRODUCER_BOUNDS),
    snapshots: new MemorySnapshotStore(),
    crc32c,
    report: ({ message }) => reports.push(message),
  });
  const values = async () => {
    const { batches } = await partition.fetch(0, { maxBytes: MAX_BYTES });
    return [...batchSpans(batches)].flatMap(({ at }) =>
      decodeBatch(batches, at, { maxDecompressedBytes: MAX_BYTES })
        .map(({ value }) => new TextDecoder().decode(value!))
    );
  };
  return { time, logs, partition, epochs, reports, values };
}

const hasCode = (code: string) => (error: unknown) =>
  error instanceof BrokerError && error.code === code;

function gate(): { wait: Promise<void>; open: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { wait: promise, open: resolve };
}

Deno.test("partition acknowledges an append with its offsets once the log has flushed it", async () => {
  const { partition, logs, values } = await scene();
  const held = gate();
  logs.gate = held.wait;
  let acknowledged = false;
  const receipt = partition.append([batch("a"), batch("b", "c")], { acks: "all" });
  receipt.then(() => acknowledged = true);
  await settle();
  assert.equal(acknowledged, false);
  assert.equal(partition.info().highWatermark, 0);
  held.open();
  assert.deepEqual((await receipt).baseOffsets, [0, 1]);
  assert.equal((await receipt).durability, "fsync");
  assert.equal(partition.info().highWatermark, 3);
  assert.deepEqual(await values(), ["a", "b", "c"]);
});

Deno.test("partition writes all that waited for the disk in one append, in order", async () => {
  const { partition, logs, values } = await scene();
  const held = gate();
  logs.gate = held.wait;
  const first = partition.append([batch("0")], { acks: "all" });
  await settle();
  const rest = ["1", "2", "3", "4"].map((value) =>
    partition.append([batch(value)], { acks: "all" })
  );
  held.open();
  await Promise.all([first, ...rest]);
  assert.deepEqual(logs.appends, [1, 4]);
  assert.deepEqual(await values(), ["0", "1", "2", "3", "4"]);
});

Deno.test("partition answers acks none with offsets before the log has flushed, and says so", async () => {
  const { partition, logs } = await scene();
  const held = gate();
  logs.gate = held.wait;
  const receipt = await partition.append([batch("a")], { acks: "none" });
  assert.deepEqual([receipt.baseOffsets, receipt.durability], [[0], "none"]);
  assert.equal(partition.info().highWatermark, 0);
  held.open();
  await partition.append([batch("b")], { acks: "all" });
});

Deno.test("partition refuses an append of another leader epoch and keeps nothing of it", async () => {
  const { partition } = await scene();
  await assert.rejects(
    partition.append([batch("a")], { acks: "all", leaderEpoch: 99 }),
    hasCode("STALE_EPOCH"),
  );
  assert.equal(partition.info().logEndOffset, 0);
});

Deno.test("partition goes on by itself after the disk was full", async () => {
  const { partition, logs, values } = await scene();
  await partition.append([batch("a")], { acks: "all" });
  logs.nextFault = "DISK_FULL";
  await assert.rejects(partition.append([batch("b")], { acks: "all" }), hasCode("DISK_FULL"));
  assert.equal(partition.info().state, "online");
  assert.deepEqual((await partition.append([batch("c")], { acks: "all" })).baseOffsets, [1]);
  assert.deepEqual(await values(), ["a", "c"]);
});

Deno.test("partition recovers its log under a new epoch after a failed sync", async () => {
  const { partition, logs, time, values, epochs } = await scene();
  await partition.append([batch("a")], { acks: "all" });
  const before = epochs.current;
  logs.nextFault = "STORAGE_FAILED";
  await assert.rejects(partition.append([batch("b")], { acks: "all" }), hasCode("STORAGE_FAILED"));
  assert.equal(partition.info().state, "offline");
  await assert.rejects(partition.append([batch("c")], { acks: "all" }), hasCode("STORAGE_FAILED"));
  await time.advance(10_000);
  assert.equal(partition.info().state, "online");
  await partition.append([batch("d")], { acks: "all" });
  assert.deepEqual(await values(), ["a", "d"]);
  const { batches } = await partition.fetch(1, { maxBytes: MAX_BYTES });
  assert.equal(leaderEpochAt(batches, 0), before + 1);
});

Deno.test("partition keeps what a failed sync may have kept, at one offset", async () => {
  const { partition, logs, time, values } = await scene();
  logs.nextFault = "KEPT_BUT_FAILED";
  await assert.rejects(partition.append([batch("a")], { acks: "all" }), hasCode("STORAGE_FAILED"));
  await time.advance(10_000);
  assert.deepEqual((await partition.append([batch("b")], { acks: "all" })).baseOffsets, [1]);
  assert.deepEqual(await values(), ["a", "b"]);
});

Deno.test("partition waits longer each time its log cannot be opened, and comes back", async () => {
  const { partition, logs, time, reports } = await scene();
  logs.nextFault = "STORAGE_FAILED";
  logs.nextOpenError = new BrokerError("STORAGE_FAILED", "still broken");
  await assert.rejects(partition.append([batch("a")], { acks: "all" }));
  await time.advance(250);
  assert.equal(partition.info().state, "offline");
  await time.advance(300);
  assert.equal(partition.info().state, "offline");
  await time.advance(200);
  assert.equal(partition.info().state, "online");
  assert.equal(reports.length, 2);
});

Deno.test("partition stays offline, and says why, when its log is corrupt", async () => {
  const { partition, logs, time } = await scene();
  logs.nextFault = "STORAGE_FAILED";
  logs.nextOpenError = new BrokerError("CORRUPT_LOG", "batch at 4096 does not match its CRC");
  await assert.rejects(partition.append([batch("a")], { acks: "all" }));
  await time.advance(600_000);
  assert.match(partition.info().error!, /4096/);
  await assert.rejects(partition.fetch(0, { maxBytes: 1 }), hasCode("CORRUPT_LOG"));
});

Deno.test("partition with a damaged log serves what lies before, refuses appends, and is known as offline", async () => {
  const { partition, logs } = await scene();
  await partition.append([batch("a")], { acks: "all" });
  logs.fault = new BrokerError("CORRUPT_LOG", "batch at 4096 does not match its CRC");
  assert.deepEqual([partition.info().state, partition.info().leader], ["offline", null]);
  assert.match(partition.info().error!, /4096/);
  await assert.rejects(partition.append([batch("b")], { acks: "all" }), hasCode("CORRUPT_LOG"));
  assert.equal((await partition.fetch(0, { maxBytes: MAX_BYTES })).highWatermark, 1);
});

Deno.test("partition refuses publishes beyond the bytes that may wait, and takes them again later", async () => {
  const size = batch("x".repeat(100)).length;
  const { partition, logs } = await scene({ budgetBytes: size * 2 });
  const held = gate();
  logs.gate = held.wait;
  const accepted = [1, 2].map(() => partition.append([batch("x".repeat(100))], { acks: "all" }));
  await assert.rejects(
    partition.append([batch("x".repeat(100))], { acks: "all" }),
    hasCode("OVERLOADED"),
  );
  held.open();
  await Promise.all(accepted);
  await partition.append([batch("x".repeat(100))], { acks: "all" });
});

Deno.test("partition wakes waiting readers by data, by time-out and by abort", async () => {
  const { partition, time } = await scene();
  const woken: string[] = [];
  const abort = new AbortController();
  const wait = (name: string, options: { timeoutMs: number; signal?: AbortSignal }) =>
    partition.waitForData(0, options).then(() => woken.push(name));
  wait("data", { timeoutMs: 60_000 });
  wait("time", { timeoutMs: 1_000 });
  wait("abort", { timeoutMs: 60_000, signal: abort.signal });
  await time.advance(1_000);
  assert.deepEqual(woken, ["time"]);
  abort.abort();
  await settle();
  assert.deepEqual(woken, ["time", "abort"]);
  await partition.append([batch("a")], { acks: "all" });
  await settle();
  assert.deepEqual(woken, ["time", "abort", "data"]);
  assert.equal(time.pendingTimers, 0);
});

Deno.test("partition writes what it had accepted before it closes", async () => {
  const { partition, logs } = await scene();
  const held = gate();
  logs.gate = held.wait;
  const first = partition.append([batch("a")], { acks: "all" });
  await settle();
  const second = partition.append([batch("b")], { acks: "all" });
  const closed = partition.close();
  held.open();
  await closed;
  assert.deepEqual([(await first).baseOffsets, (await second).baseOffsets], [[0], [1]]);
});

Deno.test("partition refuses work once it closes and wakes those who wait", async () => {
  const { partition, time } = await scene();
  const waiting = partition.waitForData(0, { timeoutMs: 60_000 });
  await partition.close();
  await waiting;
  await assert.rejects(partition.append([batch("a")], { acks: "all" }), hasCode("SHUTTING_DOWN"));
  assert.equal(time.pendingTimers, 0);
});
