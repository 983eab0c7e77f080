// Owns proof that groups hear of every change of topics, also when their journal fails or the broker stops meanwhile.
import assert from "node:assert/strict";
import type { LocalBroker } from "../actors/local_broker.ts";
import { crc32c } from "../storage/format/crc32c.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { MemoryLogStore } from "../storage/memory/memory_log.ts";
import { FaultyLogStore } from "./support/faulty_logs.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";
import { settle, VirtualClock } from "./support/virtual_time.ts";

const GROUP = "billing";

function batch(...values: string[]): Uint8Array {
  const records = values.map((value) => ({ key: null, value, headers: [], timestamp: 1 }));
  return encodeBatch(records, { crc32c });
}

function join(broker: LocalBroker, topics: string[]) {
  const counts = topics.flatMap((name) => {
    const topic = broker.topic(name);
    return topic === null ? [] : [[name, topic.partitionCount]];
  });
  return broker.group({
    type: "Join",
    group: GROUP,
    newMemberId: "m1",
    topics,
    sessionTimeoutMs: 60_000,
    transport: "http",
    partitionCounts: Object.fromEntries(counts),
  });
}

async function assigned(broker: LocalBroker): Promise<string[]> {
  const { members } = await broker.group({ type: "Describe", group: GROUP });
  return members.flatMap(({ assignment }) => assignment.map((at) => `${at.topic}/${at.partition}`));
}

async function scene() {
  const time = new VirtualClock();
  const memory = new MemoryLogStore(time);
  const logs = new FaultyLogStore(memory);
  const stores = memoryBrokerStores({ time, logs });
  const broker = await stores.open();
  for (const name of ["orders", "parcels"]) {
    await broker.createTopic({ name, partitions: 1, config: TOPIC_CONFIG });
  }
  await join(broker, ["orders", "parcels"]);
  await time.advance(5_000);
  assert.deepEqual(await assigned(broker), ["orders/0", "parcels/0"]);
  return { time, memory, logs, stores, broker };
}

for (const fault of ["DISK_FULL", "STORAGE_FAILED"] as const) {
  Deno.test(`groups hear of a deleted topic although their journal failed with ${fault}`, async () => {
    const { time, logs, broker } = await scene();
    logs.nextFault = fault;
    await broker.deleteTopic("parcels");
    await time.advance(20_000);
    assert.deepEqual(await assigned(broker), ["orders/0"]);
    await broker.close();
  });
}

Deno.test("groups hear at the next start that all of their topics were deleted just before a crash", async () => {
  const { time, memory, stores, broker, logs } = await scene();
  const held = Promise.withResolvers<void>();
  logs.gate = held.promise;
  void broker.deleteTopic("orders");
  void broker.deleteTopic("parcels");
  await time.advance(10);
  assert.ok(broker.topicNames().every((name) => name.startsWith("__")));
  memory.crash();
  logs.gate = null;

  const after = await stores.open();
  await time.advance(20_000);
  assert.deepEqual(await assigned(after), []);
  await after.close();
});

Deno.test("a group hears of topics that came or went while its first member was joining", async () => {
  const time = new VirtualClock();
  const logs = new FaultyLogStore(new MemoryLogStore(time));
  const broker = await memoryBrokerStores({ time, logs }).open();
  await broker.createTopic({ name: "parcels", partitions: 1, config: TOPIC_CONFIG });
  const held = Promise.withResolvers<void>();
  logs.gate = held.promise;
  const joined = join(broker, ["orders", "parcels"]);
  await settle();
  await broker.deleteTopic("parcels");
  await broker.createTopic({ name: "orders", partitions: 2, config: TOPIC_CONFIG });
  logs.gate = null;
  held.resolve();
  await joined;
  await time.advance(5_000);
  assert.deepEqual(await assigned(broker), ["orders/0", "orders/1"]);
  await broker.close();
});

Deno.test("a name is given to a new topic only when every group has heard that the old one is gone", async () => {
  const { time, logs, broker } = await scene();
  const parcels = { topic: "parcels", partition: 0 };
  await broker.append(parcels, [batch("a", "b")], { acks: "all" });
  const held = Promise.withResolvers<void>();
  logs.gate = held.promise;
  const committed = broker.group({
    type: "CommitOffsets",
    group: GROUP,
    offsets: [{ ...parcels, offset: 2, endOffset: 2 }],
    allowRewind: false,
    principal: "test",
  });
  await settle();
  const deleted = broker.deleteTopic("parcels");
  const anew = broker.createTopic({ name: "parcels", partitions: 1, config: TOPIC_CONFIG });
  await time.advance(1_000);
  assert.equal(broker.topic("parcels"), null);
  logs.gate = null;
  held.resolve();
  await Promise.all([committed, deleted, anew]);
  const { offsets } = await broker.group({ type: "Describe", group: GROUP });
  assert.deepEqual(offsets, []);
  await broker.close();
});

Deno.test("a topic whose name is not free yet is refused with an error that may be tried again", async () => {
  const { time, logs, broker } = await scene();
  const held = Promise.withResolvers<void>();
  logs.gate = held.promise;
  await broker.deleteTopic("parcels");
  const anew = assert.rejects(
    () => broker.createTopic({ name: "parcels", partitions: 1, config: TOPIC_CONFIG }),
    { code: "LEADER_NOT_AVAILABLE", retryable: true },
  );
  await time.advance(10_000);
  await anew;
  logs.gate = null;
  held.resolve();
  await time.advance(1_000);
  await broker.createTopic({ name: "parcels", partitions: 1, config: TOPIC_CONFIG });
  await broker.close();
});
