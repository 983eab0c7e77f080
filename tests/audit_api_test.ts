// Owns what is audited at the HTTP edge: every change, before and after it is made, and every refusal.
import assert from "node:assert/strict";
import { canonicalJson, hashOf } from "../actors/audit/chain.ts";
import type { AuditEntry } from "../actors/audit/types.ts";
import { ACCESS_TABLE } from "../api/auth/access_table.ts";
import { SignJWT } from "jose";
import { JwtVerifier } from "../api/auth/jwt.ts";
import { type ApiOptions, type ApiUnderTest, apiUnderTest } from "./support/api_app.ts";
import { MemoryLogStore } from "../storage/memory/memory_log.ts";
import { FaultyLogStore } from "./support/faulty_logs.ts";
import { settle, VirtualClock } from "./support/virtual_time.ts";

/** Routes that are no GET and change nothing an audit asks for. */
const DATA_PLANE = [
  "POST /api/messages:publish",
  "POST /api/topics/{topic}/partitions/{partition}/messages",
  "POST /api/producers",
  "POST /api/transactions",
  "POST /api/transactions/{transactionId}:commit",
  "POST /api/transactions/{transactionId}:abort",
  "POST /api/groups/{group}/members",
  "POST /api/groups/{group}/members/{memberId}:poll",
  "DELETE /api/groups/{group}/members/{memberId}",
  "POST /api/messages:nack",
];

async function entriesOf(api: ApiUnderTest, query = ""): Promise<AuditEntry[]> {
  const { status, body } = await api.ask(
    "GET",
    `/api/audit?order=oldest&all=true&limit=1000${query}`,
  );
  assert.equal(status, 200);
  return body.entries;
}

function outline(entries: readonly AuditEntry[]): string[] {
  return entries.map(({ action, resource, outcome, code }) =>
    [action, resource === null ? "-" : `${resource.type}:${resource.name}`, code ?? outcome].join(
      " ",
    )
  );
}

Deno.test("every route that is no GET is audited, or is one of the data plane", () => {
  const unaudited = Object.entries(ACCESS_TABLE)
    .filter(([name, { audit }]) => !name.startsWith("GET ") && typeof audit !== "object")
    .map(([name]) => name);
  assert.deepEqual(unaudited, DATA_PLANE);
});

Deno.test("a change of a topic is intended before it is made, and its outcome has what was before and after", async () => {
  const api = await apiUnderTest();
  const headers = { "x-request-id": "request-7" };
  const ask = (method: string, path: string, body?: unknown) =>
    api.ask(method, path, { headers, ...body === undefined ? {} : { body } });
  await ask("POST", "/api/topics", { name: "orders", partitions: 2 });
  await ask("PATCH", "/api/topics/orders", { retentionHours: 1 });
  await ask("POST", "/api/topics", { name: "orders" });
  await ask("DELETE", "/api/topics/orders");
  const entries = await entriesOf(api);
  assert.deepEqual(outline(entries), [
    "topic.create topic:orders intended",
    "topic.create topic:orders success",
    "topic.alter topic:orders intended",
    "topic.alter topic:orders success",
    "topic.create topic:orders intended",
    "topic.create topic:orders TOPIC_ALREADY_EXISTS",
    "topic.delete topic:orders intended",
    "topic.delete topic:orders success",
  ]);
  // deno-lint-ignore no-explicit-any -- what is read out is checked
  const [, created, , altered, , , , deleted] = entries as { before: any; after: any }[];
  assert.equal(created!.after.partitions, 2);
  assert.deepEqual([altered!.before.retentionHours, altered!.after.retentionHours], [72, 1]);
  assert.deepEqual([deleted!.before.retentionHours, deleted!.after], [1, null]);
  assert.equal((entries[4]!.after as { name: string }).name, "orders");
  assert.equal(entries[5]!.after, null);
  for (const { actor, requestId, remoteAddress } of entries) {
    assert.deepEqual([actor, requestId, remoteAddress], ["local-admin", "request-7", "unknown"]);
  }
  await api.close();
});

Deno.test("groups, offsets, policies, keys, access lists and quotas are audited with what they were and became", async () => {
  const api = await apiUnderTest();
  const post = (path: string, body: unknown) => api.ask("POST", path, { body });
  await post("/api/topics", { name: "orders" });
  const messages = [{ value: 1 }, { value: 2 }, { value: 3 }];
  await post("/api/messages:publish", { topic: "orders", messages });
  const at = (offset: number) => ({
    groupId: "billing",
    offsets: [{ topic: "orders", partition: 0, offset }],
  });
  await post("/api/offsets:commit", at(3));
  await post("/api/offsets:commit", { ...at(1), allowRewind: true, reason: "again" });
  await post("/api/groups/billing:pause", { reason: "lunch" });
  await post("/api/groups/billing/offsets:snapshot", {});
  const reset = { topic: "orders", to: "latest", reason: "enough" };
  await post("/api/groups/billing/offsets:reset", { ...reset, dryRun: true });
  await post("/api/groups/billing/offsets:reset", { ...reset, dryRun: false });
  await post("/api/groups/billing:resume", {});
  await api.ask("PUT", "/api/groups/billing/retry-policy", { body: { maxAttempts: 3 } });
  await api.ask("DELETE", "/api/groups/billing");
  const key = await post("/api/keys", { principal: "alice" });
  await api.ask("DELETE", `/api/keys/${key.body.keyId}`);
  const acl = await post("/api/acls", {
    principal: "alice",
    resource: "topic",
    pattern: "orders",
    patternType: "literal",
    operation: "read",
    effect: "allow",
  });
  await api.ask("DELETE", `/api/acls/${acl.body.aclId}`);
  await api.ask("PUT", "/api/quotas/default", { body: { requestsPerSecond: 1_000_000 } });
  await api.ask("DELETE", "/api/quotas/default");
  const entries = (await entriesOf(api)).filter(({ outcome }) => outcome === "success").slice(1);
  const keyId = `key:${key.body.keyId}`;
  const aclId = `acl:${acl.body.aclId}`;
  assert.deepEqual(outline(entries), [
    "offsets.commit group:billing success",
    "group.pause group:billing success",
    "offsets.snapshot group:billing success",
    "offsets.reset group:billing success",
    "group.resume group:billing success",
    "retry-policy.set group:billing success",
    "group.delete group:billing success",
    `key.create ${keyId} success`,
    `key.delete ${keyId} success`,
    `acl.create ${aclId} success`,
    `acl.delete ${aclId} success`,
    "quota.set quota:default success",
    "quota.delete quota:default success",
  ]);
  const place = (offset: number) => [{ topic: "orders", partition: 0, offset }];
  assert.deepEqual([entries[0]!.before, entries[0]!.after], [place(3), place(1)]);
  assert.equal(entries[0]!.reason, "again");
  assert.deepEqual([entries[3]!.before, entries[3]!.after], [place(1), place(3)]);
  assert.equal((entries[1]!.after as { paused: { reason: string } }).paused.reason, "lunch");
  assert.doesNotMatch(JSON.stringify(entries), new RegExp(key.body.key.slice(-30)));
  assert.equal((await api.ask("GET", "/api/audit:verify")).body.intact, true);
  await api.close();
});

Deno.test("jobs are audited when they are started and steered; one that is not there makes no entry", async () => {
  const api = await apiUnderTest();
  const post = (path: string, body: unknown) => api.ask("POST", path, { body });
  await post("/api/topics", { name: "orders" });
  await post("/api/messages:publish", { topic: "orders", messages: [{ value: 1 }] });
  const replay = { topic: "orders", partition: 0, from: 0, to: 1, reason: "lost" };
  await post("/api/messages:replay", { ...replay, dryRun: true });
  const { body: { jobId } } = await post("/api/messages:replay", replay);
  await post("/api/replays/nosuchjob:cancel", {});
  await post(`/api/replays/${jobId}:cancel`, {});
  const entries = (await entriesOf(api)).slice(2);
  assert.deepEqual(outline(entries).map((line) => line.replace(jobId, "ID")).slice(0, 3), [
    "replay.start topic:orders intended",
    "replay.start job:ID success",
    "job.cancel job:ID intended",
  ]);
  assert.equal(entries.length, 4);
  await api.close();
});

Deno.test("nothing is changed while the audit log cannot be written", async () => {
  const time = new VirtualClock();
  const logs = new FaultyLogStore(new MemoryLogStore(time));
  const api = await apiUnderTest({ time, logs });
  logs.nextFault = "STORAGE_FAILED";
  const { status, body } = await api.ask("POST", "/api/topics", { body: { name: "orders" } });
  assert.deepEqual([status, body.code, body.retryable], [503, "AUDIT_UNAVAILABLE", true]);
  assert.equal(api.broker.topic("orders"), null);
  await api.close();
});

/** An API with an administrator, and requests from an address with a token. */
async function refusing(options: ApiOptions = {}) {
  const api = await apiUnderTest({
    app: { security: { adminToken: "the-admin-token", allowedOrigins: [] } },
    ...options,
  });
  const admin = { authorization: "Bearer the-admin-token" };
  const peer = { remoteAddr: { transport: "tcp" as const, hostname: "192.0.2.9", port: 1 } };
  return {
    api,
    admin,
    key: async (body: Record<string, unknown>) =>
      (await api.ask("POST", "/api/keys", { body, headers: admin })).body,
    from: async (path: string, token: string) => {
      const headers = { authorization: `Bearer ${token}` };
      const request = new Request(`http://127.0.0.1:8080${path}`, { headers });
      const response = await api.app.fetch(request, peer);
      await response.body?.cancel();
      return response.status;
    },
    refused: async (query = ""): Promise<AuditEntry[]> => {
      const path = `/api/audit?action=*${query}`;
      const { body } = await api.ask("GET", path.replace("=*", "=access.*"), { headers: admin });
      const logins = await api.ask("GET", path.replace("=*", "=login.*"), { headers: admin });
      return [...body.entries, ...logins.body.entries];
    },
  };
}

Deno.test("refused logins and refused accesses are audited, with who, from where and what was asked for", async () => {
  const { api, key, from, refused } = await refusing();
  const alice = await key({ principal: "alice" });
  assert.equal(await from("/api/topics", "wrong"), 401);
  assert.equal(await from("/api/topics", "wrong again"), 401);
  assert.equal(await from("/api/keys", alice.key), 403);
  assert.equal(await from("/api/audit", alice.key), 403);
  const secret = "/api/topics/orders.secret";
  const read = `${secret}/partitions/0/messages?offset=earliest`;
  for (const path of [secret, read, read]) assert.equal(await from(path, alice.key), 404);
  await api.time.advance(60_000);
  const shown = (entries: readonly AuditEntry[]) =>
    entries.map(({ action, actor, remoteAddress, code, resource, after }) => {
      const { count, operation = "-" } = after as { count: number; operation?: string };
      const name = resource === null ? "-" : `${resource.type}:${resource.name}`;
      return [action, actor, remoteAddress, code, name, operation, count].join(" ");
    }).sort();
  const ofSecret = [
    "access.refused alice 192.0.2.9 UNKNOWN_TOPIC topic:orders.secret describe 1",
    "access.refused alice 192.0.2.9 UNKNOWN_TOPIC topic:orders.secret read 1",
    "access.refused alice 192.0.2.9 UNKNOWN_TOPIC topic:orders.secret read 1",
  ];
  assert.deepEqual(shown(await refused()), [
    "access.refused alice 192.0.2.9 FORBIDDEN cluster:* admin 1",
    "access.refused alice 192.0.2.9 FORBIDDEN cluster:* admin 1",
    ...ofSecret,
    "login.refused anonymous 192.0.2.9 UNAUTHENTICATED - - 1",
    "login.refused anonymous 192.0.2.9 UNAUTHENTICATED - - 1",
  ]);
  assert.deepEqual(shown(await refused("&resource=orders.secret")), ofSecret);
  await api.close();
});

Deno.test("of one who tries many names ten are told apart, and nobody else is hidden by it", async () => {
  const { api, key, from, refused } = await refusing();
  const [alice, bob] = [await key({ principal: "alice" }), await key({ principal: "bob" })];
  for (let at = 0; at < 200; at++) await from(`/api/topics/t${at}`, alice.key);
  await from("/api/topics/orders.secret", bob.key);
  await api.time.advance(60_000);
  const entries = await refused("&limit=100");
  const total = entries.reduce((sum, { after }) => sum + (after as { count: number }).count, 0);
  assert.deepEqual([entries.length, total], [13, 201]);
  const [ofBob] = await refused("&resource=topic:orders.secret");
  assert.deepEqual([ofBob?.actor, (ofBob?.after as { count: number }).count], ["bob", 1]);
  await api.close();
});

Deno.test("a refused login says which key it was, and the subject of a token whose signature holds", async () => {
  const time = new VirtualClock();
  const secret = "a secret of thirty-two characters";
  const tokens = new JwtVerifier({
    key: { secret },
    issuer: null,
    audience: null,
    clockSkewMs: 0,
    tenantClaim: "tenant",
    clock: time,
  });
  const security = { adminToken: "the-admin-token", allowedOrigins: [], tokens };
  const { api, admin, key, from, refused } = await refusing({ time, app: { security } });
  const signed = async (claims: Record<string, unknown>, by = secret) =>
    await new SignJWT(claims).setProtectedHeader({ alg: "HS256" })
      .sign(new TextEncoder().encode(by));
  const exp = Math.floor(time.now() / 1_000) + 600;
  const revoked = await key({ principal: "alice" });
  await api.ask("DELETE", `/api/keys/${revoked.keyId}`, { headers: admin });
  const expired = await key({ principal: "alice", tenant: "acme", expiresAt: time.now() + 1_000 });
  await time.advance(1_000);
  const tried = [
    revoked.key,
    expired.key,
    await signed({ sub: "alice", tenant: "other", exp }),
    await signed({ sub: "carol", exp: exp - 1_200 }),
    await signed({ sub: "dave", tenant: "a b", exp }),
    await signed({ sub: "forged", exp }, "another secret of thirty-two chars"),
  ];
  for (const token of tried) assert.equal(await from("/api/topics", token), 401);
  const named = (await refused()).map(({ resource }) => resource);
  assert.deepEqual(named.reverse(), [
    { type: "key", name: revoked.keyId },
    { type: "key", name: expired.keyId },
    { type: "principal", name: "alice" },
    { type: "principal", name: "carol" },
    { type: "principal", name: "dave" },
    null,
  ]);
  assert.equal((await refused(`&resource=key:${revoked.keyId}`)).length, 1);
  await api.close();
});

Deno.test("audit query filters by actor, action, resource and time, pages newest first, and exports lines that hash", async () => {
  const api = await apiUnderTest();
  for (let at = 0; at < 5; at++) {
    await api.ask("POST", "/api/topics", { body: { name: `t${at}` } });
    await api.time.advance(1_000);
  }
  const newest = await api.ask("GET", "/api/audit?limit=3&all=true");
  assert.deepEqual(newest.body.entries.map((one: AuditEntry) => one.sequence), [10, 9, 8]);
  const next = await api.ask("GET", `/api/audit?limit=3&all=true&cursor=${newest.body.nextCursor}`);
  assert.deepEqual(next.body.entries.map((one: AuditEntry) => one.sequence), [7, 6, 5]);
  assert.equal((await entriesOf(api, "&resource=t3")).length, 2);
  assert.equal((await entriesOf(api, "&resource=topic:t3&action=topic.*")).length, 2);
  assert.equal((await entriesOf(api, "&actor=nobody")).length, 0);
  const { at } = newest.body.entries[2];
  assert.equal((await entriesOf(api, `&from=${at}`)).length, 4);
  assert.equal((await entriesOf(api, `&to=${new Date(at).toISOString()}`)).length, 6);
  for (const query of ["from=yesterday", "action=Topic!", "cursor=x", "limit=0", "order=up"]) {
    assert.equal((await api.ask("GET", `/api/audit?${query}`)).status, 400, query);
  }
  const exported = await api.app.request("http://127.0.0.1:8080/api/audit?order=oldest", {
    headers: { accept: "application/x-ndjson" },
  });
  const lines = (await exported.text()).trimEnd().split("\n");
  assert.equal(lines.length, 10);
  for (const line of lines) {
    const entry: AuditEntry = JSON.parse(line);
    assert.equal(canonicalJson(entry), line);
    assert.equal(hashOf(entry), entry.hash);
  }
  const limited = await api.app.request("http://127.0.0.1:8080/api/audit?limit=3", {
    headers: { accept: "application/x-ndjson" },
  });
  assert.equal((await limited.text()).trimEnd().split("\n").length, 3);
  await api.close();
});

Deno.test("a list of entries has each change once, and finds them by tenant, outcome, code and principal", async () => {
  const { api, admin, key, from } = await refusing();
  const ask = (method: string, path: string, body?: unknown) =>
    api.ask(method, path, { headers: admin, ...body === undefined ? {} : { body } });
  const listed = async (query: string) =>
    outline((await ask("GET", `/api/audit?order=oldest&${query}`)).body.entries);
  await ask("POST", "/api/topics", { name: "orders" });
  await ask("POST", "/api/topics", { name: "orders" });
  const [done, failed] = [
    "topic.create topic:orders success",
    "topic.create topic:orders TOPIC_ALREADY_EXISTS",
  ];
  assert.deepEqual(await listed(""), [done, failed]);
  assert.deepEqual(await listed("limit=1"), [done]);
  assert.equal((await listed("all=true")).length, 4);
  const intended = "topic.create topic:orders intended";
  assert.deepEqual(await listed("outcome=intended"), [intended, intended]);
  assert.deepEqual(await listed("outcome=failure"), [failed]);
  assert.deepEqual(await listed("code=TOPIC_ALREADY_EXISTS"), [failed]);
  assert.deepEqual(await listed("principal=admin&outcome=success"), [done]);
  // Of one that has not ended yet the intent is all there is.
  const facts = { actor: "alice", tenant: "acme", remoteAddress: "local", action: "topic.delete" };
  const rest = { resource: null, before: null, after: null, reason: null, requestId: null };
  await api.broker.audit.intend({ ...facts, ...rest });
  assert.deepEqual(await listed("tenant=acme"), ["topic.delete - intended"]);
  assert.equal(await from("/api/audit", (await key({ principal: "bob" })).key), 403);
  assert.equal((await ask("GET", "/api/audit?actor=a&principal=b")).status, 400);
  await api.close();
});

Deno.test("audit:verify tells whether a head that was kept elsewhere is on the chain", async () => {
  const api = await apiUnderTest();
  await api.ask("POST", "/api/topics", { body: { name: "orders" } });
  const { body: { head } } = await api.ask("GET", "/api/audit");
  await api.ask("DELETE", "/api/topics/orders");
  const verify = (query: string) => api.ask("GET", `/api/audit:verify?${query}`);
  const good = await verify(`sequence=${head.sequence}&hash=${head.hash}`);
  assert.deepEqual([good.body.intact, good.body.entries], [true, 4]);
  const bad = await verify(`sequence=${head.sequence}&hash=${"0".repeat(64)}`);
  assert.deepEqual([bad.body.intact, bad.body.firstFault.sequence], [false, head.sequence]);
  assert.equal((await verify("sequence=3")).status, 400);
  await api.close();
});

Deno.test("what the broker does by itself is audited: a group paused by the breaker, a topic made for dead letters", async () => {
  const api = await apiUnderTest({ group: { maxDeadLettersPerMinute: 1 } });
  await api.ask("POST", "/api/topics", { body: { name: "orders" } });
  const messages = [{ value: 1 }, { value: 2 }, { value: 3 }];
  await api.ask("POST", "/api/messages:publish", { body: { topic: "orders", messages } });
  await api.ask("PUT", "/api/groups/billing/retry-policy", { body: {} });
  for (let offset = 0; offset < 3; offset++) {
    const nack = { groupId: "billing", topic: "orders", partition: 0, offset };
    await api.ask("POST", "/api/messages:nack", { body: { ...nack, code: "NON_RETRYABLE" } });
  }
  await settle();
  const [entry] = await entriesOf(api, "&action=group.pause");
  assert.deepEqual([entry?.actor, entry?.remoteAddress, entry?.resource?.name], [
    "system:dead-letter-breaker",
    "local",
    "billing",
  ]);
  await api.time.advance(1_000);
  await settle();
  const [made] = await entriesOf(api, "&resource=dlq.orders");
  assert.deepEqual([made?.actor, made?.action], ["system:dead-letters", "topic.create"]);
  await api.close();
});
