// Owns the tests of the header Idempotency-Key: repeats, rivals, other bodies, and going on where an attempt broke off.
// Refuses to own topics that are made anew (api_request_keys_topics_test.ts), keys of single messages
// (api_message_keys_test.ts) and the real process (e2e_idempotency_test.ts).
import assert from "node:assert/strict";
import { REQUESTS_TOPIC } from "../actors/request_keys/local_request_keys.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";
import { apiUnderTest, FORMATS } from "./support/api_app.ts";
import { HOUR_MS, lives, MESSAGES, PARTITIONS } from "./support/request_lives.ts";

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
