// Owns the tests of connections and members that outlive their credential.
// Refuses to own single requests (api_keys_test.ts).
import assert from "node:assert/strict";
import { type Access, LOCAL_ADMINISTRATOR } from "../api/auth/access.ts";
import { digestOf, newApiKey } from "../api/auth/api_key.ts";
import { credentials } from "../api/auth/credentials.ts";
import { STREAM_LIMITS } from "../api/stream/limits.ts";
import { ALL_TOPICS_AND_GROUPS, allow } from "./support/acl_grants.ts";
import { asBearer, consumingApi } from "./support/consuming_api.ts";
import { passing } from "./support/passing_time.ts";
import { StreamWorld } from "./support/stream_fakes.ts";
import { settle } from "./support/virtual_time.ts";

const CLOSED_UNAUTHENTICATED = 4003;

/** What whoever holds a new key of `world` acts as. */
async function keyAccess(world: StreamWorld, expiresInMs: number | null) {
  const { accessKeys } = world.broker;
  await allow(world.broker, "billing", ALL_TOPICS_AND_GROUPS);
  const keyId = crypto.randomUUID();
  const key = newApiKey(keyId);
  const expiresAt = expiresInMs === null ? null : world.time.now() + expiresInMs;
  await accessKeys.create({
    keyId,
    principal: "billing",
    digest: digestOf(key).toHex(),
    createdBy: "admin",
    expiresAt,
  });
  const accessOf = credentials({
    adminToken: null,
    tokens: null,
    keys: () => accessKeys,
    clock: world.time,
  });
  return { keyId, access: accessOf(key) as Access };
}

Deno.test("a stream closes as soon as its key is revoked, is sent nothing more, and others go on", async () => {
  const world = await StreamWorld.open();
  const { keyId, access } = await keyAccess(world, null);
  const { access: kept } = await keyAccess(world, null);
  const revoked = await world.consumer({ access, group: "a" });
  const others = [
    await world.consumer({ access: kept, group: "b" }),
    await world.consumer({ access: LOCAL_ADMINISTRATOR, group: "c" }),
  ];
  await world.broker.accessKeys.delete(keyId);
  assert.equal(revoked.socket.closedWith?.code, CLOSED_UNAUTHENTICATED);
  const error = revoked.last("error");
  assert.deepEqual([error.code, error.retryable], ["UNAUTHENTICATED", false]);
  await world.publish(1);
  await world.time.advance(STREAM_LIMITS.sweepMs * 4);
  assert.deepEqual(revoked.offsets(), []);
  for (const other of others) {
    assert.equal(other.socket.closedWith, null);
    await world.until(() => other.offsets().length === 1, "the message");
  }
  await world.close();
});

Deno.test("a stream closes when its key expires, within one sweep", async () => {
  const world = await StreamWorld.open();
  const { access } = await keyAccess(world, 10_000);
  const client = await world.consumer({ access });
  await world.time.advance(10_000 - world.time.monotonic() - 1);
  const isOpen = () => client.socket.closedWith === null;
  assert.ok(isOpen());
  await world.time.advance(STREAM_LIMITS.sweepMs + 1);
  assert.equal(client.socket.closedWith?.code, CLOSED_UNAUTHENTICATED);
  assert.match(client.socket.closedWith!.reason, /expired/);
  await world.close();
});

/** The API over a broker in memory, with topic `orders` and a member of a key that polls over HTTP. */
async function pollingMember(expiresInMs: number | null) {
  const { api, time, askAs } = await consumingApi({ adminToken: "s3cret" });
  await allow(api.broker, "billing", [["group", "billing", "read"], ["topic", "orders", "read"]]);
  const expiry = expiresInMs === null ? {} : { expiresAt: time.now() + expiresInMs };
  const { body: { key, keyId } } = await askAs("s3cret", "POST", "/api/keys", {
    principal: "billing",
    ...expiry,
  });
  const members = "/api/groups/billing/members";
  const joined = await askAs(key, "POST", members, { topics: ["orders"] });
  assert.equal(joined.status, 200);
  const poll = `${members}/${joined.body.memberId}:poll`;
  return { api, time, key, keyId, askAs, poll };
}

Deno.test("an HTTP member whose key is revoked is one no more, and its waiting poll says why", async () => {
  const { api, time, key, keyId, askAs, poll } = await pollingMember(null);
  const waiting = api.ask("POST", poll, asBearer(key, { waitMs: 30_000 }));
  for (let turn = 0; turn < 20; turn++) await settle();
  await askAs("s3cret", "DELETE", `/api/keys/${keyId}`);
  const { status, body } = await passing(time, waiting);
  assert.deepEqual([status, body.detail], [401, "the credential has been revoked"]);
  const group = await askAs("s3cret", "GET", "/api/groups/billing");
  assert.deepEqual(group.body.members, []);
  assert.equal((await askAs(key, "POST", poll, {})).status, 401);
  assert.equal((await askAs("s3cret", "POST", poll, {})).body.code, "UNKNOWN_MEMBER");
  await api.close();
});

Deno.test("a poll waits no longer than until its key expires", async () => {
  const { api, time, key, poll } = await pollingMember(10_000);
  const waiting = api.ask("POST", poll, asBearer(key, { waitMs: 30_000 }));
  let answered = false;
  waiting.then(() => answered = true);
  for (let turn = 0; turn < 20; turn++) await settle();
  await time.advance(9_000);
  for (let turn = 0; turn < 20; turn++) await settle();
  assert.equal(answered, false);
  await time.advance(1_001);
  const { status, body } = await passing(time, waiting);
  assert.deepEqual([status, body.detail], [401, "the credential has expired"]);
  await api.close();
});
