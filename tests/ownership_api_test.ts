// Owns the tests of what belongs to somebody, as callers meet it: transactions, answers to request keys, jobs, tenants.
// Refuses to own the deciders' rules (transaction_ownership_test.ts) and what lasts (acl_lasting_test.ts).
import assert from "node:assert/strict";
import { SignJWT } from "jose";
import { JwtVerifier } from "../api/auth/jwt.ts";
import { ALL_TOPICS_AND_GROUPS, allow, type Grant, rule } from "./support/acl_grants.ts";
import { type Answer, type ApiUnderTest, apiUnderTest } from "./support/api_app.ts";
import { TOPIC_CONFIG } from "./support/memory_broker.ts";
import { VirtualClock } from "./support/virtual_time.ts";

const JWT_SECRET = "0123456789abcdef0123456789abcdef";

type Ask = (method: string, path: string, body?: unknown, headers?: object) => Promise<Answer>;

/** The API with topics `orders` and `other`, asked by the administrator or by whoever has a key or a token. */
async function world() {
  const time = new VirtualClock();
  const tokens = new JwtVerifier({
    key: { secret: JWT_SECRET },
    issuer: null,
    audience: null,
    clockSkewMs: 0,
    tenantClaim: "tenant",
    clock: time,
  });
  const security = { adminToken: "s3cret", tokens, allowedOrigins: [] };
  const api = await apiUnderTest({ time, app: { security } });
  for (const name of ["orders", "other", "dlq.orders"]) {
    await api.broker.createTopic({ name, partitions: 1, config: TOPIC_CONFIG });
  }
  const as = (token: string): Ask => (method, path, body, headers = {}) =>
    api.ask(method, path, {
      headers: { authorization: `Bearer ${token}`, ...headers },
      ...(body === undefined ? {} : { body }),
    });
  const admin = as("s3cret");
  const withKey = async (principal: string, tenant = "default"): Promise<Ask> =>
    as((await admin("POST", "/api/keys", { principal, tenant })).body.key);
  const withToken = async (principal: string, tenant = "default"): Promise<Ask> => {
    const exp = Math.floor(time.now() / 1_000) + 3_600;
    const token = new SignJWT({ sub: principal, tenant, exp }).setProtectedHeader({ alg: "HS256" });
    return as(await token.sign(new TextEncoder().encode(JWT_SECRET)));
  };
  return { api, admin, withKey, withToken };
}

const codeOf = ({ status, body }: Answer) => [status, body.code];
const grant = (api: ApiUnderTest, principal: string, ...grants: Grant[]) =>
  allow(api.broker, principal, grants);

Deno.test("a transactional id is its first holder's: others neither fence it nor see its transactions", async () => {
  const { api, admin, withKey, withToken } = await world();
  await allow(api.broker, "*", ALL_TOPICS_AND_GROUPS);
  const mine = await withToken("billing");
  const others = [await withKey("rival"), await withToken("billing", "acme")];
  const begun = await mine("POST", "/api/transactions", { transactionalId: "t" });
  assert.equal(begun.status, 200);
  const { transactionId } = begun.body;
  const publish = { topic: "orders", messages: [{ value: "v" }], transactionId };
  for (const isFirst of [true, false]) {
    for (const other of others) {
      const refused = await other("POST", "/api/transactions", { transactionalId: "t" });
      assert.deepEqual(codeOf(refused), [403, "FORBIDDEN"]);
      const unknown = [404, "UNKNOWN_TRANSACTION"];
      const at = `/api/transactions/${transactionId}`;
      assert.deepEqual(codeOf(await other("GET", at)), unknown);
      assert.deepEqual(codeOf(await other("POST", `${at}:commit`, {})), unknown);
      assert.deepEqual(codeOf(await other("POST", `${at}:abort`)), unknown);
      assert.deepEqual(codeOf(await other("POST", "/api/messages:publish", publish)), unknown);
      const { body } = await other("GET", "/api/transactions");
      assert.deepEqual(body.transactions, []);
    }
    // The second time the partition is in the transaction already.
    if (isFirst) assert.equal((await mine("POST", "/api/messages:publish", publish)).status, 200);
  }
  for (const asker of [mine, admin]) {
    const { body } = await asker("GET", "/api/transactions");
    assert.deepEqual(
      body.transactions.map((one: { transactionId: string }) => one.transactionId),
      [transactionId],
    );
  }
  const committed = await mine("POST", `/api/transactions/${transactionId}:commit`, {});
  assert.equal(committed.body.state, "committed");
  await api.close();
});

Deno.test("whoever administers by an ACL may abort another's transaction", async () => {
  const { api, withKey } = await world();
  await grant(api, "billing", ["topic", "*", "all"]);
  await grant(api, "ops", ["cluster", "*", "admin"]);
  const [mine, ops] = [await withKey("billing"), await withKey("ops")];
  const { body } = await mine("POST", "/api/transactions", { transactionalId: "t" });
  const aborted = await ops("POST", `/api/transactions/${body.transactionId}:abort`);
  assert.equal(aborted.body.state, "aborted");
  assert.equal((await mine("POST", "/api/transactions", { transactionalId: "t" })).status, 200);
  await api.close();
});

Deno.test("publishing within one's own transaction takes write on the topic, offsets take read on the group", async () => {
  const { api, withKey } = await world();
  await grant(api, "billing", ["topic", "orders", "write"], ["topic", "other", "read"]);
  const mine = await withKey("billing");
  const { body } = await mine("POST", "/api/transactions", { transactionalId: "t" });
  const { transactionId } = body;
  const publish = (topic: string) =>
    mine("POST", "/api/messages:publish", { topic, messages: [{ value: "v" }], transactionId });
  assert.equal((await publish("orders")).status, 200);
  assert.deepEqual(codeOf(await publish("other")), [403, "FORBIDDEN"]);
  const offsets = [{ groupId: "g", topic: "other", partition: 0, offset: 0 }];
  const commit = () => mine("POST", `/api/transactions/${transactionId}:commit`, { offsets });
  assert.deepEqual(codeOf(await commit()), [404, "UNKNOWN_GROUP"]);
  await grant(api, "billing", ["group", "g", "describe"]);
  assert.deepEqual(codeOf(await commit()), [403, "FORBIDDEN"]);
  await grant(api, "billing", ["group", "g", "read"]);
  assert.equal((await commit()).body.state, "committed");
  await api.close();
});

Deno.test("the same Idempotency-Key of another principal or tenant is another request", async () => {
  const { api, withKey, withToken } = await world();
  await allow(api.broker, "*", ALL_TOPICS_AND_GROUPS);
  const askers = [
    await withToken("billing"),
    await withToken("billing", "acme"),
    await withKey("rival"),
    await withKey("other-rival", "acme"),
  ];
  const key = { "idempotency-key": "once" };
  const publish = { topic: "orders", messages: [{ value: "v" }] };
  const replay = { topic: "orders", partition: 0, from: 0, to: 0, dryRun: true };
  const jobs = new Set<string>();
  for (const [index, asker] of askers.entries()) {
    const first = await asker("POST", "/api/messages:publish", publish, key);
    assert.equal(first.headers.get("idempotency-replayed"), null);
    assert.equal(first.body.results[0].offset, index);
    const again = await asker("POST", "/api/messages:publish", publish, key);
    assert.equal(again.headers.get("idempotency-replayed"), "true");
    assert.deepEqual(again.body, first.body);
    const job = await asker("POST", "/api/messages:replay", replay, key);
    assert.equal(job.headers.get("idempotency-replayed"), null);
    jobs.add(job.body.jobId);
    const repeated = await asker("POST", "/api/messages:replay", replay, key);
    assert.equal(repeated.headers.get("idempotency-replayed"), "true");
    assert.equal(repeated.body.jobId, job.body.jobId);
  }
  assert.equal(jobs.size, askers.length);
  await api.close();
});

Deno.test("an answer to an Idempotency-Key is not told again to who may not publish there any more", async () => {
  const { api, withKey } = await world();
  await grant(api, "billing", ["topic", "orders", "write"]);
  const mine = await withKey("billing");
  const publish = () =>
    mine("POST", "/api/messages:publish", { topic: "orders", messages: [{ value: "v" }] }, {
      "idempotency-key": "once",
    });
  assert.equal((await publish()).status, 200);
  assert.equal((await publish()).headers.get("idempotency-replayed"), "true");
  await api.broker.acls.delete(api.broker.acls.list()[0]!.aclId);
  assert.deepEqual(codeOf(await publish()), [404, "UNKNOWN_TOPIC"]);
  await grant(api, "billing", ["topic", "orders", "describe"]);
  assert.deepEqual(codeOf(await publish()), [403, "FORBIDDEN"]);
  await api.close();
});

Deno.test("a token that names another tenant than its principal's keys are of opens nothing", async () => {
  const { api, admin, withKey, withToken } = await world();
  await allow(api.broker, "*", ALL_TOPICS_AND_GROUPS);
  const [right, wrong] = [await withToken("billing", "acme"), await withToken("billing")];
  assert.equal((await wrong("GET", "/api/topics")).status, 200, "it has no keys yet");
  const keyed = await withKey("billing", "acme");
  const refused = await wrong("GET", "/api/topics");
  assert.deepEqual(codeOf(refused), [401, "UNAUTHENTICATED"]);
  assert.equal(refused.body.detail.includes("acme"), false, "nothing is told of the right one");
  for (const asker of [right, keyed]) assert.equal((await asker("GET", "/api/topics")).status, 200);
  const { body: { keys } } = await admin("GET", "/api/keys");
  await admin("DELETE", `/api/keys/${keys[0].keyId}`);
  assert.equal((await wrong("GET", "/api/topics")).status, 200, "the keys are gone");
  await api.close();
});

Deno.test("a job exists for whoever may do what it does, and for nobody else", async () => {
  const { api, admin, withKey } = await world();
  await grant(api, "billing", ["topic", "orders", "read"], ["topic", "other", "write"]);
  await grant(api, "reader", ["topic", "*", "read"]);
  await grant(api, "mate", ["topic", "*", "read", "write"], ["group", "*", "alter"]);
  const [mine, reader, mate] = [
    await withKey("billing"),
    await withKey("reader"),
    await withKey("mate"),
  ];
  const target = { topic: "other" };
  const replay = { topic: "orders", partition: 0, from: 0, to: 0, target };
  const { body: job } = await mine("POST", "/api/messages:replay", replay);
  const redrive = { topic: "orders", reason: "a test" };
  assert.deepEqual(codeOf(await mine("POST", "/api/dlq:redrive", redrive)), [404, "UNKNOWN_TOPIC"]);
  const { body: redriven } = await mate("POST", "/api/dlq:redrive", redrive);
  const ids = async (asker: Ask) => {
    const { body } = await asker("GET", "/api/replays");
    return body.replays.map(({ jobId }: { jobId: string }) => jobId).toSorted();
  };
  const both = [job.jobId, redriven.jobId].toSorted();
  assert.deepEqual(await ids(admin), both);
  assert.deepEqual(await ids(mate), both);
  assert.deepEqual(await ids(mine), [job.jobId]);
  assert.deepEqual(await ids(reader), []);
  const missing = await reader("GET", "/api/replays/0123");
  for (const [asker, { jobId }] of [[reader, job], [reader, redriven], [mine, redriven]] as const) {
    const at = `/api/replays/${jobId}`;
    for (const [method, path] of [["GET", at], ["POST", `${at}:pause`], ["POST", `${at}:cancel`]]) {
      const { status, body } = await asker(method!, path!);
      assert.equal(status, 404);
      const { requestId: _, ...told } = body;
      const { requestId: __, ...expected } = missing.body;
      const named = JSON.parse(JSON.stringify(expected).replaceAll("0123", jobId));
      assert.deepEqual(told, named, "in the words of a job that never was");
    }
  }
  assert.equal((await mine("GET", `/api/replays/${job.jobId}`)).status, 200);
  await api.broker.acls.create({
    ...rule({ effect: "deny", pattern: "other", operation: "write" }),
    aclId: crypto.randomUUID(),
    createdBy: "admin",
  });
  assert.equal((await mine("GET", `/api/replays/${job.jobId}`)).status, 404);
  await api.close();
});

Deno.test("a job stops when whoever it is done for may not do it any more, and goes on for who may", async () => {
  const { api, admin, withKey } = await world();
  await grant(api, "billing", ["topic", "orders", "read"], ["topic", "other", "write"]);
  await grant(api, "mate", ["topic", "*", "read", "write"]);
  const [mine, mate] = [await withKey("billing"), await withKey("mate")];
  const messages = Array.from({ length: 100 }, (_, value) => ({ value }));
  await admin("POST", "/api/messages:publish", { topic: "orders", messages });
  const target = { topic: "other" };
  const replay = { topic: "orders", partition: 0, from: 0, to: 100, target, ratePerSecond: 0.1 };
  const start = async (asker: Ask) =>
    (await asker("POST", "/api/messages:replay", replay)).body.jobId;
  const [job, matesJob, adminsJob] = [await start(mine), await start(mate), await start(admin)];
  const turns = async () => {
    for (let turn = 0; turn < 20; turn++) await api.time.advance(0);
  };
  const state = async (jobId: string) => {
    const { body } = await admin("GET", `/api/replays/${jobId}`);
    return [body.state, body.steps.at(-1).principal, body.steps.at(-1).reason];
  };
  const running = ["running", null, null];
  await turns();
  assert.deepEqual(await state(job), running);
  const denied = await api.broker.acls.create({
    ...rule({ effect: "deny", pattern: "other", operation: "write" }),
    aclId: crypto.randomUUID(),
    createdBy: "admin",
  });
  await turns();
  const reason = "no ACL allows billing write on topic other any more";
  assert.deepEqual(await state(job), ["paused", "system:access-control", reason]);
  for (const other of [matesJob, adminsJob]) assert.deepEqual(await state(other), running);
  assert.equal((await mine("POST", `/api/replays/${job}:resume`)).status, 404);
  assert.equal((await mate("POST", `/api/replays/${job}:resume`)).status, 200);
  await grant(api, "billing", ["group", "g", "read"]);
  await turns();
  assert.equal((await state(job))[0], "running", "it is done for another one now");
  await api.broker.acls.create({
    ...rule({ principal: "mate", effect: "deny", operation: "read" }),
    aclId: crypto.randomUUID(),
    createdBy: "admin",
  });
  await turns();
  assert.deepEqual([await state(job), await state(matesJob)].map(([state]) => state), [
    "paused",
    "paused",
  ]);
  await admin("POST", `/api/replays/${job}:resume`);
  await api.broker.acls.delete(denied.aclId);
  await turns();
  for (const jobId of [job, adminsJob]) assert.equal((await state(jobId))[0], "running");
  assert.deepEqual(api.faults, []);
  await api.close();
});

Deno.test("dead letters of a topic whose letters one may not read are not listed", async () => {
  const { api, withKey } = await world();
  await grant(api, "billing", ["topic", "orders", "all"], ["group", "*", "all"]);
  await grant(api, "reader", ["topic", "dlq.orders", "read"]);
  await grant(api, "billing", ["topic", "other", "read"]);
  const [mine, reader] = [await withKey("billing"), await withKey("reader")];
  await mine("POST", "/api/messages:publish", { topic: "orders", messages: [{ value: "v" }] });
  await mine("PUT", "/api/groups/g/retry-policy", { maxAttempts: 1 });
  const nack = { groupId: "g", topic: "orders", partition: 0, offset: 0, code: "NON_RETRYABLE" };
  assert.equal((await mine("POST", "/api/messages:nack", nack)).body.deadLettered, true);
  for (let turn = 0; turn < 50; turn++) await api.time.advance(10);
  const letters = async (asker: Ask) => (await asker("GET", "/api/dlq")).body.deadLetters.length;
  assert.deepEqual([await letters(reader), await letters(mine)], [1, 0]);
  await api.close();
});

Deno.test("whether dead letters have dead letters of their own is not told to who may not see these", async () => {
  const { api, withKey } = await world();
  const rights: Grant[] = [["topic", "dlq.orders", "read"], ["topic", "orders", "write"]];
  await grant(api, "billing", ...rights);
  await grant(api, "mate", ["topic", "*", "read", "write"]);
  const [mine, mate] = [await withKey("billing"), await withKey("mate")];
  const redrive = (reason: string) => ({ topic: "dlq.orders", reason });
  const before = await mine("POST", "/api/dlq:redrive", redrive("before"));
  await api.broker.createTopic({ name: "dlq.dlq.orders", partitions: 1, config: TOPIC_CONFIG });
  const after = await mine("POST", "/api/dlq:redrive", redrive("after"));
  assert.deepEqual([before.status, after.status], [202, 202]);
  assert.deepEqual(after.body.sources, before.body.sources);
  const other = await mate("POST", "/api/dlq:redrive", redrive("of the letters"));
  assert.equal(other.status, 202);
  assert.notDeepEqual(other.body.sources, before.body.sources);
  await api.close();
});
