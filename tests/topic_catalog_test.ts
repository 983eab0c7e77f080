// Owns proof that the topic catalog shows one state at a time, and announces every change that was kept.
import assert from "node:assert/strict";
import { BrokerError } from "../storage/broker_error.ts";
import type { MetadataStore } from "../storage/metadata.ts";
import { MemoryMetadataStore } from "../storage/memory/memory_metadata.ts";
import { TopicCatalog } from "../actors/topic/topic_catalog.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";
import { settle, VirtualClock } from "./support/virtual_time.ts";
import { withMembers } from "./support/with_members.ts";

const create = (name: string) => ({
  type: "CreateTopic" as const,
  topicId: `id-of-${name}`,
  name,
  partitions: 1,
  config: TOPIC_CONFIG,
  at: 0,
  brokers: 1,
});

/** A store whose reads of single keys do what `onGet` says first. */
function withReads(store: MetadataStore, onGet: () => void): MetadataStore {
  return withMembers(store, {
    get: async (key) => {
      onGet();
      return await store.get(key);
    },
  });
}

function memoryStore(): MemoryMetadataStore {
  return new MemoryMetadataStore({ timers: new VirtualClock(), randomness: seededRandomness(1) });
}

Deno.test("catalog names exactly the topics that it knows, at any moment of a change", async () => {
  const check = () => {
    for (const name of catalog.names()) assert.notEqual(catalog.topic(name), null, name);
    for (const topic of catalog.topics()) assert.ok(catalog.names().includes(topic.name));
  };
  const catalog: TopicCatalog = await TopicCatalog.open({
    metadata: withReads(memoryStore(), () => check()),
    timers: new VirtualClock(),
  });
  await catalog.execute(create("orders"));
  await catalog.execute({ type: "DeleteTopic", name: "orders" });
  assert.deepEqual(catalog.names(), []);
});

Deno.test("catalog announces a change that was kept although the store fails right after", async () => {
  let failing = false;
  const store = withReads(memoryStore(), () => {
    if (failing) throw new Error("the store is gone");
  });
  const catalog = await TopicCatalog.open({ metadata: store, timers: new VirtualClock() });
  const heard: string[] = [];
  catalog.onEvent((event) => heard.push(event.type));
  failing = true;
  await catalog.execute(create("orders"));
  failing = false;
  await catalog.execute({ type: "DeleteTopic", name: "orders" });
  assert.deepEqual(heard, ["TopicCreated", "TopicDeleted"]);
});

Deno.test("a broker that closes finishes the change of a topic that is under way", async () => {
  const stores = memoryBrokerStores();
  const held = Promise.withResolvers<void>();
  const commit = stores.metadata.commit.bind(stores.metadata);
  const broker = await stores.open();
  stores.metadata.commit = async (transaction) => {
    await held.promise;
    return await commit(transaction);
  };
  const created = broker.createTopic({ name: "orders", partitions: 1, config: TOPIC_CONFIG });
  created.catch(() => undefined);
  await settle();
  let closed = false;
  const closing = broker.close().then(() => closed = true);
  await stores.time.advance(1_000);
  assert.equal(closed, false);
  held.resolve();
  await closing;
  stores.metadata.commit = commit;
  const after = await stores.open();
  assert.deepEqual(after.topicNames().filter(isOfUsers), ["orders"]);
  assert.equal((await after.partitionInfo({ topic: "orders", partition: 0 })).state, "online");
  await after.close();
});

Deno.test("a topic is served, or gone, although the store failed after it had kept the change", async () => {
  const stores = memoryBrokerStores();
  const broker = await stores.open();
  const commit = stores.metadata.commit.bind(stores.metadata);
  stores.metadata.commit = async (transaction) => {
    await commit(transaction);
    throw new BrokerError("STORAGE_FAILED", "the store failed");
  };
  const made = { name: "orders", partitions: 2, config: TOPIC_CONFIG };
  await assert.rejects(() => broker.createTopic(made), { code: "STORAGE_FAILED" });
  stores.metadata.commit = commit;
  await stores.time.advance(1_000);
  const { partitions } = await broker.describeTopic("orders");
  assert.deepEqual(partitions.map(({ state }) => state), ["online", "online"]);

  stores.metadata.commit = async (transaction) => {
    await commit(transaction);
    throw new BrokerError("STORAGE_FAILED", "the store failed");
  };
  await assert.rejects(() => broker.deleteTopic("orders"), { code: "STORAGE_FAILED" });
  stores.metadata.commit = commit;
  await stores.time.advance(1_000);
  assert.deepEqual(broker.topicNames().filter(isOfUsers), []);
  await assert.rejects(() => broker.partitionInfo({ topic: "orders", partition: 0 }));
  assert.deepEqual(await stores.metadata.list(["removed-topics"]), []);
  await broker.close();
});

function isOfUsers(name: string): boolean {
  return !name.startsWith("__");
}
