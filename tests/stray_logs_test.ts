// Owns proof that a broker lets go of the data of topics that were deleted while it was down, and of nothing else.
import assert from "node:assert/strict";
import { removeStrayLogs } from "../actors/topic/stray_logs.ts";
import type { LogConfig } from "../storage/log.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";

const LOG_CONFIG: LogConfig = {
  durability: "fsync",
  segmentBytes: 1_048_576,
  segmentMs: 3_600_000,
  indexIntervalBytes: 4_096,
};

Deno.test("logs of topics that are deleted for good go at the start, those of others and of removals under way stay", async () => {
  const stores = memoryBrokerStores();
  const { logs, metadata } = stores;
  const broker = await stores.open();
  await broker.createTopic({ name: "orders", partitions: 2, config: TOPIC_CONFIG });
  await broker.close();
  const before = await logs.list("topics");
  for (const name of ["topics/gone/0", "topics/gone/1", "topics/going/0"]) {
    await (await logs.open(name, LOG_CONFIG)).close();
  }
  const going = { topicId: "going", name: "going", partitionCount: 1 };
  await metadata.commit({
    checks: [],
    sets: [{ key: ["removed-topics", "going"], value: going }],
  });
  assert.deepEqual(await removeStrayLogs(stores), ["topics/gone/0", "topics/gone/1"]);
  assert.deepEqual(await logs.list("topics"), [...before, "topics/going/0"].sort());
  assert.deepEqual(await removeStrayLogs(stores), []);
});

Deno.test("nothing goes while the metadata store does not answer", async () => {
  const stores = memoryBrokerStores();
  await (await stores.logs.open("topics/a/0", LOG_CONFIG)).close();
  const metadata = { list: () => Promise.reject(new Error("away")) };
  await assert.rejects(removeStrayLogs({ ...stores, metadata }), /away/);
  assert.deepEqual(await stores.logs.list("topics"), ["topics/a/0"]);
});
