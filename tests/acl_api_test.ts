// Owns the tests of ACLs as callers meet them: the routes, what they open and close, and what lists show.
// Refuses to own each route's own needs (access_table_test.ts).
import assert from "node:assert/strict";
import { allow } from "./support/acl_grants.ts";
import { type Answer, type ApiUnderTest, apiUnderTest, FORMATS } from "./support/api_app.ts";

const SECURITY = { adminToken: "s3cret", allowedOrigins: [] };

/** Asks as whoever holds `token`. */
function asker(api: ApiUnderTest, token: string) {
  const headers = { authorization: `Bearer ${token}` };
  return (method: string, path: string, body?: unknown): Promise<Answer> =>
    api.ask(method, path, { headers, ...(body === undefined ? {} : { body }) });
}

async function secured() {
  const api = await apiUnderTest({ app: { security: SECURITY } });
  const admin = asker(api, "s3cret");
  const holder = async (principal: string) =>
    asker(api, (await admin("POST", "/api/keys", { principal })).body.key);
  return { api, admin, holder, billing: await holder("billing") };
}

const READ = { principal: "billing", resource: "topic", pattern: "orders", operation: "read" };

Deno.test("an ACL opens what it says from the answer on, until it is deleted", async () => {
  const { api, admin, billing } = await secured();
  await admin("POST", "/api/topics", { name: "orders" });
  const path = "/api/topics/orders/partitions/0/messages?offset=earliest";
  assert.equal((await billing("GET", path)).body.code, "UNKNOWN_TOPIC");
  const { status, body: acl } = await admin("POST", "/api/acls", READ);
  assert.equal(status, 201);
  const { aclId, createdAt, ...said } = acl;
  assert.deepEqual(said, {
    ...READ,
    tenant: null,
    patternType: "literal",
    effect: "allow",
    createdBy: "admin",
  });
  assert.equal(createdAt, api.time.now());
  assert.equal((await billing("GET", path)).status, 200);
  const publish = { topic: "orders", messages: [{ value: "x" }] };
  assert.equal((await billing("POST", "/api/messages:publish", publish)).body.code, "FORBIDDEN");
  assert.equal((await admin("DELETE", `/api/acls/${aclId}`)).status, 204);
  assert.equal((await billing("GET", path)).body.code, "UNKNOWN_TOPIC");
  assert.equal((await admin("DELETE", `/api/acls/${aclId}`)).body.code, "NOT_FOUND");
  await api.close();
});

Deno.test("the same ACL again is the one that is there", async () => {
  const { api, admin } = await secured();
  const [first, second] = [
    await admin("POST", "/api/acls", READ),
    await admin("POST", "/api/acls", { ...READ, effect: "allow", tenant: null }),
  ];
  assert.deepEqual([second.status, second.body], [201, first.body]);
  assert.equal((await admin("GET", "/api/acls")).body.acls.length, 1);
  await api.close();
});

Deno.test("ACLs are listed in pages, by principal, resource and pattern, and by what they say", async () => {
  const { api, admin } = await secured();
  for (const principal of ["b", "a"]) {
    for (const pattern of ["y", "x"]) {
      for (const resource of ["topic", "group"]) {
        await admin("POST", "/api/acls", { ...READ, principal, pattern, resource });
      }
    }
  }
  const listed: string[] = [];
  let cursor = "";
  do {
    const { body } = await admin("GET", `/api/acls?limit=3${cursor}`);
    listed.push(
      ...body.acls.map((acl: typeof READ) => `${acl.principal} ${acl.resource} ${acl.pattern}`),
    );
    cursor = body.nextCursor === undefined ? "" : `&cursor=${body.nextCursor}`;
  } while (cursor !== "");
  assert.equal(listed.length, 8);
  assert.deepEqual(listed, listed.toSorted());
  const { body } = await admin("GET", "/api/acls?principal=a&resource=group&effect=allow");
  assert.deepEqual(body.acls.map((acl: typeof READ) => acl.pattern), ["x", "y"]);
  assert.deepEqual((await admin("GET", "/api/acls?operation=write")).body.acls, []);
  await api.close();
});

for (const format of FORMATS) {
  Deno.test(`an ACL that makes no sense is refused and nothing is kept of it, in ${format}`, async () => {
    const { api, admin } = await secured();
    const wrong = [
      { principal: "" },
      { principal: "with space" },
      ...["admin", "local-admin", "anonymous", "system:x"].map((principal) => ({ principal })),
      { resource: "cluster" },
      { resource: "cluster", pattern: "*", patternType: "prefix" },
      { resource: "partition" },
      { operation: "browse" },
      { operation: "admin" },
      ...["write", "create", "admin"].map((operation) => ({ resource: "group", operation })),
      ...["read", "write", "delete", "alter"].map((operation) => (
        { resource: "cluster", pattern: "*", operation }
      )),
      { effect: "perhaps" },
      { pattern: "a/b" },
      { pattern: ".." },
      { pattern: "" },
      { pattern: "*", patternType: "prefix" },
      { pattern: "", patternType: "prefix" },
      { pattern: "__groups" },
      { pattern: "__", patternType: "prefix" },
      { pattern: "a".repeat(250) },
      { tenant: "a/b" },
      { aclId: "mine" },
    ];
    for (const about of wrong) {
      const headers = { authorization: "Bearer s3cret" };
      const body = { ...READ, ...about };
      const answer = await api.ask("POST", "/api/acls", { headers, format, body });
      assert.deepEqual([answer.status, answer.body.code], [400, "INVALID_REQUEST"], `${[body]}`);
    }
    assert.deepEqual((await admin("GET", "/api/acls")).body.acls, []);
    await api.close();
  });
}

Deno.test("a principal may be made administrator, and then makes keys and ACLs itself", async () => {
  const { api, admin, billing } = await secured();
  assert.equal((await billing("POST", "/api/acls", READ)).body.code, "FORBIDDEN");
  const cluster = { principal: "billing", resource: "cluster", operation: "admin" };
  assert.equal((await admin("POST", "/api/acls", cluster)).body.pattern, "*");
  assert.equal((await billing("POST", "/api/acls", READ)).body.createdBy, "billing");
  assert.equal((await billing("POST", "/api/keys", { principal: "other" })).status, 201);
  assert.equal((await billing("POST", "/api/topics", { name: "orders" })).status, 201);
  assert.equal((await billing("GET", "/api/topics/__groups")).status, 200);
  await api.close();
});

Deno.test("lists show what one may see, page by page, and nothing of the rest", async () => {
  const { api, admin, holder, billing } = await secured();
  for (const name of ["a.1", "b.1", "a.2", "b.2", "a.3"]) {
    await admin("POST", "/api/topics", { name });
    const offsets = [{ topic: name, partition: 0, offset: 0 }];
    await admin("POST", "/api/offsets:commit", { groupId: `g-${name}`, offsets });
  }
  await allow(api.broker, "billing", [["topic", "a.*", "read"], ["group", "g-a.*", "describe"]]);
  const pages = async (list: "topics" | "groups", field: string) => {
    const names: string[] = [];
    for (let cursor = "";;) {
      const { body } = await billing("GET", `/api/${list}?limit=2${cursor}`);
      names.push(...body[list].map((entry: Record<string, string>) => entry[field]!));
      if (body.nextCursor === undefined) return names;
      assert.equal(body[list].length, 2);
      cursor = `&cursor=${body.nextCursor}`;
    }
  };
  assert.deepEqual(await pages("topics", "name"), ["a.1", "a.2", "a.3"]);
  assert.deepEqual(await pages("groups", "groupId"), ["g-a.1", "g-a.2", "g-a.3"]);
  const nobody = await holder("nobody");
  assert.deepEqual((await nobody("GET", "/api/topics")).body, { topics: [] });
  assert.deepEqual((await nobody("GET", "/api/groups")).body, { groups: [] });
  await api.close();
});

Deno.test("dead letters of a topic of which one may not read the dead letters are not listed", async () => {
  const { api, admin, holder, billing } = await secured();
  const letters = async (ask: typeof admin, query = "") =>
    (await ask("GET", `/api/dlq${query}`)).body.deadLetters.length;
  for (const topic of ["orders", "refunds"]) {
    await admin("POST", "/api/topics", { name: topic });
    await admin("POST", "/api/messages:publish", { topic, messages: [{ value: "x" }] });
    const at = { topic, partition: 0, offset: 0 };
    await admin("POST", "/api/offsets:commit", { groupId: "g", offsets: [{ ...at, offset: 1 }] });
    await admin("POST", "/api/messages:nack", { groupId: "g", ...at, code: "NON_RETRYABLE" });
  }
  for (let turn = 0; turn < 100 && await letters(admin) < 2; turn++) await api.time.advance(100);
  assert.equal(await letters(admin), 2);
  await allow(api.broker, "billing", [["topic", "dlq.orders", "read"]]);
  assert.equal(await letters(billing), 1);
  assert.equal(await letters(billing, "?topic=refunds"), 0);
  await allow(api.broker, "reader", [["topic", "orders", "all"], ["topic", "refunds", "read"]]);
  const reader = await holder("reader");
  assert.equal(await letters(reader), 0);
  // Whoever knows the topic is not told that it has none, whether it has or not.
  await admin("POST", "/api/topics", { name: "quiet" });
  await allow(api.broker, "reader", [["topic", "quiet", "describe"]]);
  for (const topic of ["refunds", "quiet"]) {
    const { status, body } = await reader("GET", `/api/dlq?topic=${topic}`);
    assert.deepEqual([status, body.code], [404, "UNKNOWN_TOPIC"]);
    assert.match(body.detail, new RegExp(`dlq\\.${topic}`));
  }
  await allow(api.broker, "reader", [["topic", "dlq.orders", "describe"]]);
  for (const topic of ["orders", "dlq.orders"]) {
    const { status, body } = await reader("GET", `/api/dlq?topic=${topic}`);
    assert.deepEqual([status, body.code, body.name], [403, "FORBIDDEN", "dlq.orders"]);
  }
  await allow(api.broker, "reader", [["topic", "dlq.orders", "read"], [
    "topic",
    "dlq.quiet",
    "read",
  ]]);
  assert.equal(await letters(reader, "?topic=orders"), 1);
  assert.equal(await letters(reader, "?topic=quiet"), 0);
  await api.close();
});

Deno.test("what a validation could tell of a topic is told only to who may write to it", async () => {
  const { api, admin, billing } = await secured();
  await admin("POST", "/api/topics", { name: "secret", maxMessageBytes: 10 });
  const publish = async (topic: string) => {
    const messages = [{ value: "x".repeat(100), partition: 7 }];
    const { status, body } = await billing("POST", "/api/messages:publish", { topic, messages });
    const { requestId: _id, ...problem } = body;
    return JSON.stringify([status, problem]).replaceAll(topic, "it");
  };
  assert.equal(await publish("secret"), await publish("nothing"));
  assert.match(await publish("secret"), /UNKNOWN_TOPIC/);
  await api.close();
});

Deno.test("what was waited for is not handed out when the right ends meanwhile", async () => {
  const { api, admin, billing } = await secured();
  await admin("POST", "/api/topics", { name: "orders" });
  const { body: { aclId } } = await admin("POST", "/api/acls", READ);
  const path = "/api/topics/orders/partitions/0/messages?offset=latest&waitMs=10000";
  const reading = billing("GET", path);
  await api.time.advance(1);
  await admin("DELETE", `/api/acls/${aclId}`);
  await admin("POST", "/api/messages:publish", { topic: "orders", messages: [{ value: "x" }] });
  assert.equal((await reading).body.code, "UNKNOWN_TOPIC");
  await api.close();
});

Deno.test("a stream of lines breaks off when the right ends meanwhile", async () => {
  const { api, admin } = await secured();
  await admin("POST", "/api/topics", { name: "orders" });
  const { body: { aclId } } = await admin("POST", "/api/acls", READ);
  const { body: { key } } = await admin("POST", "/api/keys", { principal: "billing" });
  const messages = Array.from({ length: 20 }, () => ({ value: "x".repeat(200_000) }));
  await admin("POST", "/api/messages:publish", { topic: "orders", messages });
  const lines = async (meanwhile: () => Promise<unknown>) => {
    const path = "/api/topics/orders/partitions/0/messages?offset=earliest";
    const headers = { authorization: `Bearer ${key}`, accept: "application/x-ndjson" };
    const reader = (await api.app.request(`http://127.0.0.1:8080${path}`, { headers })).body!
      .getReader();
    let count = 0;
    for (let at = 0;; at++) {
      const { done, value } = await reader.read();
      if (done) return count;
      count += value.filter((byte) => byte === 10).length;
      if (at === 0) await meanwhile();
    }
  };
  assert.equal(await lines(() => Promise.resolve()), 20);
  await assert.rejects(lines(() => admin("DELETE", `/api/acls/${aclId}`)), {
    code: "UNKNOWN_TOPIC",
  });
  await api.close();
});

Deno.test("whoever may see a group is told of its topics those that one may see too", async () => {
  const { api, admin, billing } = await secured();
  for (const topic of ["orders", "secret"]) {
    await admin("POST", "/api/topics", { name: topic });
    const offsets = [{ topic, partition: 0, offset: 0 }];
    await admin("POST", "/api/offsets:commit", { groupId: "g", offsets });
  }
  await admin("POST", "/api/groups/g/offsets:snapshot");
  await allow(api.broker, "billing", [["group", "g", "alter"], ["topic", "orders", "describe"]]);
  const requests = [
    ["GET", "/api/groups/g"],
    ["GET", "/api/groups/g/lag"],
    ["GET", "/api/groups/g/rebalances"],
    ["GET", "/api/groups/g/offsets/history"],
    ["GET", "/api/groups/g/offsets/snapshots"],
    ["POST", "/api/groups/g/offsets:snapshot"],
    ["POST", "/api/groups/g:pause", { reason: "maintenance" }],
    ["POST", "/api/groups/g:resume"],
  ] as const;
  for (const [method, path, body] of requests) {
    const answer = await billing(method, path, body);
    assert.ok(answer.status < 300, path);
    assert.equal(JSON.stringify(answer.body).includes("secret"), false, path);
    assert.equal(JSON.stringify(answer.body).includes("orders"), !path.includes("rebal"), path);
    assert.ok((await admin(method, path, body)).status < 300, path);
  }
  const all = JSON.stringify((await admin("GET", "/api/groups/g")).body);
  assert.ok(all.includes("secret") && all.includes("orders"));
  const back = { to: { time: api.time.now() }, reason: "again", dryRun: true };
  const refused = await billing("POST", "/api/groups/g/offsets:rollback", back);
  assert.equal(refused.body.code, "FORBIDDEN");
  assert.equal(JSON.stringify(refused.body).includes("secret"), false);
  const named = { ...back, topic: "orders" };
  assert.equal((await billing("POST", "/api/groups/g/offsets:rollback", named)).status, 200);
  await api.close();
});

Deno.test("the quotas of a topic are not lifted by who may alter it, but all the rest is", async () => {
  const { api, admin, billing } = await secured();
  await admin("POST", "/api/topics", { name: "orders", publishMessagesPerSecond: 5 });
  await allow(api.broker, "billing", [["topic", "orders", "alter"]]);
  const path = "/api/topics/orders";
  for (const change of [null, 6]) {
    const body = { retentionHours: 1, publishMessagesPerSecond: change };
    const refused = await billing("PATCH", path, body);
    assert.deepEqual([refused.status, refused.body.code, refused.body.operation], [
      403,
      "FORBIDDEN",
      "admin",
    ]);
  }
  assert.equal((await billing("PATCH", path, { consumeBytesPerSecond: 1 })).status, 403);
  const { body: before } = await admin("GET", path);
  assert.deepEqual([before.publishMessagesPerSecond, before.retentionHours], [5, 72]);
  // What is sent back as it was changes no quota.
  const same = { retentionHours: 1, publishMessagesPerSecond: 5, consumeBytesPerSecond: null };
  assert.equal((await billing("PATCH", path, same)).body.retentionHours, 1);
  const lifted = await admin("PATCH", path, { publishMessagesPerSecond: null });
  assert.equal(lifted.body.publishMessagesPerSecond, null);
  await api.close();
});

Deno.test("a refusal says whether an ACL denies it or none allows it", async () => {
  const { api, admin, billing } = await secured();
  await admin("POST", "/api/topics", { name: "orders" });
  const publish = { topic: "orders", messages: [{ value: "x" }] };
  const detail = async () => {
    const { status, body } = await billing("POST", "/api/messages:publish", publish);
    assert.deepEqual([status, body.operation, body.name], [403, "write", "orders"]);
    return body.detail;
  };
  await admin("POST", "/api/acls", READ);
  assert.equal(await detail(), "no ACL allows write on topic orders");
  await admin("POST", "/api/acls", { ...READ, operation: "write" });
  const wide = { ...READ, principal: "*", pattern: "or", patternType: "prefix" };
  await admin("POST", "/api/acls", { ...wide, operation: "write", effect: "deny" });
  assert.equal(await detail(), "an ACL denies write on topic orders");
  const cluster = { principal: "billing", resource: "cluster", operation: "create" };
  await admin("POST", "/api/acls", { ...cluster, effect: "deny" });
  const made = await billing("POST", "/api/topics", { name: "others" });
  assert.equal(made.body.detail, "an ACL denies create on topic others");
  await api.close();
});
