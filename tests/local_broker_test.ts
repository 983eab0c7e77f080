// Owns proof that catalog, partitions and groups work together as one broker, and come back after a restart.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import type { GroupNotification } from "../actors/group/types.ts";
import type { LocalBroker } from "../actors/local_broker.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { recordCountAt } from "../storage/format/record_batch.ts";
import { MemoryLogStore } from "../storage/memory/memory_log.ts";
import { FaultyLogStore } from "./support/faulty_logs.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";
import { settle, VirtualClock } from "./support/virtual_time.ts";

const DAY_MS = 86_400_000;
const orders = { topic: "orders", partition: 0 };

function batch(time: VirtualClock, ...values: string[]): Uint8Array {
  const timestamp = time.now();
  const records = values.map((value) => ({ key: null, value, headers: [], timestamp }));
  return encodeBatch(records, { crc32c });
}

const hasCode = (code: string) => (error: unknown) =>
  error instanceof BrokerError && error.code === code;

function createOrders(broker: LocalBroker, partitions = 1) {
  return broker.createTopic({ name: "orders", partitions, config: TOPIC_CONFIG });
}

function join(broker: LocalBroker, memberId: string, group = "billing") {
  return broker.group({
    type: "Join",
    group,
    newMemberId: memberId,
    topics: ["orders"],
    sessionTimeoutMs: 30_000,
    transport: "websocket",
    partitionCounts: { orders: broker.topic("orders")?.partitionCount ?? 0 },
  });
}

Deno.test("broker keeps topics, messages, groups and offsets over a restart", async () => {
  const stores = memoryBrokerStores();
  const { time } = stores;
  const before = await stores.open();
  await createOrders(before);
  await before.append(orders, [batch(time, "a", "b")], { acks: "all" });
  await before.group({
    type: "CommitOffsets",
    group: "billing",
    offsets: [{ ...orders, offset: 1, endOffset: 2 }],
    allowRewind: false,
    principal: "test",
  });
  const { clusterId } = before;
  const { leaderEpoch } = await before.partitionInfo(orders);
  await before.close();

  const after = await stores.open();
  assert.equal(after.clusterId, clusterId);
  assert.deepEqual(after.topicNames().filter((name) => !name.startsWith("__")), ["orders"]);
  const { batches, highWatermark } = await after.fetch(orders, 0, { maxBytes: 1_000 });
  assert.deepEqual([recordCountAt(batches, 0), highWatermark], [2, 2]);
  assert.ok((await after.partitionInfo(orders)).leaderEpoch > leaderEpoch);
  const described = await after.group({ type: "Describe", group: "billing" });
  assert.deepEqual(described.offsets.map(({ offset }) => offset), [1]);
  await after.close();
});

Deno.test("broker tells members what they may read, and everything to one that is alone", async () => {
  const stores = memoryBrokerStores();
  const broker = await stores.open();
  await createOrders(broker, 3);
  const heard: GroupNotification[] = [];
  broker.onGroupNotification({ group: "billing", memberId: "m1" }, (word) => heard.push(word));
  await join(broker, "m1");
  await stores.time.advance(5_000);
  const assigned = heard.at(-1)!;
  assert.equal(assigned.type, "assigned");
  assert.equal(assigned.type === "assigned" && assigned.partitions.length, 3);
  await broker.close();
});

Deno.test("broker gives members the partitions a topic grows by", async () => {
  const stores = memoryBrokerStores();
  const broker = await stores.open();
  await createOrders(broker, 1);
  const heard: GroupNotification[] = [];
  broker.onGroupNotification({ group: "billing", memberId: "m1" }, (word) => heard.push(word));
  await join(broker, "m1");
  await stores.time.advance(5_000);
  await broker.updateTopic("orders", { partitions: 4 });
  await stores.time.advance(5_000);
  const last = heard.at(-1)!;
  assert.equal(last.type === "assigned" && last.partitions.length, 4);
  await broker.append({ topic: "orders", partition: 3 }, [batch(stores.time, "x")], {
    acks: "all",
  });
  await broker.close();
});

Deno.test("broker drops a group's offsets with their topic, also when its name is taken anew at once", async () => {
  const stores = memoryBrokerStores();
  const broker = await stores.open();
  await createOrders(broker);
  await broker.append(orders, [batch(stores.time, "a")], { acks: "all" });
  await broker.group({
    type: "CommitOffsets",
    group: "billing",
    offsets: [{ ...orders, offset: 1, endOffset: 1 }],
    allowRewind: false,
    principal: "test",
  });
  await Promise.all([broker.deleteTopic("orders"), createOrders(broker)]);
  await settle();
  const { offsets } = await broker.group({ type: "Describe", group: "billing" });
  assert.deepEqual(offsets, []);
  await broker.close();
});

Deno.test("broker removes a deleted topic's data, and never that of a new topic of the same name", async () => {
  const stores = memoryBrokerStores();
  const broker = await stores.open();
  await createOrders(broker);
  await broker.append(orders, [batch(stores.time, "old")], { acks: "all" });
  await broker.deleteTopic("orders");
  await createOrders(broker);
  await settle();
  assert.equal((await broker.partitionInfo(orders)).highWatermark, 0);
  await broker.append(orders, [batch(stores.time, "new")], { acks: "all" });
  await broker.close();
  const again = await stores.open();
  assert.equal((await again.partitionInfo(orders)).highWatermark, 1);
  const internal = again.topicNames().map((name) => again.topic(name)!)
    .filter((topic) => topic.internal).map((topic) => topic.topicId);
  const logs = (await stores.logs.list("topics"))
    .filter((name) => !internal.some((topicId) => name.includes(topicId)));
  assert.equal(logs.length, 1, "one of orders");
  await again.close();
});

Deno.test("broker finishes at the next start what removal of a topic was left undone", async () => {
  const time = new VirtualClock();
  const logs = new MemoryLogStore(time);
  const stores = memoryBrokerStores({ time, logs });
  const broker = await stores.open();
  await createOrders(broker);
  logs.remove = () => Promise.reject(new Error("the disk is not there just now"));
  await broker.deleteTopic("orders");
  await broker.close();
  const { length } = await logs.list("topics");
  Reflect.deleteProperty(logs, "remove");
  const again = await stores.open();
  await settle();
  assert.equal((await logs.list("topics")).length, length - 1);
  assert.equal(again.topic("orders"), null);
  await again.close();
});

Deno.test("broker drops what retention allows, and nothing early when the wall clock jumps ahead", async () => {
  const stores = memoryBrokerStores();
  const broker = await stores.open();
  await broker.createTopic({
    name: "orders",
    partitions: 1,
    config: { ...TOPIC_CONFIG, retentionHours: 24, segmentHours: 1 },
  });
  const { time } = stores;
  await broker.append(orders, [batch(time, "a")], { acks: "all" });
  await time.advance(2 * 3_600_000);
  await broker.append(orders, [batch(time, "b")], { acks: "all" });
  time.jumpWall(DAY_MS);
  await time.advance(120_000);
  assert.equal((await broker.partitionInfo(orders)).logStartOffset, 0);
  time.jumpWall(-DAY_MS);
  await time.advance(DAY_MS);
  assert.equal((await broker.partitionInfo(orders)).logStartOffset, 1);
  await broker.close();
});

Deno.test("broker serves the other partitions while one is offline, and its health names it", async () => {
  const time = new VirtualClock();
  const logs = new FaultyLogStore(new MemoryLogStore(time));
  const stores = memoryBrokerStores({ time, logs });
  const broker = await stores.open();
  await createOrders(broker, 2);
  logs.nextFault = "STORAGE_FAILED";
  await assert.rejects(
    broker.append(orders, [batch(time, "a")], { acks: "all" }),
    hasCode("STORAGE_FAILED"),
  );
  await broker.append({ topic: "orders", partition: 1 }, [batch(time, "b")], { acks: "all" });
  assert.equal(broker.health().ready, false);
  assert.match(broker.health().problems.join(), /orders\/0/);
  await time.advance(10_000);
  assert.deepEqual(broker.health(), { ready: true, problems: [] });
  await broker.close();
});

Deno.test("broker refuses unknown topics and partitions, and everything once it closes", async () => {
  const stores = memoryBrokerStores();
  const broker = await stores.open();
  await createOrders(broker);
  await assert.rejects(
    broker.partitionInfo({ topic: "x", partition: 0 }),
    hasCode("UNKNOWN_TOPIC"),
  );
  await assert.rejects(
    broker.fetch({ topic: "orders", partition: 1 }, 0, { maxBytes: 1 }),
    hasCode("UNKNOWN_PARTITION"),
  );
  await broker.close();
  await assert.rejects(createOrders(broker), hasCode("SHUTTING_DOWN"));
});
