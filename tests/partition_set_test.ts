// Owns proof that topics may be made, grown and deleted at the same time, and each partition is opened once.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import type { Topic } from "../actors/broker.ts";
import type { LocalBroker } from "../actors/local_broker.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import type { LogConfig, LogStore } from "../storage/log.ts";
import { MemoryLogStore } from "../storage/memory/memory_log.ts";
import { MAX_OPENING_WAIT_MS } from "../actors/partition/opening_waits.ts";
import { apiUnderTest } from "./support/api_app.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";
import { settle, VirtualClock } from "./support/virtual_time.ts";
import { wrappedLog } from "./support/wrapped_logs.ts";

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
    return wrappedLog(log, { configure });
  }

  remove(name: string) {
    return this.below.remove(name);
  }

  list(prefix: string) {
    return this.below.list(prefix);
  }
}

async function scene(options: { maxPendingPublishBytes?: number } = {}) {
  const time = new VirtualClock();
  const memory = new MemoryLogStore(time);
  const logs = new ReluctantLogs(memory);
  const stores = memoryBrokerStores({ time, logs, ...options });
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

Deno.test("a topic that is just being made is described once its partitions are there", async () => {
  const { broker, hold } = await scene();
  const letGo = hold();
  const made = broker.createTopic(orders);
  await settle();
  assert.notEqual(broker.topic("orders"), null);
  const described = broker.describeTopic("orders");
  await settle();
  letGo();
  const states = (await described).partitions.map(({ partition, state }) => [partition, state]);
  assert.deepEqual(states, [[0, "online"], [1, "online"]]);
  await made;
  await broker.close();
});

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

const added = { topic: "orders", partition: 3 };

function batch(value: string): Uint8Array {
  return encodeBatch([{ key: null, value, headers: [], timestamp: 1 }], { crc32c });
}

/** All that is asked of one partition. */
function askEverything(broker: LocalBroker): Promise<unknown>[] {
  const keyed = { acks: "all" as const, idempotencyKeys: [["k"]] };
  const asked = [
    broker.append(added, [batch("plain")], { acks: "all" }),
    broker.append(added, [batch("keyed")], keyed),
    broker.fetch(added, 0, { maxBytes: 1_000 }),
    broker.waitForData(added, 0, { timeoutMs: 1 }),
    broker.offsetForTime(added, 0),
    broker.partitionInfo(added),
    broker.producers.nextSequence(added, { producerId: 1, producerEpoch: 0 }),
  ];
  for (const one of asked) one.catch(() => undefined);
  return asked;
}

/** Codes of what was rejected so far, null for what was answered, "waits" for the rest. */
async function outcomes(asked: readonly Promise<unknown>[]): Promise<(string | null)[]> {
  const found = asked.map((): string | null => "waits");
  for (const [index, one] of asked.entries()) {
    one.then(() => found[index] = null, (error) => found[index] = error.code ?? String(error));
  }
  await settle();
  return found;
}

const all = (outcome: string | null, count: number) => new Array(count).fill(outcome);

Deno.test("what is asked of a partition that the topic grew by waits until it is open", async () => {
  const { broker, hold } = await scene();
  await broker.createTopic(orders);
  const letGo = hold();
  const grown = broker.updateTopic("orders", { partitions: 4 });
  await settle();
  assert.equal(broker.topic("orders")!.partitionCount, 4);
  const asked = askEverything(broker);
  assert.deepEqual(await outcomes(asked), all("waits", asked.length));
  const beyond = { topic: "orders", partition: 4 };
  await assert.rejects(() => broker.partitionInfo(beyond), { code: "UNKNOWN_PARTITION" });
  letGo();
  await grown;
  assert.deepEqual(await outcomes(asked), all(null, asked.length));
  assert.equal((await broker.partitionInfo(added)).highWatermark, 2);
  await broker.close();
});

Deno.test("publishes that wait for their partition to open are bounded as those that wait for the disk", async () => {
  const { broker, hold } = await scene({ maxPendingPublishBytes: 1_000 });
  await broker.createTopic({ ...orders, partitions: 1 });
  const letGo = hold();
  const grown = broker.updateTopic("orders", { partitions: 2 });
  await settle();
  const publish = () =>
    broker.append({ topic: "orders", partition: 1 }, [batch("x".repeat(600))], { acks: "all" });
  const asked = [publish(), publish()];
  assert.deepEqual(await outcomes(asked), ["waits", "OVERLOADED"]);
  letGo();
  await grown;
  assert.deepEqual((await asked[0])!.baseOffsets, [0]);
  assert.deepEqual((await publish()).baseOffsets, [1], "what waited is let go of");
  await broker.close();
});

Deno.test("what is asked of a new topic waits, also while only the catalog knows of it", async () => {
  const { broker, hold } = await scene();
  const letGo = hold();
  const created = broker.createTopic({ ...orders, partitions: 4 });
  await settle();
  assert.equal(broker.topic("orders")!.partitionCount, 4);
  const asked = askEverything(broker);
  assert.deepEqual(await outcomes(asked), all("waits", asked.length));
  letGo();
  await created;
  assert.deepEqual(await outcomes(asked), all(null, asked.length));
  await broker.close();
});

Deno.test("what is asked of a partition that takes long to open may be tried again", async () => {
  const { broker, hold, time } = await scene();
  await broker.createTopic(orders);
  const letGo = hold();
  const grown = broker.updateTopic("orders", { partitions: 4 });
  await settle();
  const asked = askEverything(broker);
  await settle();
  await time.advance(MAX_OPENING_WAIT_MS);
  assert.deepEqual(await outcomes(asked), all("LEADER_NOT_AVAILABLE", asked.length));
  letGo();
  await grown;
  await broker.close();
});

Deno.test("what is asked of a partition that is opening ends when its topic is deleted or the broker closes", async () => {
  for (const end of ["delete", "close"] as const) {
    const { broker, hold } = await scene();
    await broker.createTopic(orders);
    const letGo = hold();
    const grown = broker.updateTopic("orders", { partitions: 4 }).catch(() => undefined);
    await settle();
    const asked = askEverything(broker);
    await settle();
    if (end === "delete") await broker.deleteTopic("orders");
    const closed = broker.close();
    const code = end === "delete" ? "UNKNOWN_TOPIC" : "SHUTTING_DOWN";
    if (end === "delete") assert.deepEqual(await outcomes(asked), all(code, asked.length));
    letGo();
    await closed;
    await grown;
    const ended = await outcomes(asked);
    assert.ok(ended.every((outcome) => outcome === code || outcome === null), ended.join());
  }
});

Deno.test("messages published while their topic grows are stored, whichever partition they go to", async () => {
  const time = new VirtualClock();
  const logs = new ReluctantLogs(new MemoryLogStore(time));
  const api = await apiUnderTest({ time, logs });
  await api.ask("POST", "/api/topics", { body: { name: "orders", partitions: 1 } });
  const gate = Promise.withResolvers<void>();
  logs.gate = gate.promise;
  const grown = api.ask("PATCH", "/api/topics/orders", { body: { partitions: 6 } });
  await settle();
  const messages = Array.from({ length: 60 }, (_, value) => ({ key: `k${value}`, value }));
  const body = { topic: "orders", messages };
  logs.gate = null;
  const headersOf: Record<string, string>[] = [{}, { "Idempotency-Key": "a" }];
  const answers = headersOf.map((headers) =>
    api.ask("POST", "/api/messages:publish", { headers, body })
  );
  await settle();
  gate.resolve();
  assert.equal((await grown).status, 200);
  for (const { status, body } of await Promise.all(answers)) {
    assert.equal(status, 200, JSON.stringify(body));
    assert.equal(
      new Set(body.results.map((result: { partition: number }) => result.partition)).size,
      6,
    );
  }
  await api.close();
});
