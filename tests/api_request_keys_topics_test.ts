// Owns the tests of the header Idempotency-Key where topics come and go, and of how long and where requests are known.
// Refuses to own all else of request keys (api_request_keys_test.ts).
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { REQUESTS_TOPIC } from "../actors/request_keys/local_request_keys.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { TOPIC_CONFIG } from "./support/memory_broker.ts";
import { HOUR_MS, lives, MESSAGES, PARTITIONS } from "./support/request_lives.ts";

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
