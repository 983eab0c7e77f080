// Owns the tests of streams and HTTP members that outlive the ACLs that let them in.
// Refuses to own credentials that end (access_end_test.ts) and who is let in at all (access_table_test.ts).
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import type { Acls } from "../actors/acl/types.ts";
import { createApp } from "../api/app.ts";
import type { Access } from "../api/auth/access.ts";
import { credentials } from "../api/auth/credentials.ts";
import { RECHECK_MS } from "../api/auth/rechecks.ts";
import { DEFAULT_API_LIMITS } from "../api/limits.ts";
import { createConsuming } from "../api/stream/consuming.ts";
import { STREAM_LIMITS } from "../api/stream/limits.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { allow, rule } from "./support/acl_grants.ts";
import { asBearer, consumingApi } from "./support/consuming_api.ts";
import { TOPIC_CONFIG } from "./support/memory_broker.ts";
import { passing } from "./support/passing_time.ts";
import { type FakeClient, StreamWorld } from "./support/stream_fakes.ts";
import { settle } from "./support/virtual_time.ts";

const CLOSED_REFUSED = 4003;

function principal(name: string, tenant = "default"): Access {
  return {
    principal: name,
    tenant,
    isAdministrator: false,
    ended: () => null,
    leftMs: () => Infinity,
  };
}

/** With what the stream was closed. */
const closed = ({ socket }: FakeClient) => socket.closedWith?.code;

async function forget(acls: Acls, about: Partial<ReturnType<typeof rule>>): Promise<void> {
  const found = acls.list().find((acl) =>
    Object.entries(about).every(([name, value]) => acl[name as keyof typeof acl] === value)
  );
  await acls.delete(found!.aclId);
}

const deny = (acls: Acls, about: Parameters<typeof rule>[0]) =>
  acls.create({
    ...rule({ effect: "deny", ...about }),
    aclId: crypto.randomUUID(),
    createdBy: "admin",
  });

Deno.test("a stream closes with the ACL on its topic, is sent nothing more, and others go on", async () => {
  const world = await StreamWorld.open();
  const { acls } = world.broker;
  await allow(world.broker, "billing", [["group", "*", "read"], ["topic", "orders", "read"]]);
  await allow(world.broker, "audit", [["group", "*", "read"], ["topic", "ord*", "read"]]);
  const lost = await world.consumer({ access: principal("billing"), group: "a" });
  const kept = await world.consumer({ access: principal("audit"), group: "b" });
  await world.time.advance(2 * RECHECK_MS);
  await forget(acls, { principal: "billing", resource: "topic" });
  assert.equal(lost.socket.closedWith?.code, CLOSED_REFUSED);
  const error = lost.last("error");
  assert.deepEqual([error.code, error.retryable], ["FORBIDDEN", false]);
  assert.match(error.detail, /read on topic orders/);
  await world.publish(1);
  await world.until(() => kept.offsets().length === 1, "the message");
  assert.deepEqual(lost.offsets(), []);
  assert.equal(kept.socket.closedWith, null);
  await world.time.advance(60_000);
  const { members } = await world.broker.group({ type: "Describe", group: "a" });
  assert.deepEqual(members, []);
  await world.close();
});

Deno.test("a stream closes when its group is denied, and not when what it does not use is", async () => {
  const world = await StreamWorld.open();
  const { acls } = world.broker;
  await allow(world.broker, "billing", [["group", "*", "all"], ["topic", "*", "all"]]);
  const stream = await world.consumer({ access: principal("billing"), group: "a" });
  await deny(acls, { resource: "topic", pattern: "letters", operation: "all" });
  await deny(acls, { resource: "topic", pattern: "orders", operation: "write" });
  await deny(acls, { resource: "group", pattern: "a", operation: "read", tenant: "acme" });
  await world.time.advance(RECHECK_MS * 2);
  assert.equal(closed(stream), undefined);
  await deny(acls, { resource: "group", pattern: "a", operation: "read" });
  assert.equal(closed(stream), CLOSED_REFUSED);
  assert.match(stream.last("error").detail, /read on group a/);
  await world.close();
});

Deno.test("many changes of ACLs in a row ask streams once more, and no later than is promised", async () => {
  const world = await StreamWorld.open();
  const { acls } = world.broker;
  await allow(world.broker, "billing", [["group", "*", "read"], ["topic", "*", "read"]]);
  let asked = 0;
  const access = principal("billing");
  const stream = await world.consumer({ access: { ...access, ended: () => (asked++, null) } });
  await world.time.advance(STREAM_LIMITS.sweepMs + RECHECK_MS);
  asked = 0;
  for (let index = 0; index < 50; index++) {
    await deny(acls, { pattern: `other-${index}` });
  }
  await deny(acls, { pattern: "orders" });
  assert.equal(asked, 1);
  assert.equal(closed(stream), undefined);
  await world.time.advance(RECHECK_MS);
  assert.equal(closed(stream), CLOSED_REFUSED);
  await world.close();
});

/** The API with topic `orders`, keys for principals with rights on all, and HTTP members. */
async function polling() {
  const { api, time, askAs: ask } = await consumingApi({ adminToken: "s3cret" });
  const keyOf = async (principal: string, tenant = "default"): Promise<string> =>
    (await ask("s3cret", "POST", "/api/keys", { principal, tenant })).body.key;
  const join = async (token: string, more: object = {}) => {
    const body = { topics: ["orders"], ...more };
    return await ask(token, "POST", "/api/groups/billing/members", body);
  };
  return { api, time, ask, keyOf, join, members: "/api/groups/billing/members" };
}

Deno.test("an HTTP member whose topic is taken from it is one no more, and its waiting poll says why", async () => {
  const { api, time, ask, keyOf, join, members } = await polling();
  const key = await keyOf("billing");
  await allow(api.broker, "billing", [["group", "*", "read"], ["topic", "orders", "read"]]);
  const { body: { memberId } } = await join(key);
  const poll = `${members}/${memberId}:poll`;
  const waiting = api.ask("POST", poll, asBearer(key, { waitMs: 30_000 }));
  for (let turn = 0; turn < 20; turn++) await settle();
  await time.advance(2 * RECHECK_MS);
  await forget(api.broker.acls, { principal: "billing", resource: "topic" });
  const { status, body } = await passing(time, waiting);
  assert.deepEqual([status, body.code], [403, "FORBIDDEN"]);
  assert.match(body.detail, /read on topic orders/);
  const group = await ask("s3cret", "GET", "/api/groups/billing");
  assert.deepEqual(group.body.members, []);
  assert.equal((await ask(key, "POST", poll, {})).body.code, "UNKNOWN_MEMBER");
  assert.equal((await join(key)).body.code, "UNKNOWN_TOPIC");
  await api.close();
});

Deno.test("a member is unknown to other principals, of its own tenant and of others", async () => {
  const { api, ask, keyOf, join, members } = await polling();
  const mine = await keyOf("billing");
  const others = [await keyOf("rival"), await keyOf("stranger", "acme")];
  await allow(api.broker, "*", [["group", "*", "all"], ["topic", "*", "all"]]);
  const { body: { memberId, generation } } = await join(mine, { instanceId: "desk-1" });
  const at = `${members}/${memberId}`;
  const place = { topic: "orders", partition: 0, offset: 0 };
  const commit = { groupId: "billing", memberId, generation, offsets: [place] };
  const nack = { groupId: "billing", memberId, ...place };
  await api.ask("POST", "/api/messages:publish", {
    headers: { authorization: "Bearer s3cret" },
    body: { topic: "orders", messages: [{ value: "v" }] },
  });
  for (const other of others) {
    const unknown = [404, "UNKNOWN_MEMBER"];
    const codes = async (method: string, path: string, body?: object) => {
      const answer = await ask(other, method, path, body);
      return [answer.status, answer.body?.code];
    };
    assert.deepEqual(await codes("POST", `${at}:poll`, {}), unknown);
    assert.deepEqual(await codes("DELETE", at), unknown);
    assert.deepEqual(await codes("POST", "/api/offsets:commit", commit), unknown);
    assert.deepEqual(await codes("POST", "/api/messages:nack", nack), unknown);
    const transactionalId = crypto.randomUUID();
    const { body } = await ask(other, "POST", "/api/transactions", { transactionalId });
    const offsets = [{ ...place, groupId: "billing", memberId, generation }];
    const ending = `/api/transactions/${body.transactionId}:commit`;
    assert.deepEqual(await codes("POST", ending, { offsets }), unknown);
    const stolen = await join(other, { instanceId: "desk-1" });
    assert.deepEqual([stolen.status, stolen.body.code], [403, "FORBIDDEN"]);
  }
  const { body: group } = await ask("s3cret", "GET", "/api/groups/billing");
  assert.deepEqual(
    group.members.map((one: Record<string, unknown>) => [one.memberId, one.principal]),
    [[memberId, "billing"]],
  );
  assert.equal((await ask(mine, "POST", `${at}:poll`, {})).status, 200);
  assert.equal((await ask(mine, "POST", "/api/offsets:commit", commit)).status, 200);
  assert.equal((await ask("s3cret", "DELETE", at)).status, 204, "administrators may");
  await api.close();
});

Deno.test("what a token has opened ends when its subject gets a key of another tenant", async () => {
  const world = await StreamWorld.open();
  const { accessKeys } = world.broker;
  await allow(world.broker, "billing", [["group", "*", "read"], ["topic", "*", "read"]]);
  const token = principal("billing", "acme");
  const accessOf = credentials({
    adminToken: null,
    tokens: { verify: () => token },
    keys: () => accessKeys,
    clock: world.time,
  });
  const access = accessOf("a.b.c") as Access;
  assert.equal(accessOf("a.b.c"), access, "what is remembered of it stays");
  const stream = await world.consumer({ access });
  const key = { principal: "billing", digest: "00", createdBy: "admin", expiresAt: null };
  await accessKeys.create({ ...key, keyId: "1", tenant: "other" });
  assert.throws(() => accessOf("a.b.c"), { code: "UNAUTHENTICATED" });
  await world.time.advance(STREAM_LIMITS.sweepMs);
  assert.equal(closed(stream), CLOSED_REFUSED);
  await world.close();
});

Deno.test("a member is unknown to other principals also after the broker has started anew", async () => {
  const { api, time, ask, keyOf, join, members } = await polling();
  const [mine, other] = [await keyOf("billing"), await keyOf("rival")];
  await allow(api.broker, "*", [["group", "*", "all"], ["topic", "*", "all"]]);
  const { body: { memberId } } = await join(mine);
  // Another edge over the same broker knows nothing of members.
  const again = createApp({
    broker: api.broker,
    clock: time,
    randomness: { uuid: () => crypto.randomUUID(), fraction: () => 0 },
    crc32c,
    limits: DEFAULT_API_LIMITS,
    security: { adminToken: "s3cret", allowedOrigins: [] },
    version: "0.1.0-test",
    self: () => ({ host: "127.0.0.1", port: 8080, zone: null }),
    routes: [createConsuming({ timers: time }).routes],
  });
  const poll = async (token: string) =>
    (await again.request(`${members}/${memberId}:poll`, {
      method: "POST",
      headers: { authorization: `Bearer ${token}` },
    })).status;
  assert.deepEqual([await poll(other), await poll(mine), await poll(other)], [404, 200, 404]);
  assert.equal((await ask(mine, "GET", "/api/groups/billing")).body.members.length, 1);
  await api.close();
});

Deno.test("a member that comes back without a topic it lost gets nothing of it, though it is still assigned", async () => {
  const world = await StreamWorld.open({ group: { rebalanceDelayMs: 5_000 } });
  await world.broker.createTopic({ name: "letters", partitions: 1, config: TOPIC_CONFIG });
  await allow(world.broker, "billing", [["group", "*", "read"], ["topic", "*", "read"]]);
  const access = principal("billing");
  const topics = ["letters", "orders"];
  const before = await world.consumer({ access, topics });
  await world.until(() => before.last("assigned").partitions.length === 2, "both");
  const { memberId } = before.last("welcome");
  await world.time.advance(2 * RECHECK_MS);
  await deny(world.broker.acls, { pattern: "letters" });
  assert.equal(closed(before), CLOSED_REFUSED);
  await before.gone();
  for (const topic of topics) {
    const record = { key: null, value: `of ${topic}`, headers: [], timestamp: 1 };
    const batch = encodeBatch([record], { crc32c });
    await world.broker.append({ topic, partition: 0 }, [batch], { acks: "all" });
  }
  const after = await world.consumer({ access, topics: ["orders"], memberId });
  assert.equal(after.last("welcome").resumed, true);
  const { members } = await world.broker.group({ type: "Describe", group: "billing" });
  assert.equal(members[0]!.assignment.length, 2, "the group has not been assigned anew yet");
  await world.time.advance(20_000);
  const shown = JSON.stringify(after.socket.frames);
  assert.ok(shown.includes("of orders"));
  assert.equal(shown.includes("of letters"), false);
  await world.close();
});

Deno.test("a stream that names another's member becomes a member of its own", async () => {
  const world = await StreamWorld.open();
  await allow(world.broker, "*", [["group", "*", "all"], ["topic", "*", "all"]]);
  const asker = (name: string) => ({
    principal: name,
    tenant: "default",
    isAdministrator: false,
  });
  const first = await world.consumer({ access: principal("billing"), asker: asker("billing") });
  const { memberId } = first.last("welcome");
  const other = world.connect({
    access: principal("rival"),
    asker: asker("rival"),
    memberId,
  });
  await world.until(() => other.last("welcome") !== undefined, "a welcome");
  assert.notEqual(other.last("welcome").memberId, memberId);
  assert.equal(other.last("welcome").resumed, false);
  assert.equal(first.socket.closedWith, null);
  const back = world.connect({ access: principal("billing"), asker: asker("billing"), memberId });
  await world.until(() => back.last("welcome") !== undefined, "a welcome");
  assert.deepEqual([back.last("welcome").memberId, back.last("welcome").resumed], [memberId, true]);
  await world.close();
});
