// Owns proof of what a partition shows, and lets go of, where its log promises less or has failed.
import assert from "node:assert/strict";
import type { LogConfig } from "../storage/log.ts";
import { FaultyLogStore } from "./support/faulty_logs.ts";
import { LOG_NAME, partitionScene, plain } from "./support/partition_scene.ts";
import { settle } from "./support/virtual_time.ts";

async function scene(durability: LogConfig["durability"]) {
  let logs: FaultyLogStore | null = null;
  const over = partitionScene({
    logConfig: { durability },
    wrap: (memory) => logs ??= new FaultyLogStore(memory),
  });
  const { time, logs: memory, logConfig, reports } = over;
  const partition = await over.open();
  return { time, memory, logs: logs!, partition, logConfig, reports };
}

Deno.test("partition of durability os shows readers what it acknowledged at once", async () => {
  const { partition } = await scene("os");
  const woken = partition.waitForData(0, { timeoutMs: 60_000 });
  const receipt = await partition.append([plain("a")], { acks: "all" });
  assert.equal(receipt.durability, "os");
  await woken;
  assert.equal(partition.info().highWatermark, 1);
  const { batches } = await partition.fetch(0, { maxBytes: 1_048_576 });
  assert.ok(batches.length > 0);
});

Deno.test("partition that changes to durability fsync shows what the change made durable", async () => {
  const { partition, logConfig } = await scene("os");
  await partition.append([plain("a")], { acks: "all" });
  await partition.configure({ ...logConfig, durability: "fsync" });
  assert.equal(partition.info().highWatermark, 1);
  await partition.append([plain("b")], { acks: "all" });
  assert.equal(partition.info().highWatermark, 2);
});

Deno.test("partition of durability os comes back shorter when its disk lost what it never synced", async () => {
  const { partition, memory, logs, time, reports } = await scene("os");
  await partition.append([plain("a")], { acks: "all" });
  memory.crash();
  logs.nextFault = "STORAGE_FAILED";
  await assert.rejects(partition.append([plain("b")], { acks: "all" }));
  await time.advance(1_000);
  await settle();
  assert.match(reports.join("\n"), /ends at 0 after recovery, but 1 was acknowledged/);
  assert.equal(partition.info().state, "online");
  assert.equal(partition.info().highWatermark, 0);
});

Deno.test("partition of durability fsync stays offline rather than come back without what it acknowledged", async () => {
  const { partition, logs, time, memory } = await scene("fsync");
  await partition.append([plain("a")], { acks: "all" });
  logs.nextFault = "STORAGE_FAILED";
  await assert.rejects(partition.append([plain("b")], { acks: "all" }));
  await settle();
  await memory.remove(LOG_NAME);
  await time.advance(600_000);
  await assert.rejects(partition.fetch(0, { maxBytes: 1 }), { code: "CORRUPT_LOG" });
});

Deno.test("partition closed while its failed log waits to be recovered leaves no log open and no timer", async () => {
  const { partition, memory, logs, time } = await scene("fsync");
  logs.nextFault = "STORAGE_FAILED";
  await assert.rejects(partition.append([plain("a")], { acks: "all" }));
  await partition.close();
  assert.equal(time.pendingTimers, 0);
  await memory.remove(LOG_NAME);
});

Deno.test("partition closed while its log is being recovered leaves no log open", async () => {
  const { partition, memory, logs, time } = await scene("fsync");
  logs.nextFault = "STORAGE_FAILED";
  await assert.rejects(partition.append([plain("a")], { acks: "all" }));
  const recovering = time.advance(200);
  await partition.close();
  await recovering;
  await settle();
  assert.equal(time.pendingTimers, 0);
  await memory.remove(LOG_NAME);
});
