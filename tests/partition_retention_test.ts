// Owns proof that a partition sends nobody to messages that retention has taken.
import assert from "node:assert/strict";
import { crc32c } from "../storage/format/crc32c.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import type { LogStore } from "../storage/log.ts";
import { MemoryLogStore } from "../storage/memory/memory_log.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";
import { partitionScene, plain } from "./support/partition_scene.ts";
import { settle, VirtualClock } from "./support/virtual_time.ts";
import { wrappedLogs } from "./support/wrapped_logs.ts";

/** Logs that take their time to remove what retention drops, after the log start has been raised. */
function slowToRemove(logs: LogStore, removed: Promise<void>): LogStore {
  return wrappedLogs(logs, (log) => ({
    applyRetention: async (policy) => {
      const logStartOffset = await log.applyRetention(policy);
      await removed;
      return logStartOffset;
    },
  }));
}

Deno.test("partition shows the log start that its log has while retention still removes files", async () => {
  const removed = Promise.withResolvers<void>();
  const scene = partitionScene({
    logConfig: { segmentBytes: 1 },
    wrap: (logs) => slowToRemove(logs, removed.promise),
  });
  const partition = await scene.open();
  for (const value of ["a", "b", "c"]) await partition.append([plain(value)], { acks: "all" });
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
