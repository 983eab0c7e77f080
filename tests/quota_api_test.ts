// Owns tests of what becomes of requests beyond a tenant's quota.
// Refuses to own setting quotas (quota_settings_api_test.ts), when a refusal is told (quota_refusals_test.ts), consumers
// (quota_consume_test.ts) and the bucket (quota_token_bucket_test.ts).
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { BATCH_TYPE } from "../api/media.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { ADMIN, publish, quotaDoor } from "./support/quota_door.ts";
import { settle } from "./support/virtual_time.ts";

Deno.test("requests beyond a tenant's quota get 429 with what was asked too much, and others go on", async () => {
  const api = await quotaDoor();
  const [a, b] = [await api.member("team-a"), await api.member("team-b")];
  await api.admin("PUT", "/api/quotas/team-a", { requestsPerSecond: 3 });
  for (let n = 0; n < 3; n++) {
    const { status, headers } = await api.ask("GET", "/api/topics", { headers: a });
    assert.equal(status, 200);
    assert.equal(headers.get("ratelimit-policy"), '"requestsPerSecond";q=3;w=1');
    assert.equal(headers.get("ratelimit"), `"requestsPerSecond";r=${2 - n};t=1`);
  }
  const refused = await api.ask("GET", "/api/topics", { headers: a });
  assert.equal(refused.status, 429);
  const { code, quota, tenant, limit, retryAfterMs } = refused.body;
  assert.deepEqual(
    { code, quota, tenant, limit, retryAfterMs },
    {
      code: "QUOTA_EXCEEDED",
      quota: "requestsPerSecond",
      tenant: "team-a",
      limit: 3,
      retryAfterMs: 334,
    },
  );
  assert.equal(refused.headers.get("retry-after"), "1");
  assert.match(refused.headers.get("ratelimit")!, /^"requestsPerSecond";r=0;t=1$/);
  const other = await api.ask("GET", "/api/topics", { headers: b });
  assert.deepEqual([other.status, other.headers.get("ratelimit-policy")], [200, null]);
  await api.time.advance(334);
  assert.equal((await api.ask("GET", "/api/topics", { headers: a })).status, 200);
  await api.close();
});

Deno.test("messages beyond the quota are refused whole: nothing is stored, their bytes do not count", async () => {
  const api = await quotaDoor();
  const headers = await api.member("team-a");
  await api.admin("PUT", "/api/quotas/team-a", {
    publishMessagesPerSecond: 10,
    publishBytesPerSecond: 100_000,
  });
  assert.equal((await publish(api, 8, headers)).status, 200);
  const before = await api.admin("GET", "/api/quotas/team-a");
  const refused = await publish(api, 3, headers);
  assert.deepEqual([refused.status, refused.body.quota], [429, "publishMessagesPerSecond"]);
  assert.match(refused.headers.get("ratelimit")!, /"publishMessagesPerSecond";r=2;/);
  assert.deepEqual(await api.stored(), { "orders/0": 8 });
  const { usage } = (await api.admin("GET", "/api/quotas/team-a")).body;
  assert.equal(usage.publishBytesPerSecond, before.body.usage.publishBytesPerSecond);
  assert.deepEqual([usage.refused, usage.inFlightBytes], [1, 0]);
  assert.equal((await publish(api, 2, headers)).status, 200);
  await api.close();
});

Deno.test("one publish larger than the burst passes when nothing is owed, and is paid for", async () => {
  const api = await quotaDoor();
  const headers = await api.member("team-a");
  await api.admin("PUT", "/api/quotas/team-a", { publishMessagesPerSecond: 10 });
  assert.equal((await publish(api, 25, headers)).status, 200);
  // How many a publish has is not known before it is read: what is usual counts.
  const { retryAfterMs } = (await publish(api, 1, headers)).body;
  assert.ok(retryAfterMs >= 1_600 && retryAfterMs < 2_000, `${retryAfterMs} ms`);
  await api.time.advance(1_600);
  assert.equal((await publish(api, 1, headers)).status, 200);
  await api.close();
});

Deno.test("bytes of publishes are refused by their declared length, before a body is read", async () => {
  const api = await quotaDoor();
  const headers = await api.member("team-a");
  await api.admin("PUT", "/api/quotas/team-a", { publishBytesPerSecond: 1_000 });
  const body = JSON.stringify({ topic: "orders", messages: [{ value: "x".repeat(900) }] });
  const ask = (raw: BodyInit) =>
    api.ask("POST", "/api/messages:publish", {
      headers: {
        ...headers,
        "content-type": "application/json",
        "content-length": String(body.length),
      },
      raw,
    });
  assert.equal((await ask(body)).status, 200);
  let isRead = false;
  const unread = new ReadableStream({
    pull: () => {
      isRead = true;
    },
  }, { highWaterMark: 0 });
  const refused = await ask(unread);
  assert.deepEqual([refused.status, refused.body.quota], [429, "publishBytesPerSecond"]);
  assert.equal(isRead, false);
  await api.time.advance(1_000);
  assert.equal((await ask(body)).status, 200);
  await api.close();
});

Deno.test("bodies that do not say their length are owed for", async () => {
  const api = await quotaDoor();
  const headers = await api.member("team-a");
  await api.admin("PUT", "/api/quotas/team-a", { publishBytesPerSecond: 500 });
  assert.equal((await publish(api, 100, headers)).status, 200);
  const refused = await publish(api, 1, headers);
  assert.deepEqual([refused.status, refused.body.quota], [429, "publishBytesPerSecond"]);
  assert.ok(refused.body.retryAfterMs > 2_000);
  const { usage } = (await api.admin("GET", "/api/quotas/team-a")).body;
  assert.ok(usage.publishBytesPerSecond > 100);
  await api.close();
});

Deno.test("bodies in memory are bounded by tenant, but one alone passes", async () => {
  const api = await quotaDoor();
  const headers = await api.member("team-a");
  await api.admin("PUT", "/api/quotas/team-a", { inFlightBytes: 100 });
  const pending = Promise.withResolvers<void>();
  const text = JSON.stringify({ topic: "orders", messages: [{ value: "x".repeat(200) }] });
  const slow = new ReadableStream({
    async pull(controller) {
      await pending.promise;
      controller.enqueue(new TextEncoder().encode(text));
      controller.close();
    },
  });
  const sized = {
    ...headers,
    "content-type": "application/json",
    "content-length": String(text.length),
  };
  const first = api.ask("POST", "/api/messages:publish", { headers: sized, raw: slow });
  await settle();
  const { usage } = (await api.admin("GET", "/api/quotas/team-a")).body;
  assert.equal(usage.inFlightBytes, text.length);
  const second = await api.ask("POST", "/api/messages:publish", { headers: sized, raw: text });
  assert.deepEqual([second.status, second.body.quota], [429, "inFlightBytes"]);
  pending.resolve();
  assert.equal((await first).status, 200);
  const third = await api.ask("POST", "/api/messages:publish", { headers: sized, raw: text });
  assert.equal(third.status, 200);
  assert.equal((await api.admin("GET", "/api/quotas/team-a")).body.usage.inFlightBytes, 0);
  await api.close();
});

Deno.test("a topic's own quota holds for all who publish to it, administrators too, and can be changed", async () => {
  const api = await quotaDoor();
  const headers = await api.member("team-a");
  const made = await api.admin("POST", "/api/topics", {
    name: "core",
    publishMessagesPerSecond: 5,
  });
  assert.equal(made.body.publishMessagesPerSecond, 5);
  const to = (topic: string, count: number, who: Record<string, string>) => {
    const messages = Array.from({ length: count }, () => ({ value: "m" }));
    return api.ask("POST", "/api/messages:publish", { headers: who, body: { topic, messages } });
  };
  assert.equal((await to("core", 5, headers)).status, 200);
  const refused = await to("core", 1, ADMIN);
  const { quota, topic, limit } = refused.body;
  assert.deepEqual([refused.status, quota, topic, limit], [
    429,
    "publishMessagesPerSecond",
    "core",
    5,
  ]);
  assert.match(refused.headers.get("ratelimit")!, /"publishMessagesPerSecond";r=0;t=1/);
  assert.equal((await to("orders", 50, headers)).status, 200);
  const changed = await api.admin("PATCH", "/api/topics/core", { publishMessagesPerSecond: null });
  assert.equal(changed.body.publishMessagesPerSecond, null);
  assert.equal((await to("core", 50, headers)).status, 200);
  await api.admin("PATCH", "/api/topics/core", { publishBytesPerSecond: 100 });
  assert.equal((await to("core", 50, headers)).status, 200);
  assert.equal((await to("core", 1, headers)).body.quota, "publishBytesPerSecond");
  await api.close();
});

Deno.test("a tenant makes no more topics than its quota, also at once, and those of others do not count", async () => {
  const api = await quotaDoor();
  const headers = await api.member("team-a");
  await api.admin("PUT", "/api/quotas/team-a", { topics: 2 });
  const make = (name: string) => api.ask("POST", "/api/topics", { headers, body: { name } });
  const made = await Promise.all([make("a1"), make("a2"), make("a3"), make("a4")]);
  assert.deepEqual(made.map(({ status }) => status).sort(), [201, 201, 409, 409]);
  const refused = made.find(({ status }) => status === 409)!;
  const { code, retryable, quota, tenant, limit, retryAfterMs } = refused.body;
  assert.deepEqual(
    { code, retryable, quota, tenant, limit, retryAfterMs },
    {
      code: "LIMIT_REACHED",
      retryable: false,
      quota: "topics",
      tenant: "team-a",
      limit: 2,
      retryAfterMs: undefined,
    },
  );
  assert.equal(refused.headers.get("retry-after"), null);
  const name = made.find(({ status }) => status === 201)!.body.name;
  assert.equal((await api.ask("DELETE", `/api/topics/${name}`, { headers })).status, 204);
  assert.equal((await make("a5")).status, 201);
  assert.equal((await api.admin("GET", "/api/quotas/team-a")).body.usage.topics, 2);
  await api.close();
});

Deno.test("a publish with an Idempotency-Key that was refused for want of quota is carried out when it comes again", async () => {
  const api = await quotaDoor();
  const who = await api.member("team-a");
  const headers = { ...who, "idempotency-key": "order-1" };
  await api.admin("PUT", "/api/quotas/team-a", { publishMessagesPerSecond: 10 });
  assert.equal((await publish(api, 9, who)).status, 200);
  assert.equal((await publish(api, 2, headers)).status, 429);
  await api.time.advance(1_000);
  const done = await publish(api, 2, headers);
  assert.deepEqual([done.status, done.headers.get("idempotency-replayed")], [200, null]);
  await api.time.advance(1_000);
  assert.equal((await publish(api, 9, who)).status, 200);
  const repeated = await publish(api, 2, headers);
  assert.deepEqual([repeated.status, repeated.headers.get("idempotency-replayed")], [200, "true"]);
  assert.deepEqual(await api.stored(), { "orders/0": 20 });
  await api.close();
});

Deno.test("records in ready batches count as messages, those of a topic's quota by their bytes as well", async () => {
  const api = await quotaDoor();
  const headers = await api.member("team-a");
  await api.admin("PUT", "/api/quotas/team-a", { publishMessagesPerSecond: 10 });
  const record = { key: null, value: "m", headers: [], timestamp: api.time.now() };
  const batch = encodeBatch(Array.from({ length: 6 }, () => record), { crc32c });
  const ask = () =>
    api.ask("POST", "/api/topics/orders/partitions/0/messages", {
      headers: { ...headers, "content-type": BATCH_TYPE },
      raw: batch as Uint8Array<ArrayBuffer>,
    });
  assert.equal((await ask()).status, 200);
  const refused = await ask();
  assert.deepEqual([refused.status, refused.body.quota], [429, "publishMessagesPerSecond"]);
  assert.deepEqual(await api.stored(), { "orders/0": 6 });
  await api.admin("DELETE", "/api/quotas/team-a");
  await api.admin("PATCH", "/api/topics/orders", { publishBytesPerSecond: batch.length });
  assert.equal((await ask()).status, 200);
  const { body } = await ask();
  assert.deepEqual([body.quota, body.topic], ["publishBytesPerSecond", "orders"]);
  await api.close();
});
