// Owns tests of what a partition remembers of a read that found its log corrupt, and that the broker's health tells it.
// Refuses to own damage that the log knows when it opens (partition_actor_test.ts).
import assert from "node:assert/strict";
import { BrokerError } from "../storage/broker_error.ts";
import type { LogStore } from "../storage/log.ts";
import { MemoryLogStore } from "../storage/memory/memory_log.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";
import { partitionScene, plain } from "./support/partition_scene.ts";
import { VirtualClock } from "./support/virtual_time.ts";
import { wrappedLogs } from "./support/wrapped_logs.ts";

const all = { acks: "all" } as const;
const MAX_BYTES = 1_048_576;

/** Logs whose reads are corrupt from `corruption.from` on. */
function corruptible(logs: LogStore, corruption: { from: number }): LogStore {
  return wrappedLogs(logs, (log, name) => ({
    read: (offset, options) =>
      name.startsWith("topics/") && offset >= corruption.from
        ? Promise.reject(new BrokerError("CORRUPT_LOG", "what was read is not what was stored"))
        : log.read(offset, options),
  }));
}

Deno.test("a partition that a read finds corrupt says where until that can be read, and reports it once", async () => {
  const corruption = { from: Infinity };
  const scene = partitionScene({ wrap: (logs) => corruptible(logs, corruption) });
  const partition = await scene.open();
  for (const value of ["a", "b", "c"]) await partition.append([plain(value)], all);
  const fetch = (offset: number) => partition.fetch(offset, { maxBytes: MAX_BYTES });
  const at = () => partition.unreadable?.offset ?? null;
  await fetch(0);
  assert.equal(at(), null);
  corruption.from = 1;
  for (const offset of [2, 1, 2]) await assert.rejects(fetch(offset), { code: "CORRUPT_LOG" });
  assert.equal(at(), 1);
  assert.equal(partition.info().state, "online");
  assert.equal(scene.reports.length, 1);
  await fetch(0);
  assert.equal(at(), 1);
  corruption.from = Infinity;
  await fetch(2);
  assert.equal(at(), 1);
  await fetch(1);
  assert.equal(at(), null);
});

Deno.test("a broker one of whose partitions was read and is corrupt is not ready, and names it", async () => {
  const corruption = { from: Infinity };
  const time = new VirtualClock();
  const logs = corruptible(new MemoryLogStore(time), corruption);
  const broker = await memoryBrokerStores({ time, logs }).open();
  await broker.createTopic({ name: "payroll", partitions: 1, config: TOPIC_CONFIG });
  await broker.append({ topic: "payroll", partition: 0 }, [plain("a")], all);
  assert.deepEqual(broker.health(), { ready: true, problems: [] });
  corruption.from = 0;
  await assert.rejects(
    broker.fetch({ topic: "payroll", partition: 0 }, 0, { maxBytes: MAX_BYTES }),
    { code: "CORRUPT_LOG" },
  );
  const { ready, problems } = broker.health();
  assert.equal(ready, false);
  assert.match(problems.join(), /^partition payroll\/0 cannot be read at offset 0: what was read/);
  await broker.close();
});
