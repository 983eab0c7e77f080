// Owns the tests of API keys: what a change means, how keys are kept, and what a key looks like.
// Refuses to own the routes (api_keys_test.ts).
import assert from "node:assert/strict";
import fc from "fast-check";
import { LocalAccessKeys } from "../actors/access_key/access_keys.ts";
import {
  type AccessKeyEvent,
  type AccessKeyState,
  changeOfAccessKeys,
  decideAccessKeys,
} from "../actors/access_key/decide.ts";
import type { AccessKey, NewAccessKey } from "../actors/access_key/types.ts";
import { digestOf, keyIdOf, newApiKey } from "../api/auth/api_key.ts";
import { credentials } from "../api/auth/credentials.ts";
import { MemoryMetadataStore } from "../storage/memory/memory_metadata.ts";
import { losingMetadata } from "./support/losing_metadata.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";
import { VirtualClock } from "./support/virtual_time.ts";

const NEW_KEY: NewAccessKey = {
  keyId: "k1",
  principal: "billing",
  digest: "00".repeat(32),
  createdBy: "admin",
  expiresAt: null,
};

function created(key: Partial<NewAccessKey>): AccessKeyEvent {
  const whole = { ...NEW_KEY, ...key };
  return {
    type: "KeyCreated",
    key: { ...whole, tenant: whole.tenant ?? "default", createdAt: 5 },
  };
}

function given(...events: AccessKeyEvent[]): AccessKeyState {
  const state = new Map<string, AccessKey>();
  for (const event of events) {
    const { id, entry } = changeOfAccessKeys(event);
    if (entry === null) state.delete(id);
    else state.set(id, entry);
  }
  return state;
}

function create(state: AccessKeyState, key: Partial<NewAccessKey>, maxKeys = 10) {
  return decideAccessKeys(state, { type: "CreateKey", key: { ...NEW_KEY, ...key }, at: 5 }, {
    maxKeys,
  });
}

Deno.test("a key without tenant gets the one of its principal's other keys, else the default one", () => {
  assert.deepEqual(create(given(), {}), created({}));
  const state = given(created({ tenant: "acme" }));
  assert.deepEqual(create(state, { keyId: "k2" }), created({ keyId: "k2", tenant: "acme" }));
  const other = { keyId: "k2", principal: "audit" };
  assert.deepEqual(create(state, other), created(other));
});

Deno.test("a principal has keys of one tenant only", () => {
  const state = given(created({ tenant: "acme" }));
  assert.throws(() => create(state, { keyId: "k2", tenant: "default" }), {
    code: "INVALID_REQUEST",
  });
  const moved = given(created({ tenant: "acme" }), { type: "KeyDeleted", keyId: "k1" });
  assert.doesNotThrow(() => create(moved, { keyId: "k2", tenant: "default" }));
});

Deno.test("a key that has expired already is refused, and so is one beyond the bound", () => {
  assert.throws(() => create(given(), { expiresAt: 5 }), { code: "INVALID_REQUEST" });
  assert.doesNotThrow(() => create(given(), { expiresAt: 6 }));
  assert.throws(() => create(given(created({})), { keyId: "k2" }, 1), { code: "LIMIT_REACHED" });
});

Deno.test("a key that is not there cannot be deleted", () => {
  const command = { type: "DeleteKey" as const, keyId: "k1" };
  assert.throws(() => decideAccessKeys(given(), command, { maxKeys: 1 }), { code: "NOT_FOUND" });
  const event = decideAccessKeys(given(created({})), command, { maxKeys: 1 });
  assert.deepEqual(event, { type: "KeyDeleted", keyId: "k1" });
});

function stores() {
  const time = new VirtualClock();
  const metadata = new MemoryMetadataStore({ timers: time, randomness: seededRandomness(1) });
  return { time, metadata };
}

Deno.test("keys are there again after a restart, and deleted ones are not", async () => {
  const { time, metadata } = stores();
  const keys = await LocalAccessKeys.open({ metadata, clock: time, timers: time });
  const first = await keys.create(NEW_KEY);
  const second = await keys.create({ ...NEW_KEY, keyId: "k2", principal: "audit" });
  let heard = 0;
  keys.onDeleted(() => heard++);
  await keys.delete("k1");
  assert.equal(heard, 1);
  assert.equal(keys.find("k1"), null);
  await keys.close();
  await assert.rejects(keys.create(NEW_KEY), { code: "SHUTTING_DOWN" });
  const again = await LocalAccessKeys.open({ metadata, clock: time, timers: time });
  assert.deepEqual(again.list(), [second]);
  assert.equal(first.createdAt, time.now());
});

Deno.test("a key whose deletion had an unknown outcome is deleted by the next attempt, or known to be", async () => {
  for (const isKept of [true, false]) {
    const { time, metadata } = stores();
    const shaky = losingMetadata(metadata, isKept);
    const keys = await LocalAccessKeys.open({
      metadata: shaky.metadata,
      clock: time,
      timers: time,
    });
    await keys.create(NEW_KEY);
    shaky.loseNext();
    await assert.rejects(keys.delete("k1"), /got lost/);
    if (isKept) await assert.rejects(keys.delete("k1"), { code: "NOT_FOUND" });
    else await keys.delete("k1");
    assert.equal(keys.find("k1"), null);
    assert.deepEqual(await metadata.list(["access-keys"]), []);
  }
});

Deno.test("a key names its id, differs each time, and may stand in a subprotocol", () => {
  const keyId = "5b0c1d3e-8f61-4a39-9d58-0d6a4c1f7f10";
  const key = newApiKey(keyId);
  assert.equal(keyIdOf(key), keyId);
  assert.notEqual(newApiKey(keyId), key);
  assert.match(key, /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/);
  assert.equal(keyIdOf(`${key}x`), null);
});

Deno.test("nothing but the whole key opens anything, whichever character differs", async () => {
  const { time, metadata } = stores();
  const keys = await LocalAccessKeys.open({ metadata, clock: time, timers: time });
  const keyId = "5b0c1d3e-8f61-4a39-9d58-0d6a4c1f7f10";
  const key = newApiKey(keyId);
  await keys.create({ ...NEW_KEY, keyId, digest: digestOf(key).toHex() });
  const accessOf = credentials({
    adminToken: null,
    tokens: null,
    keys: () => keys,
    clock: time,
  });
  assert.equal((accessOf(key) as { principal: string }).principal, "billing");
  assert.equal(accessOf(key), accessOf(key));
  const wrong = fc.tuple(fc.nat(key.length - 1), fc.constantFrom("a", "B", "0", "-", "_", "é"));
  fc.assert(fc.property(wrong, ([at, character]) => {
    const changed = key.slice(0, at) + character + key.slice(at + 1);
    if (changed !== key) assert.throws(() => accessOf(changed), { code: "UNAUTHENTICATED" });
  }));
  for (const text of ["", "wbk_", key.slice(0, -1), `${key}=`, "x".repeat(100_000)]) {
    assert.throws(() => accessOf(text), { code: "UNAUTHENTICATED" });
  }
});
