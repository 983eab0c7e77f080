// Owns tests of quotas at the edge: setting them, and what becomes of requests beyond them.
// Refuses to own consumers (quota_consume_test.ts) and the bucket (quota_token_bucket_test.ts).
// Invariant: time is virtual; a refusal that is told late is waited for by moving it.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { quotaExceeded } from "../api/quota/refusal.ts";
import { BATCH_TYPE } from "../api/media.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import {
  type Answer,
  type ApiUnderTest,
  apiUnderTest,
  type AskOptions,
} from "./support/api_app.ts";
import { settle, VirtualClock } from "./support/virtual_time.ts";

const ADMIN_TOKEN = "the-administrator";
const ADMIN = { authorization: `Bearer ${ADMIN_TOKEN}` };

interface Door extends ApiUnderTest {
  admin(method: string, path: string, body?: unknown): Promise<Answer>;
  /** Headers of a principal of `tenant` who may do all with topics and groups. */
  member(tenant: string): Promise<Record<string, string>>;
}

async function door(options: { late?: boolean } = {}): Promise<Door> {
  const time = new VirtualClock();
  const api = await apiUnderTest({
    time,
    app: {
      security: { adminToken: ADMIN_TOKEN, allowedOrigins: [] },
      ...(options.late ? { timers: time } : {}),
    },
  });
  const admin = (method: string, path: string, body?: unknown) =>
    api.ask(method, path, { headers: ADMIN, body });
  const member = async (tenant: string) => {
    const { body } = await admin("POST", "/api/keys", { principal: `of-${tenant}`, tenant });
    return { authorization: `Bearer ${body.key}` };
  };
  for (const resource of ["topic", "group"]) {
    const acl = { principal: "*", resource, pattern: "*", patternType: "literal" };
    const { status } = await admin("POST", "/api/acls", {
      ...acl,
      operation: "all",
      effect: "allow",
    });
    assert.equal(status, 201);
  }
  await admin("POST", "/api/topics", { name: "orders", partitions: 1 });
  return { ...api, admin, member };
}

function publishing(count: number, headers: Record<string, string>): AskOptions {
  const messages = Array.from({ length: count }, (_, n) => ({ value: `m${n}` }));
  return { headers, body: { topic: "orders", messages } };
}

const publish = (api: Door, count: number, headers: Record<string, string>) =>
  api.ask("POST", "/api/messages:publish", publishing(count, headers));

Deno.test("a quota is set as a whole, shown with where it comes from, listed and deleted", async () => {
  const api = await door();
  const none = await api.admin("GET", "/api/quotas/team-a");
  assert.deepEqual([none.status, none.body.source], [200, "none"]);
  const put = await api.admin("PUT", "/api/quotas/team-a", {
    requestsPerSecond: 5,
    connections: 2,
  });
  assert.equal(put.status, 200);
  assert.deepEqual(
    [put.body.tenant, put.body.requestsPerSecond, put.body.connections, put.body.updatedBy],
    ["team-a", 5, 2, "admin"],
  );
  const again = await api.admin("PUT", "/api/quotas/team-a", { topics: 3 });
  assert.deepEqual([again.body.requestsPerSecond, again.body.topics], [null, 3]);
  await api.admin("PUT", "/api/quotas/*", { connections: 9 });
  const other = await api.admin("GET", "/api/quotas/team-b");
  assert.deepEqual([other.body.source, other.body.connections], ["default", 9]);
  const own = await api.admin("GET", "/api/quotas/team-a");
  assert.deepEqual([own.body.source, own.body.connections], ["tenant", null]);
  const list = await api.admin("GET", "/api/quotas?limit=1");
  assert.deepEqual(list.body.quotas.map(({ tenant }: { tenant: string }) => tenant), ["*"]);
  assert.ok(list.body.nextCursor);
  assert.equal((await api.admin("DELETE", "/api/quotas/team-a")).status, 204);
  assert.equal((await api.admin("DELETE", "/api/quotas/team-a")).status, 404);
  assert.equal(
    (await api.admin("PUT", "/api/quotas/team-a", { requestsPerSecond: -1 })).status,
    400,
  );
  assert.equal((await api.admin("PUT", "/api/quotas/team-a", { requests: 1 })).status, 400);
  await api.close();
});

Deno.test("quotas are the administrator's: others are refused", async () => {
  const api = await door();
  const headers = await api.member("team-a");
  for (const [method, path] of [["GET", ""], ["GET", "/team-b"], ["DELETE", "/team-a"]] as const) {
    const { status } = await api.ask(method, `/api/quotas${path}`, { headers });
    assert.equal(status, 403, `${method} ${path}`);
  }
  const put = await api.ask("PUT", "/api/quotas/team-a", { headers, body: {} });
  assert.equal(put.status, 403);
  await api.close();
});

Deno.test("requests beyond a tenant's quota get 429 with what was asked too much, and others go on", async () => {
  const api = await door();
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
  const api = await door();
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
  const api = await door();
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
  const api = await door();
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
  const api = await door();
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
  const api = await door();
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
  const api = await door();
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
  const api = await door();
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

Deno.test("an administrator reaches quotas and keys however small the quota of its tenant is", async () => {
  const api = await door();
  await api.admin("PUT", "/api/quotas/default", { requestsPerSecond: 0, inFlightBytes: 0 });
  assert.equal((await api.admin("GET", "/api/topics")).status, 429);
  assert.equal((await api.admin("GET", "/api/keys")).status, 200);
  assert.equal((await api.admin("PUT", "/api/quotas/default", {})).status, 200);
  assert.equal((await api.admin("GET", "/api/topics")).status, 200);
  await api.close();
});

Deno.test("refusals that wait long are told late, by half a second to one and a half, not all at once, and say what is left", async () => {
  const api = await door({ late: true });
  const headers = await api.member("team-a");
  await api.admin("PUT", "/api/quotas/team-a", { publishMessagesPerSecond: 10 });
  assert.equal((await publish(api, 35, headers)).status, 200);
  const toldAt: number[] = [];
  const startedAt = api.time.monotonic();
  const refused = Array.from({ length: 20 }, async () => {
    const answer = await publish(api, 1, headers);
    const lateMs = api.time.monotonic() - startedAt;
    toldAt.push(lateMs);
    const { retryAfterMs } = answer.body;
    assert.equal(answer.status, 429);
    assert.ok(retryAfterMs >= 2_600 - lateMs, `${retryAfterMs} ms`);
    assert.equal(answer.headers.get("retry-after"), String(Math.ceil(retryAfterMs / 1_000)));
  });
  await settle();
  await api.time.advance(499);
  await settle();
  assert.equal(toldAt.length, 0);
  const { usage } = (await api.admin("GET", "/api/quotas/team-a")).body;
  assert.deepEqual([usage.inFlightBytes, usage.refused], [0, 20]);
  for (let ms = 499; ms < 1_500; ms++) {
    await api.time.advance(1);
    await settle();
  }
  await Promise.all(refused);
  assert.equal(new Set(toldAt).size, 20);
  assert.ok(Math.max(...toldAt) - Math.min(...toldAt) > 800);
  await api.close();
});

Deno.test("refusals are told one after the other, each when there is room for what was refused", async () => {
  const api = await door({ late: true });
  const headers = await api.member("team-a");
  await api.admin("PUT", "/api/quotas/team-a", { publishMessagesPerSecond: 10 });
  // What remains is not enough for any of those that follow.
  assert.equal((await publish(api, 9, headers)).status, 200);
  const startedAt = api.time.monotonic();
  const toldAt: number[] = [];
  const asking = Array.from({ length: 4 }, async () => {
    const refused = await publish(api, 2, headers);
    toldAt.push(api.time.monotonic() - startedAt);
    assert.deepEqual([refused.status, refused.body.retryAfterMs], [429, 0]);
    assert.equal((await publish(api, 2, headers)).status, 200);
  });
  for (let ms = 0; ms < 900; ms++) {
    await settle();
    await api.time.advance(1);
  }
  await Promise.all(asking);
  assert.deepEqual(toldAt, [100, 300, 500, 700]);
  await api.close();
});

Deno.test("a caller that goes away while its refusal is held is held no longer", async () => {
  const api = await door({ late: true });
  const headers = await api.member("team-a");
  await api.admin("PUT", "/api/quotas/team-a", { requestsPerSecond: 1 });
  await api.ask("GET", "/api/topics", { headers });
  const gone = new AbortController();
  const request = new Request("http://127.0.0.1:8080/api/topics", { headers, signal: gone.signal });
  const timers = api.time.pendingTimers;
  const answer = Promise.resolve(api.app.fetch(request));
  await settle();
  assert.equal(api.time.pendingTimers, timers + 1);
  gone.abort();
  assert.equal((await answer).status, 429);
  assert.equal(api.time.pendingTimers, timers);
  await api.close();
});

Deno.test("a publish with an Idempotency-Key that was refused for want of quota is carried out when it comes again", async () => {
  const api = await door();
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
  const api = await door();
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

Deno.test("whoever belongs to a tenant sees its quota and usage, in figures to read, and no other's", async () => {
  const api = await door();
  await api.admin("PUT", "/api/quotas/team-a", { connections: 1 });
  const headers = await api.member("team-a");
  for (let count = 0; count < 3; count++) await publish(api, 7, headers);
  const own = await api.ask("GET", "/api/quotas/team-a", { headers });
  assert.deepEqual([own.status, own.body.connections], [200, 1]);
  for (const [name, value] of Object.entries(own.body.usage as Record<string, number>)) {
    assert.equal(value, Math.round(value * 10) / 10, name);
  }
  assert.equal((await api.ask("GET", "/api/quotas/team-b", { headers })).status, 403);
  assert.equal((await api.ask("GET", "/api/quotas/*", { headers })).status, 403);
  assert.equal((await api.ask("GET", "/api/quotas", { headers })).status, 403);
  const { message } = quotaExceeded({
    quota: "connections",
    owner: { tenant: "team-a" },
    limit: 1,
    retryAfterMs: 1,
  });
  assert.equal(message, "tenant team-a has a quota of 1 consumer at once");
  await api.close();
});

Deno.test("a body that is nested too deep is told with the beginning of the path", async () => {
  const api = await door();
  const deep = `${"[".repeat(100)}${"]".repeat(100)}`;
  const { status, body } = await api.ask("POST", "/api/topics", {
    headers: { ...ADMIN, "content-type": "application/json" },
    raw: deep,
  });
  assert.equal(status, 400);
  assert.ok(body.detail.length < 200, body.detail);
  await api.close();
});
