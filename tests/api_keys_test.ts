// Owns the tests of API keys as callers meet them: the routes, what a key opens, and when no more.
// Refuses to own long-lived connections (access_end_test.ts) and JWTs (jwt_test.ts).
import assert from "node:assert/strict";
import { ALL_TOPICS_AND_GROUPS, allow } from "./support/acl_grants.ts";
import { type Answer, type ApiUnderTest, apiUnderTest, FORMATS } from "./support/api_app.ts";

const SECURITY = { adminToken: "s3cret", allowedOrigins: [] };

/** Asks as whoever holds `token`. */
function asker(api: ApiUnderTest, token: string | null) {
  const headers: Record<string, string> = token === null
    ? {}
    : { authorization: `Bearer ${token}` };
  return (method: string, path: string, body?: unknown): Promise<Answer> =>
    api.ask(method, path, { headers, ...(body === undefined ? {} : { body }) });
}

async function secured() {
  const api = await apiUnderTest({ app: { security: SECURITY } });
  return { api, admin: asker(api, "s3cret") };
}

Deno.test("a key is shown once, opens the API as its principal, and opens nothing once it is revoked", async () => {
  const { api, admin } = await secured();
  const made = await admin("POST", "/api/keys", { principal: "billing", tenant: "acme" });
  assert.equal(made.status, 201);
  const { key, ...rest } = made.body;
  assert.deepEqual([rest.principal, rest.tenant, rest.createdBy], ["billing", "acme", "admin"]);
  const { body: { keys } } = await admin("GET", "/api/keys");
  assert.deepEqual(keys, [{ ...rest, expired: false }]);
  const billing = asker(api, key);
  await allow(api.broker, "billing", ALL_TOPICS_AND_GROUPS);
  assert.equal((await billing("POST", "/api/topics", { name: "orders" })).status, 201);
  const replay = { topic: "orders", partition: 0, from: "earliest", to: "latest" };
  const { body: { jobId } } = await billing("POST", "/api/messages:replay", replay);
  const { body: job } = await admin("GET", `/api/replays/${jobId}`);
  assert.equal(job.steps[0].principal, "billing");
  assert.equal((await admin("DELETE", `/api/keys/${rest.keyId}`)).status, 204);
  const refused = await billing("GET", "/api/topics");
  assert.deepEqual([refused.status, refused.body.code], [401, "UNAUTHENTICATED"]);
  assert.equal((await admin("DELETE", `/api/keys/${rest.keyId}`)).status, 404);
  await api.close();
});

Deno.test("a principal rotates its key by having two for a while", async () => {
  const { api, admin } = await secured();
  const make = async () => (await admin("POST", "/api/keys", { principal: "billing" })).body;
  const [old, next] = [await make(), await make()];
  for (const { key } of [old, next]) {
    assert.equal((await asker(api, key)("GET", "/api/topics")).status, 200);
  }
  await admin("DELETE", `/api/keys/${old.keyId}`);
  assert.equal((await asker(api, old.key)("GET", "/api/topics")).status, 401);
  assert.equal((await asker(api, next.key)("GET", "/api/topics")).status, 200);
  await api.close();
});

Deno.test("a key opens nothing from the moment at which it expires", async () => {
  const { api, admin } = await secured();
  const expiresAt = new Date(api.time.now() + 60_000).toISOString();
  const { body } = await admin("POST", "/api/keys", { principal: "billing", expiresAt });
  assert.equal(body.expiresAt, api.time.now() + 60_000);
  const billing = asker(api, body.key);
  await api.time.advance(59_999);
  assert.equal((await billing("GET", "/api/topics")).status, 200);
  await api.time.advance(1);
  const refused = await billing("GET", "/api/topics");
  assert.deepEqual([refused.status, refused.body.detail], [401, "the credential has expired"]);
  assert.equal((await admin("GET", "/api/keys")).body.keys[0].expired, true);
  await api.close();
});

Deno.test("what was waited for is not handed out when the key ends meanwhile", async () => {
  const { api, admin } = await secured();
  await admin("POST", "/api/topics", { name: "orders" });
  await allow(api.broker, "billing", [["topic", "orders", "read"]]);
  const path = "/api/topics/orders/partitions/0/messages?offset=latest&waitMs=10000";
  for (const accept of ["application/json", "application/vnd.waybill.batch"]) {
    const { body } = await admin("POST", "/api/keys", { principal: "billing" });
    const reading = api.ask("GET", path, {
      headers: { authorization: `Bearer ${body.key}`, accept },
    });
    await api.time.advance(1);
    await admin("DELETE", `/api/keys/${body.keyId}`);
    await admin("POST", "/api/messages:publish", { topic: "orders", messages: [{ value: "x" }] });
    assert.equal((await reading).status, 401);
  }
  await api.close();
});

Deno.test("only the administrator manages keys", async () => {
  const { api, admin } = await secured();
  const { body } = await admin("POST", "/api/keys", { principal: "billing" });
  const billing = asker(api, body.key);
  const attempts = [
    billing("POST", "/api/keys", { principal: "root" }),
    billing("GET", "/api/keys"),
    billing("DELETE", `/api/keys/${body.keyId}`),
  ];
  for (const { status, body } of await Promise.all(attempts)) {
    assert.deepEqual([status, body.code], [403, "FORBIDDEN"]);
  }
  assert.equal((await billing("GET", "/api/topics")).status, 200);
  await api.close();
});

Deno.test("without a credential configured whoever sends none makes keys, and whoever sends a bad one is refused", async () => {
  const api = await apiUnderTest();
  const local = asker(api, null);
  const { status, body } = await local("POST", "/api/keys", { principal: "billing" });
  assert.deepEqual([status, body.createdBy], [201, "local-admin"]);
  const billing = asker(api, body.key);
  assert.equal((await billing("GET", "/api/topics")).status, 200);
  assert.equal((await billing("GET", "/api/keys")).status, 403);
  assert.equal((await asker(api, "wrong")("GET", "/api/topics")).status, 401);
  await local("DELETE", `/api/keys/${body.keyId}`);
  assert.equal((await billing("GET", "/api/topics")).status, 401);
  assert.equal((await local("GET", "/api/topics")).status, 200);
  await api.close();
});

for (const format of FORMATS) {
  Deno.test(`a key that makes no sense is refused and nothing is kept of it, in ${format}`, async () => {
    const { api, admin } = await secured();
    const bodies = [
      {},
      { principal: "" },
      { principal: "with space" },
      { principal: "é" },
      { principal: "p".repeat(250) },
      ...["*", "admin", "Admin", "local-admin", "anonymous", "system:x", "SYSTEM:x"].map((
        principal,
      ) => ({ principal })),
      { principal: "p", tenant: ".." },
      { principal: "p", tenant: "a/b" },
      { principal: "p", expiresAt: "tomorrow" },
      { principal: "p", expiresAt: 1 },
      { principal: "p", key: "mine" },
    ];
    for (const body of bodies) {
      const headers = { authorization: "Bearer s3cret" };
      const { status, body: problem } = await api.ask("POST", "/api/keys", {
        headers,
        format,
        body,
      });
      assert.deepEqual([status, problem.code], [400, "INVALID_REQUEST"], JSON.stringify(body));
    }
    assert.deepEqual((await admin("GET", "/api/keys")).body, { keys: [] });
    await api.close();
  });
}

Deno.test("keys are paged by principal", async () => {
  const { api, admin } = await secured();
  for (const principal of ["b", "a", "b", "c", "a-b"]) {
    await admin("POST", "/api/keys", { principal });
  }
  const seen: string[] = [];
  let cursor: string | undefined;
  do {
    const more: string = cursor === undefined ? "" : `&cursor=${cursor}`;
    const { body } = await admin("GET", `/api/keys?limit=2${more}`);
    seen.push(...body.keys.map((key: { principal: string }) => key.principal));
    cursor = body.nextCursor;
  } while (cursor !== undefined);
  assert.deepEqual(seen, ["a", "a-b", "b", "b", "c"]);
  await api.close();
});

Deno.test("no answer but the first holds the key or its digest", async () => {
  const { api, admin } = await secured();
  const { body } = await admin("POST", "/api/keys", { principal: "billing" });
  const kept = api.broker.accessKeys.find(body.keyId)!;
  assert.equal(JSON.stringify(kept).includes(body.key), false);
  await admin("DELETE", `/api/keys/${body.keyId}`);
  const answers = [
    await admin("GET", "/api/keys"),
    await asker(api, body.key)("GET", "/api/topics"),
    await asker(api, body.key)("GET", "/api/nowhere"),
    await admin("DELETE", `/api/keys/${body.key}`),
  ];
  for (const answer of answers) {
    const text = JSON.stringify([answer.body, [...answer.headers]]);
    assert.equal(text.includes(body.key.slice(-43)) || text.includes(kept.digest), false, text);
  }
  await api.close();
});
