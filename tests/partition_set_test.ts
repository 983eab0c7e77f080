// Owns proof that topics may be made, grown and deleted at the same time, and each partition is opened once.
import assert from "node:assert/strict";
import type { Topic } from "../actors/broker.ts";
import type { LogConfig, LogStore } from "../storage/log.ts";
import { MemoryLogStore } from "../storage/memory/memory_log.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";
import { settle, VirtualClock } from "./support/virtual_time.ts";

/** Logs that open only once `gate` has been opened, where there is one, and may refuse new settings. */
class ReluctantLogs implements LogStore {
  gate: Promise<void> | null = null;
  /** What the next log says that is told of changed settings. */
  nextConfigureError: Error | null = null;

  constructor(readonly below: LogStore) {}

  async open(name: string, config: LogConfig) {
    if (this.gate !== null) await this.gate;
    const log = await this.below.open(name, config);
    const configure = async (changed: LogConfig) => {
      const error = this.nextConfigureError;
      this.nextConfigureError = null;
      if (error !== null) throw error;
      await log.configure(changed);
    };
    return new Proxy(log, {
      get(target, property) {
        if (property === "configure") return configure;
        const value = Reflect.get(target, property, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  }

  remove(name: string) {
    return this.below.remove(name);
  }

  list(prefix: string) {
    return this.below.list(prefix);
  }
}

async function scene() {
  const time = new VirtualClock();
  const memory = new MemoryLogStore(time);
  const logs = new ReluctantLogs(memory);
  const stores = memoryBrokerStores({ time, logs });
  const broker = await stores.open();
  const hold = () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    logs.gate = promise;
    return () => {
      logs.gate = null;
      resolve();
    };
  };
  return { ...stores, memory, logs, broker, hold };
}

const orders = { name: "orders", partitions: 2, config: TOPIC_CONFIG };

Deno.test("a topic that grows twice at once has every partition online", async () => {
  const { broker, hold } = await scene();
  await broker.createTopic(orders);
  const letGo = hold();
  const grown = [
    broker.updateTopic("orders", { partitions: 4 }),
    broker.updateTopic("orders", { partitions: 5 }),
  ];
  await settle();
  letGo();
  await Promise.all(grown);
  const { partitions } = await broker.describeTopic("orders");
  assert.deepEqual(partitions.map(({ partition, state }) => [partition, state]), [
    [0, "online"],
    [1, "online"],
    [2, "online"],
    [3, "online"],
    [4, "online"],
  ]);
  await broker.close();
});

Deno.test("a topic deleted while its partitions are being opened leaves neither logs nor partitions", async () => {
  const { broker, hold, memory, reports } = await scene();
  const letGo = hold();
  const created = broker.createTopic(orders);
  await settle();
  await broker.deleteTopic("orders");
  letGo();
  await assert.rejects(created, { code: "UNKNOWN_TOPIC" });
  await settle();
  assert.deepEqual(reports, []);
  const names = await memory.list("topics");
  assert.ok(names.every((name) => isInternal(broker, name)), names.join());
  assert.deepEqual(broker.health().problems, []);
  await broker.close();
});

function isInternal(
  broker: { topicNames(): readonly string[]; topic(name: string): Topic | null },
  logName: string,
): boolean {
  const internal = broker.topicNames().map((name) => broker.topic(name)!)
    .filter((topic) => topic.internal);
  return internal.some(({ topicId }) => logName.includes(topicId));
}

Deno.test("a topic deleted while it grows leaves neither logs nor partitions", async () => {
  const { broker, hold, memory, reports } = await scene();
  await broker.createTopic(orders);
  const letGo = hold();
  const grown = broker.updateTopic("orders", { partitions: 3 });
  await settle();
  await broker.deleteTopic("orders");
  letGo();
  await assert.rejects(grown, { code: "UNKNOWN_TOPIC" });
  await settle();
  assert.deepEqual(reports, []);
  const names = await memory.list("topics");
  assert.ok(names.every((name) => isInternal(broker, name)), names.join());
  await assert.rejects(() => broker.partitionInfo({ topic: "orders", partition: 0 }));
  await broker.close();
});

Deno.test("a topic grows although one of its partitions is offline", async () => {
  const { broker, logs } = await scene();
  await broker.createTopic(orders);
  logs.nextConfigureError = new Error("EIO");
  await broker.updateTopic("orders", { partitions: 3 });
  const { partitions } = await broker.describeTopic("orders");
  assert.deepEqual(partitions.map(({ state }) => state), ["online", "online", "online"]);
  await broker.close();
});

Deno.test("a change of a topic is not answered with another topic that has taken its name meanwhile", async () => {
  const { broker, hold } = await scene();
  await broker.createTopic(orders);
  const letGo = hold();
  const grown = broker.updateTopic("orders", { partitions: 3 });
  await settle();
  await broker.deleteTopic("orders");
  const anew = broker.createTopic(orders);
  await settle();
  letGo();
  await assert.rejects(grown, { code: "UNKNOWN_TOPIC" });
  assert.equal((await anew).partitions.length, 2);
  await broker.close();
});
