// Owns proof that a partition sends nobody to messages that retention has taken.
import assert from "node:assert/strict";
import { ByteBudget } from "../actors/partition/byte_budget.ts";
import { LeaderEpochs } from "../actors/partition/leader_epochs.ts";
import { DEFAULT_PRODUCER_BOUNDS, ProducerCensus } from "../actors/partition/producer_census.ts";
import { Partition } from "../actors/partition/partition.ts";
import { crc32c } from "../storage/format/crc32c.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import type { Log, LogConfig, LogStore, RetentionPolicy } from "../storage/log.ts";
import { MemoryLogStore } from "../storage/memory/memory_log.ts";
import { MemoryMetadataStore } from "../storage/memory/memory_metadata.ts";
import { MemorySnapshotStore } from "../storage/memory/memory_snapshots.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";
import { settle, VirtualClock } from "./support/virtual_time.ts";

const LOG_CONFIG: LogConfig = {
  durability: "fsync",
  segmentBytes: 1,
  segmentMs: 3_600_000,
  indexIntervalBytes: 4_096,
};

/** Logs that take their time to remove what retention drops, after the log start has been raised. */
function slowToRemove(logs: LogStore, removed: Promise<void>): LogStore {
  const slow = (log: Log): Log =>
    new Proxy(log, {
      get(target, property) {
        if (property === "applyRetention") {
          return async (policy: RetentionPolicy) => {
            const logStartOffset = await target.applyRetention(policy);
            await removed;
            return logStartOffset;
          };
        }
        const value = Reflect.get(target, property, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  return {
    open: async (name, config) => slow(await logs.open(name, config)),
    remove: (name) => logs.remove(name),
    list: (prefix) => logs.list(prefix),
  };
}

Deno.test("partition shows the log start that its log has while retention still removes files", async () => {
  const time = new VirtualClock();
  const metadata = new MemoryMetadataStore({ timers: time, randomness: seededRandomness(1) });
  const removed = Promise.withResolvers<void>();
  const partition = await Partition.open({
    name: "orders/0",
    partition: 0,
    logName: "topics/x/0",
    nodeId: "1",
    logs: slowToRemove(new MemoryLogStore(time), removed.promise),
    logConfig: LOG_CONFIG,
    clock: time,
    timers: time,
    budget: new ByteBudget(1_048_576, "publishes"),
    epochs: await LeaderEpochs.open(metadata),
    census: new ProducerCensus(DEFAULT_PRODUCER_BOUNDS),
    snapshots: new MemorySnapshotStore(),
    crc32c,
    report: () => undefined,
  });
  for (const value of ["a", "b", "c"]) {
    const batch = encodeBatch([{ key: null, value, headers: [], timestamp: 1 }], { crc32c });
    await partition.append([batch], { acks: "all" });
  }
  const retention = partition.applyRetention({ now: 100, retentionMs: 1, retentionBytes: null });
  await settle();
  const { logStartOffset } = partition.info();
  assert.ok(logStartOffset > 0);
  assert.equal(partition.readable().startOffset, logStartOffset);
  const fetched = await partition.fetch(logStartOffset, { maxBytes: 1_000 });
  assert.equal(fetched.logStartOffset, logStartOffset);
  assert.ok(fetched.batches.length > 0);
  removed.resolve();
  await retention;
  await partition.close();
});

Deno.test("retention drops nothing early although the wall clock jumped while the broker started", async () => {
  const time = new VirtualClock();
  const memory = new MemoryLogStore(time);
  let opening: () => void = () => undefined;
  const logs: LogStore = {
    open: (name, config) => {
      opening();
      return memory.open(name, config);
    },
    remove: (name) => memory.remove(name),
    list: (prefix) => memory.list(prefix),
  };
  const stores = memoryBrokerStores({ time, logs });
  const before = await stores.open();
  const config = { ...TOPIC_CONFIG, retentionHours: 1, segmentBytes: 1 };
  await before.createTopic({ name: "orders", partitions: 1, config });
  const orders = { topic: "orders", partition: 0 };
  for (const value of ["a", "b"]) {
    const record = { key: null, value, headers: [], timestamp: time.now() };
    await before.append(orders, [encodeBatch([record], { crc32c })], { acks: "all" });
  }
  await before.close();
  opening = () => {
    opening = () => undefined;
    time.jumpWall(86_400_000);
  };
  const after = await stores.open();
  await time.advance(600_000);
  assert.equal((await after.partitionInfo(orders)).logStartOffset, 0);
  await after.close();
});
