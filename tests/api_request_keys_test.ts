// Owns the tests of the header Idempotency-Key: repeats, rivals, other bodies, and going on where an attempt broke off.
// Refuses to own keys of single messages (api_message_keys_test.ts) and the real process (e2e_idempotency_test.ts).
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { createApp } from "../api/app.ts";
import { DEFAULT_API_LIMITS } from "../api/limits.ts";
import { REQUESTS_TOPIC } from "../actors/request_keys/local_request_keys.ts";
import type { LocalBroker } from "../actors/local_broker.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { MemoryLogStore } from "../storage/memory/memory_log.ts";
import { type AppendFault, FaultyLogStore } from "./support/faulty_logs.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";
import { apiUnderTest, FORMATS } from "./support/api_app.ts";
import { VirtualClock } from "./support/virtual_time.ts";

const HOUR_MS = 3_600_000;
const PARTITIONS = 3;

/** Logs that fail the append with a number, counted from when it is set. */
class LogsThatFailOnce extends FaultyLogStore {
  #left = 0;
  #fault: AppendFault | null = null;

  constructor(time: VirtualClock) {
    super(new MemoryLogStore(time));
    Object.defineProperty(this, "nextFault", {
      get: () => --this.#left === 0 ? this.#fault : null,
      set: () => undefined,
    });
  }

  failAt(number: number, fault: AppendFault): void {
    this.#left = number;
    this.#fault = fault;
  }
}

// deno-lint-ignore no-explicit-any -- answers of every shape
type Answer = { status: number; replayed: string | null; body: any };

/** One broker after the other over the same stores, each with an application. */
async function lives() {
  const time = new VirtualClock();
  const logs = new LogsThatFailOnce(time);
  const stores = memoryBrokerStores({ time, logs });
  const appOf = (broker: LocalBroker) =>
    createApp({
      broker,
      clock: time,
      randomness: stores.randomness,
      crc32c,
      limits: DEFAULT_API_LIMITS,
      security: { adminToken: null, allowedOrigins: [] },
      version: "0",
      self: () => ({ host: "127.0.0.1", port: 1, zone: null }),
    });
  let broker = await stores.open();
  await broker.createTopic({ name: "orders", partitions: PARTITIONS, config: TOPIC_CONFIG });
  let app = appOf(broker);
  return {
    time,
    logs,
    stores,
    broker: () => broker,
    async publish(messages: readonly unknown[], key: string, extra = {}): Promise<Answer> {
      const response = await app.request("http://127.0.0.1:8080/api/messages:publish", {
        method: "POST",
        headers: { "content-type": "application/json", "idempotency-key": key },
        body: JSON.stringify({ topic: "orders", messages, ...extra }),
      });
      const replayed = response.headers.get("idempotency-replayed");
      return { status: response.status, replayed, body: await response.json() };
    },
    /** Ends the broker without letting it write anything down, and starts the next. */
    async kill(): Promise<void> {
      const { snapshots } = stores;
      const { save } = snapshots;
      snapshots.save = () => Promise.resolve();
      await broker.close().catch(() => undefined);
      snapshots.save = save;
      broker = await stores.open();
      app = appOf(broker);
    },
    /** Messages stored, over all partitions. */
    async count(): Promise<number> {
      const { partitions } = await broker.describeTopic("orders");
      return partitions.reduce((sum, { logEndOffset }) => sum + logEndOffset, 0);
    },
    /** Checks that every message of an answered request is where the answer says. */
    async check(messages: readonly { value: unknown }[], { body }: Answer): Promise<void> {
      for (const [index, { value }] of messages.entries()) {
        const { partition, offset } = body.results[index];
        const path = `/api/topics/orders/partitions/${partition}/messages?offset=${offset}`;
        const read = await (await app.request(`http://127.0.0.1:8080${path}`)).json();
        assert.deepEqual(read.messages[0].value, value);
      }
    },
  };
}

/** Some with a key, some without, for every partition. */
const MESSAGES = Array.from({ length: 40 }, (_, value) => ({
  value,
  ...(value % 3 === 0 ? {} : { key: `k${value}` }),
}));

for (const format of FORMATS) {
  Deno.test(`request that is repeated is answered as the first time and stores nothing (${format})`, async () => {
    const api = await apiUnderTest();
    await api.ask("POST", "/api/topics", { body: { name: "orders", partitions: PARTITIONS } });
    const request = {
      format,
      headers: { "Idempotency-Key": "request-1" },
      body: { topic: "orders", messages: MESSAGES, acks: "leader" },
    };
    const first = await api.ask("POST", "/api/messages:publish", request);
    assert.deepEqual([first.status, first.headers.get("idempotency-replayed")], [200, null]);
    const stored = await api.stored();
    const again = await api.ask("POST", "/api/messages:publish", request);
    assert.deepEqual([again.status, again.headers.get("idempotency-replayed")], [200, "true"]);
    assert.deepEqual(again.body, first.body);
    assert.ok(again.body.results.every(({ duplicate }: { duplicate: boolean }) => !duplicate));
    assert.deepEqual(await api.stored(), stored);
    const other = await api.ask("POST", "/api/messages:publish", {
      ...request,
      body: { topic: "orders", messages: [{ value: "other" }] },
    });
    assert.deepEqual([other.status, other.body.code], [422, "IDEMPOTENCY_KEY_REUSED"]);
    const fresh = { ...request, headers: { "Idempotency-Key": "request-2" } };
    assert.equal((await api.ask("POST", "/api/messages:publish", fresh)).status, 200);
    const counts = await api.broker.requestKeys.counts();
    assert.deepEqual([counts.keys, counts.replayed, counts.reused, counts.running], [2, 1, 1, 0]);
    await api.close();
  });
}

const MAX_TRIES = 5_000;

Deno.test("request whose first attempt is under way is told so, with another body that it is another", async () => {
  const life = await lives();
  await life.publish([{ value: "warm" }], "warm");
  const gate = Promise.withResolvers<void>();
  life.logs.gate = gate.promise;
  const first = life.publish(MESSAGES, "a");
  // The body's digest is made on another thread, in its own time.
  for (let tries = 0; (await life.broker().requestKeys.counts()).running === 0; tries++) {
    assert.ok(tries < MAX_TRIES, "the first attempt has not begun");
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  const second = await life.publish(MESSAGES, "a");
  assert.deepEqual([second.status, second.body.code, second.body.retryable], [
    409,
    "IDEMPOTENCY_KEY_IN_USE",
    true,
  ]);
  assert.equal((await life.publish([{ value: 1 }], "a")).status, 422);
  gate.resolve();
  assert.equal((await first).status, 200);
  assert.equal((await life.publish(MESSAGES, "a")).replayed, "true");
  assert.equal(await life.count(), MESSAGES.length + 1);
  await life.broker().close();
});

Deno.test("request is known after the broker was killed, and until its time is over", async () => {
  const life = await lives();
  const first = await life.publish(MESSAGES, "a");
  await life.kill();
  const again = await life.publish(MESSAGES, "a");
  assert.deepEqual([again.status, again.replayed, again.body], [200, "true", first.body]);
  await life.time.advance(23.9 * HOUR_MS);
  await life.broker().close();
  await life.kill();
  assert.equal((await life.publish(MESSAGES, "a")).replayed, "true");
  assert.equal((await life.publish([{ value: 1 }], "a")).status, 422);
  await life.time.advance(0.2 * HOUR_MS);
  const later = await life.publish([{ value: 1 }], "a");
  assert.deepEqual([later.status, later.replayed], [200, null]);
  assert.equal((await life.publish([{ value: 1 }], "a")).replayed, "true");
  await life.broker().close();
});

// The intent, an append for each partition, the response.
const STEPS = 1 + PARTITIONS + 1;
for (const fault of ["DISK_FULL", "STORAGE_FAILED", "KEPT_BUT_FAILED"] as const) {
  for (const end of ["goes on", "is killed"] as const) {
    Deno.test(`request is stored once when a step of it fails and the broker ${end} (${fault})`, async () => {
      for (let step = 1; step <= STEPS; step++) {
        const life = await lives();
        await life.publish([{ value: "warm" }], "warm");
        const before = await life.count();
        life.logs.failAt(step, fault);
        const failed = await life.publish(MESSAGES, "a");
        assert.ok(failed.status === 503 || failed.status === 207, `${step}: ${failed.status}`);
        if (end === "is killed") await life.kill();
        else await life.time.advance(1_000);
        const answer = await life.publish(MESSAGES, "a");
        assert.equal(answer.status, 200, `step ${step}: ${JSON.stringify(answer.body)}`);
        assert.equal(await life.count(), before + MESSAGES.length, `step ${step}`);
        await life.check(MESSAGES, answer);
        // Nothing was left to do but to answer.
        if (step === STEPS && fault !== "KEPT_BUT_FAILED") assert.equal(answer.replayed, "true");
        const again = await life.publish(MESSAGES, "a");
        assert.deepEqual([again.replayed, again.body], ["true", answer.body]);
        assert.equal(await life.count(), before + MESSAGES.length);
        await life.broker().close();
      }
    });
  }
}

Deno.test("request that broke off is divided as before, though the topic has grown", async () => {
  const life = await lives();
  await life.publish([{ value: "warm" }], "warm");
  const before = await life.count();
  life.logs.failAt(3, "DISK_FULL");
  const partly = await life.publish(MESSAGES, "a");
  assert.equal(partly.status, 207);
  await life.broker().updateTopic("orders", { partitions: 8 });
  await life.kill();
  const whole = await life.publish(MESSAGES, "a");
  assert.equal(whole.status, 200);
  assert.equal(await life.count(), before + MESSAGES.length);
  for (const [index, { partition, offset, error }] of partly.body.results.entries()) {
    if (error !== undefined) continue;
    const { results } = whole.body;
    assert.deepEqual([results[index].partition, results[index].offset], [partition, offset]);
  }
  await life.check(MESSAGES, whole);
  await life.broker().close();
});

Deno.test("request with messages that have keys of their own is stored once, whatever fails", async () => {
  const messages = MESSAGES.map((message) =>
    message.value % 2 === 0 ? message : { ...message, idempotencyKey: `m${message.value}` }
  );
  for (let step = 1; step <= 2 * PARTITIONS + 2; step++) {
    const life = await lives();
    await life.publish([{ value: "warm", idempotencyKey: "warm" }], "warm");
    const before = await life.count();
    life.logs.failAt(step, "KEPT_BUT_FAILED");
    await life.publish(messages, "a");
    life.logs.failAt(0, "KEPT_BUT_FAILED");
    await life.kill();
    const answer = await life.publish(messages, "a");
    assert.equal(answer.status, 200);
    assert.equal(await life.count(), before + messages.length);
    await life.check(messages, answer);
    // Their keys count for other requests as well.
    const other = await life.publish([messages[1]!], "b");
    assert.equal(other.body.results[0].duplicate, true);
    await life.broker().close();
  }
});

Deno.test("request with a key is taken from producers with sequence numbers too", async () => {
  const life = await lives();
  const { producerId, producerEpoch } = await life.broker().producers.allocate();
  const extra = { producerId, producerEpoch, sequence: 0, partition: 1 };
  life.logs.failAt(4, "KEPT_BUT_FAILED");
  await life.publish([{ value: 1 }, { value: 2 }], "a", extra);
  await life.kill();
  const answer = await life.publish([{ value: 1 }, { value: 2 }], "a", extra);
  assert.equal(answer.status, 200);
  assert.equal(await life.count(), 2);
  assert.equal((await life.publish([{ value: 1 }, { value: 2 }], "a", extra)).replayed, "true");
  await life.broker().close();
});

Deno.test("key of a request that is no key is refused, and requests without leave no trace", async () => {
  const api = await apiUnderTest();
  await api.ask("POST", "/api/topics", { body: { name: "orders" } });
  const body = { topic: "orders", messages: [{ value: 1 }] };
  for (const key of ["", "x".repeat(256), "ä", "k1, k2"]) {
    const headers = { "Idempotency-Key": key };
    const { status, body: problem } = await api.ask("POST", "/api/messages:publish", {
      headers,
      body,
    });
    assert.deepEqual([status, problem.errors?.[0].path], [400, "Idempotency-Key"]);
  }
  assert.equal((await api.ask("POST", "/api/messages:publish", { body })).status, 200);
  assert.equal(api.broker.topic(REQUESTS_TOPIC), null);
  // What is refused before anything is stored may be put right under the same key.
  const headers = { "Idempotency-Key": "a" };
  const wrong = { topic: "orders", messages: [{ value: 1, partition: 7 }] };
  const refused = await api.ask("POST", "/api/messages:publish", { headers, body: wrong });
  assert.equal(refused.status, 404);
  assert.equal((await api.ask("POST", "/api/messages:publish", { headers, body })).status, 200);
  await api.close();
});

Deno.test("answer that is younger than its request's name is not told to the next with that name", async () => {
  const life = await lives();
  await life.publish([{ value: "warm" }], "warm");
  const gate = Promise.withResolvers<void>();
  const { appends } = life.logs;
  const intentAt = appends.length;
  // Whatever comes after the intent waits.
  Object.defineProperty(life.logs, "gate", {
    get: () => appends.length > intentAt ? gate.promise : null,
  });
  const first = life.publish([{ value: 1 }], "a");
  await life.time.advance(HOUR_MS);
  gate.resolve();
  assert.equal((await first).status, 200);
  await life.time.advance(23.5 * HOUR_MS);
  const second = await life.publish([{ value: 2 }, { value: 3 }], "a");
  assert.deepEqual([second.status, second.replayed], [200, null]);
  const again = await life.publish([{ value: 2 }, { value: 3 }], "a");
  assert.deepEqual([again.replayed, again.body], ["true", second.body]);
  await life.broker().close();
});

Deno.test("log of requests is as long as they are known, and tells when each came", async () => {
  const life = await lives();
  const requests = REQUESTS_TOPIC;
  for (let day = 0; day < 8; day++) {
    for (let hour = 0; hour < 24; hour += 6) {
      assert.equal((await life.publish([{ value: hour }], `${day}-${hour}`)).status, 200);
      await life.time.advance(6 * HOUR_MS);
    }
  }
  const { partitions } = await life.broker().describeTopic(requests);
  const kept = partitions.reduce((sum, at) => sum + at.logEndOffset - at.logStartOffset, 0);
  assert.ok(kept < 5 * 4 * 2, `${kept} of ${8 * 4 * 2} records are kept`);
  // Without a snapshot everything is read from the log, and what is too old stays forgotten.
  await life.stores.snapshots.remove(`request-keys/${life.broker().topic(requests)!.topicId}`);
  await life.kill();
  assert.equal((await life.publish([{ value: 18 }], "7-18")).replayed, "true");
  assert.equal((await life.publish([{ value: 12 }], "7-12")).replayed, "true");
  const { status, replayed } = await life.publish([{ value: 12 }], "6-12");
  assert.deepEqual([status, replayed], [200, null]);
  await life.broker().close();
});

Deno.test("request is a new one for a topic that was made anew, and finds nothing while the topic is gone", async () => {
  const life = await lives();
  const make = () =>
    life.broker().createTopic({ name: "orders", partitions: PARTITIONS, config: TOPIC_CONFIG });
  assert.equal((await life.publish(MESSAGES, "a")).status, 200);
  for (let round = 0; round < 3; round++) {
    await life.broker().deleteTopic("orders");
    const gone = await life.publish(MESSAGES, "a");
    assert.deepEqual([gone.status, gone.body.code], [404, "UNKNOWN_TOPIC"]);
    await make();
    if (round === 1) await life.kill();
    const anew = await life.publish(MESSAGES, "a");
    assert.deepEqual([anew.status, anew.replayed], [200, null]);
    assert.equal(await life.count(), MESSAGES.length);
    if (round === 2) await life.kill();
    const again = await life.publish(MESSAGES, "a");
    assert.deepEqual([again.replayed, again.body], ["true", anew.body]);
    assert.equal((await life.publish([{ value: 1 }], "a")).status, 422);
    assert.equal(await life.count(), MESSAGES.length);
  }
  await life.broker().close();
});

Deno.test("request for a topic made anew is known for its whole time, however old the first is", async () => {
  const life = await lives();
  assert.equal((await life.publish(MESSAGES, "a")).status, 200);
  await life.time.advance(23 * HOUR_MS);
  await life.broker().deleteTopic("orders");
  await life.broker().createTopic({ name: "orders", partitions: 3, config: TOPIC_CONFIG });
  const anew = await life.publish(MESSAGES, "a");
  await life.time.advance(2 * HOUR_MS);
  const again = await life.publish(MESSAGES, "a");
  assert.deepEqual([again.replayed, again.body], ["true", anew.body]);
  assert.equal(await life.count(), MESSAGES.length);
  await life.broker().close();
});

Deno.test("request that broke off in a topic made anew goes on where it was, divided as it was", async () => {
  const life = await lives();
  await life.publish(MESSAGES, "a");
  await life.broker().deleteTopic("orders");
  await life.broker().createTopic({ name: "orders", partitions: 3, config: TOPIC_CONFIG });
  life.logs.failAt(3, "KEPT_BUT_FAILED");
  assert.equal((await life.publish(MESSAGES, "a")).status, 207);
  await life.broker().updateTopic("orders", { partitions: 8 });
  await life.kill();
  assert.equal((await life.publish(MESSAGES, "a")).status, 200);
  assert.equal(await life.count(), MESSAGES.length);
  await life.broker().close();
});

Deno.test("request whose topic is made anew while it is carried out is not kept as done", async () => {
  const life = await lives();
  const { requestKeys } = life.broker();
  const named = { principal: "p", tenant: "default", key: "a", bodyHash: "h" };
  const topic = { topic: "orders", partitionCount: 3, partitions: [0] };
  const begun = await requestKeys.begin({ ...named, ...topic });
  assert.ok(begun.state === "running");
  await life.broker().deleteTopic("orders");
  const batch = encodeBatch([{ key: null, value: "a", headers: [], timestamp: 1 }], { crc32c });
  const running = { principal: "p", tenant: "default", key: "a", token: begun.token };
  const at = { topic: "orders", partition: 0 };
  await assert.rejects(() => requestKeys.append(running, at, [batch]), { code: "UNKNOWN_TOPIC" });
  await life.broker().createTopic({ name: "orders", partitions: 3, config: TOPIC_CONFIG });
  await assert.rejects(() => requestKeys.append(running, at, [batch]), { code: "UNKNOWN_TOPIC" });
  assert.equal(await life.count(), 0);
  await requestKeys.release(running);
  assert.equal((await requestKeys.lookup(named)).state, "unknown");
  await life.broker().close();
});

for (const start of ["none", "with a snapshot", "without a snapshot"]) {
  Deno.test(`requests of one tenant push out those of another neither before nor after a start (${start})`, async () => {
    const stores = memoryBrokerStores({ settings: { requestKeys: { maxRequests: 50 } } });
    let broker = await stores.open();
    await broker.createTopic({ name: "orders", partitions: 1, config: TOPIC_CONFIG });
    const topic = { topic: "orders", partitionCount: 1, partitions: [] };
    const named = (tenant: string, key: string) => ({ principal: "p", tenant, key, bodyHash: "h" });
    const carryOut = async (tenant: string, key: string) => {
      const { requestKeys } = broker;
      const begun = await requestKeys.begin({ ...named(tenant, key), ...topic });
      assert.ok(begun.state === "running");
      await requestKeys.complete({ ...named(tenant, key), token: begun.token }, key);
    };
    for (const tenant of ["good", "default"]) await carryOut(tenant, "first");
    for (let number = 0; number < 30; number++) await carryOut("evil", `before ${number}`);
    if (start !== "none") {
      await broker.close();
      if (start === "without a snapshot") {
        await stores.snapshots.remove(`request-keys/${broker.topic(REQUESTS_TOPIC)!.topicId}`);
      }
      broker = await stores.open();
    }
    for (let number = 0; number < 100; number++) await carryOut("evil", `after ${number}`);
    for (const tenant of ["good", "default"]) {
      const known = await broker.requestKeys.lookup(named(tenant, "first"));
      assert.deepEqual(known, { state: "completed", response: "first" });
    }
    assert.equal((await broker.requestKeys.lookup(named("evil", "after 99"))).state, "completed");
    assert.equal((await broker.requestKeys.lookup(named("evil", "after 0"))).state, "unknown");
    assert.equal((await broker.requestKeys.counts()).keys, 50);
    await broker.close();
  });
}
