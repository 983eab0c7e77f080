// Owns tests of consuming within quotas: streams, polls and reads are held back and not cut; connections are counted.
// Refuses to own publishing (quota_api_test.ts). Invariant: time is virtual; what is held back comes when it moves.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { LOCAL_ADMINISTRATOR } from "../api/auth/access.ts";
import { yieldToEventLoop } from "../api/event_loop.ts";
import { QuotaGate } from "../api/quota/gate.ts";
import { type NewQuota, NO_LIMITS } from "../actors/quota/types.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { consumingApi } from "./support/consuming_api.ts";
import { TOPIC_CONFIG } from "./support/memory_broker.ts";
import { type FakeClient, StreamWorld } from "./support/stream_fakes.ts";

const TENANT = LOCAL_ADMINISTRATOR.tenant;
const quotaOf = (limits: Partial<NewQuota["limits"]>): NewQuota => ({
  tenant: TENANT,
  limits: { ...NO_LIMITS, ...limits },
  updatedBy: "admin",
});

const MESSAGE_BYTES = 1_000;

async function streams() {
  const world = await StreamWorld.open();
  const { broker, time } = world;
  const gate = new QuotaGate({ broker, clock: time, timers: time });
  const consumer = (group: string): Promise<FakeClient> =>
    world.consumer({ group, quota: gate.connect(LOCAL_ADMINISTRATOR) });
  const bytesOf = (client: FakeClient) =>
    client.socket.sent.filter((data) => typeof data === "string" && data.includes('"messages"'))
      .reduce((sum, data) => sum + data.length, 0);
  return { world, gate, consumer, bytesOf };
}

Deno.test("a stream over its tenant's quota is slowed to it, gets every message in order, and is not closed", async () => {
  const { world, gate, consumer, bytesOf } = await streams();
  await world.broker.quotas.put(quotaOf({ consumeBytesPerSecond: 20_000 }));
  await world.publish(60, { bytes: MESSAGE_BYTES });
  const client = await consumer("billing");
  await world.calm();
  const atOnce = bytesOf(client);
  assert.ok(atOnce >= 18_000 && atOnce <= 22_000, `${atOnce} bytes in the burst`);
  const startedAt = world.time.monotonic();
  await world.until(() => client.messages().length === 60, "all messages");
  const tookMs = world.time.monotonic() - startedAt;
  assert.ok(tookMs >= 2_000 && tookMs <= 3_500, `${bytesOf(client)} bytes took ${tookMs} ms`);
  assert.deepEqual(client.offsets(), Array.from({ length: 60 }, (_, offset) => offset));
  assert.equal(client.closeCode, null);
  assert.ok(gate.usage(TENANT).consumeBytesPerSecond > 5_000);
  await world.close();
});

Deno.test("consumers of a tenant share its quota, and those of others are not slowed by it", async () => {
  const { world, gate, consumer, bytesOf } = await streams();
  await world.broker.quotas.put(quotaOf({ consumeBytesPerSecond: 10_000 }));
  await world.publish(60, { bytes: MESSAGE_BYTES });
  const [one, two] = [await consumer("one"), await consumer("two")];
  const quota = gate.connect({ tenant: "other" });
  const other = await world.consumer({ group: "other", quota });
  await world.calm();
  assert.equal(other.messages().length, 60);
  for (let turn = 0; turn < 100; turn++) await world.time.advance(20);
  const both = bytesOf(one) + bytesOf(two);
  assert.ok(both >= 25_000 && both <= 35_000, `${both} bytes in a burst and two seconds`);
  await world.close();
});

Deno.test("a quota that is raised or deleted is felt within a second", async () => {
  const { world, consumer } = await streams();
  await world.broker.quotas.put(quotaOf({ consumeBytesPerSecond: 100 }));
  await world.publish(50, { bytes: MESSAGE_BYTES });
  const client = await consumer("billing");
  await world.calm();
  assert.ok(client.messages().length < 5);
  await world.broker.quotas.delete(TENANT);
  await world.time.advance(1_000);
  await world.calm();
  assert.equal(client.messages().length, 50);
  await world.close();
});

Deno.test("a topic's quota slows who consumes it", async () => {
  const { world, consumer, bytesOf } = await streams();
  await world.broker.updateTopic("orders", { config: { consumeBytesPerSecond: 20_000 } });
  await world.publish(60, { bytes: MESSAGE_BYTES });
  const client = await consumer("billing");
  await world.calm();
  assert.ok(bytesOf(client) <= 22_000);
  await world.until(() => client.messages().length === 60, "all messages");
  await world.close();
});

Deno.test("a redelivery waits for room as well, and comes", async () => {
  const { world, consumer } = await streams();
  await world.publish(1, { bytes: MESSAGE_BYTES });
  const client = await consumer("billing");
  await world.calm();
  assert.equal(client.messages().length, 1);
  await world.broker.quotas.put(quotaOf({ consumeBytesPerSecond: 1_000 }));
  const at = { topic: "orders", partition: 0, offset: 0 };
  client.send({ type: "nack", ...at, delayMs: 0 });
  await world.until(() => client.messages().length === 2, "the redelivery");
  client.send({ type: "nack", ...at, delayMs: 0 });
  await world.calm();
  assert.equal(client.messages().length, 2);
  await world.until(() => client.messages().length === 3, "the next redelivery");
  assert.equal(client.closeCode, null);
  await world.close();
});

Deno.test("a stream that is gone is no consumer any more", async () => {
  const { world, gate, consumer } = await streams();
  await world.broker.quotas.put(quotaOf({ connections: 2 }));
  const [one] = [await consumer("one"), await consumer("two")];
  assert.throws(() => gate.connect(LOCAL_ADMINISTRATOR), {
    code: "QUOTA_EXCEEDED",
    details: { quota: "connections", tenant: TENANT, limit: 2, retryAfterMs: 1_000 },
  });
  await one.gone();
  await one.gone();
  assert.equal(gate.usage(TENANT).connections, 1);
  gate.connect(LOCAL_ADMINISTRATOR).end();
  assert.equal(gate.usage(TENANT).connections, 1);
  await world.close();
});

/** The API with members that poll, in virtual time. */
async function polling() {
  const { api, time, ask, close } = await consumingApi({ app: { yieldToEventLoop } });
  const records = Array.from({ length: 60 }, () => ({
    key: null,
    value: "x".repeat(MESSAGE_BYTES),
    headers: [],
    timestamp: time.now(),
  }));
  const batches = records.map((record) => encodeBatch([record], { crc32c }));
  await api.broker.append({ topic: "orders", partition: 0 }, batches, { acks: "all" });
  return { api, time, ask, close };
}

const MEMBERS = "/api/groups/billing/members";

Deno.test("polls are held back to the quota, never refused, and come to every message", async () => {
  const { api, time, ask, close } = await polling();
  await api.broker.quotas.put(quotaOf({ consumeBytesPerSecond: 20_000 }));
  const { memberId } = (await ask("POST", MEMBERS, { body: { topics: ["orders"] } })).body;
  const startedAt = time.monotonic();
  const offsets: number[] = [];
  for (let polls = 0; offsets.length < 60; polls++) {
    assert.ok(polls < 200);
    const body = { maxMessages: 1_000, waitMs: 0 };
    const answer = await ask("POST", `${MEMBERS}/${memberId}:poll`, { body });
    assert.equal(answer.status, 200);
    for (const { offset } of answer.body.messages) offsets.push(offset);
  }
  assert.deepEqual(offsets, Array.from({ length: 60 }, (_, offset) => offset));
  const tookMs = time.monotonic() - startedAt;
  assert.ok(tookMs >= 1_900 && tookMs <= 6_000, `66,000 bytes took ${tookMs} ms`);
  await close();
});

Deno.test("members count as connections until they leave", async () => {
  const { api, ask, close } = await polling();
  await api.broker.quotas.put(quotaOf({ connections: 1 }));
  const body = { topics: ["orders"] };
  const { memberId } = (await ask("POST", MEMBERS, { body })).body;
  const second = await ask("POST", MEMBERS, { body });
  assert.deepEqual([second.status, second.body.quota], [429, "connections"]);
  assert.equal((await ask("DELETE", `${MEMBERS}/${memberId}`)).status, 204);
  const unknown = await ask("POST", MEMBERS, { body: { topics: ["nothing"] } });
  assert.equal(unknown.status, 404);
  assert.equal((await ask("POST", MEMBERS, { body })).status, 200);
  const { usage } = (await ask("GET", `/api/quotas/${TENANT}`)).body;
  assert.equal(usage.connections, 1);
  await close();
});

Deno.test("reads are held back, and refused where that would take too long", async () => {
  const { api, time, ask, close } = await polling();
  await api.broker.quotas.put(quotaOf({ consumeBytesPerSecond: 10_000 }));
  const path = "/api/topics/orders/partitions/0/messages";
  const first = await ask("GET", `${path}?offset=0&maxMessages=1000`);
  assert.equal(first.status, 200);
  assert.ok(first.body.messages.length <= 10, `${first.body.messages.length} messages`);
  const startedAt = time.monotonic();
  const second = await ask("GET", `${path}?offset=${first.body.nextOffset}`);
  assert.equal(second.status, 200);
  assert.ok(second.body.messages.length > 0);
  const lines = await ask("GET", `${path}?maxMessages=60`, {
    headers: { accept: "application/x-ndjson" },
  });
  const text = new TextDecoder().decode(lines.body);
  assert.equal(text.trimEnd().split("\n").length, 60);
  assert.ok(time.monotonic() - startedAt >= 5_000);
  await api.broker.quotas.put(quotaOf({ consumeBytesPerSecond: 1 }));
  await ask("GET", path);
  const refused = await ask("GET", path);
  assert.deepEqual([refused.status, refused.body.quota], [429, "consumeBytesPerSecond"]);
  assert.match(refused.headers.get("ratelimit")!, /"consumeBytesPerSecond";r=0;t=\d+/);
  await close();
});

Deno.test("dead letters count as what is consumed: pages end with the room, are held back, and refused where that would take too long", async () => {
  const { api, time, ask, close } = await polling();
  await api.broker.createTopic({ name: "dlq.orders", partitions: 1, config: TOPIC_CONFIG });
  const headers = Object.entries({ topic: "orders", partition: "0", offset: "0", group: "g" })
    .map(([name, value]) => [`waybill-origin-${name}`, value] as [string, string]);
  headers.push(["waybill-attempts", "1"]);
  const value = "x".repeat(MESSAGE_BYTES);
  const letters = Array.from({ length: 60 }, () => ({ key: null, value, headers, timestamp: 1 }));
  const at = { topic: "dlq.orders", partition: 0 };
  await api.broker.append(at, [encodeBatch(letters, { crc32c })], { acks: "all" });
  await api.broker.quotas.put(quotaOf({ consumeBytesPerSecond: 20_000 }));
  const startedAt = time.monotonic();
  const offsets: number[] = [];
  let cursor = "";
  for (let pages = 0; offsets.length < 60; pages++) {
    assert.ok(pages < 200);
    const page = await ask("GET", `/api/dlq?limit=100${cursor}`);
    assert.equal(page.status, 200);
    assert.ok(page.body.deadLetters.length <= 21, `${page.body.deadLetters.length} at once`);
    for (const { offset } of page.body.deadLetters) offsets.push(offset);
    cursor = `&cursor=${page.body.nextCursor}`;
  }
  assert.deepEqual(offsets, Array.from({ length: 60 }, (_, offset) => offset));
  const tookMs = time.monotonic() - startedAt;
  assert.ok(tookMs >= 1_900 && tookMs <= 8_000, `66,000 bytes took ${tookMs} ms`);
  await api.broker.quotas.put(quotaOf({ consumeBytesPerSecond: 1 }));
  await ask("GET", "/api/dlq");
  const refused = await ask("GET", "/api/dlq");
  assert.deepEqual([refused.status, refused.body.quota], [429, "consumeBytesPerSecond"]);
  await close();
});
