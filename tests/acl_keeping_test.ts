// Owns the tests of what a change of the ACLs means and how they are kept.
// Refuses to own what they add up to (acl_permissions_test.ts) and the routes (acl_api_test.ts).
import assert from "node:assert/strict";
import { LocalAcls } from "../actors/acl/acls.ts";
import { type AclState, changeOfAcls, decideAcls } from "../actors/acl/decide.ts";
import type { Acl, NewAcl } from "../actors/acl/types.ts";
import { MemoryMetadataStore } from "../storage/memory/memory_metadata.ts";
import { rule } from "./support/acl_grants.ts";
import { losingMetadata } from "./support/losing_metadata.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";
import { VirtualClock } from "./support/virtual_time.ts";

function newAcl(aclId: string, about: Partial<NewAcl> = {}): NewAcl {
  return { ...rule(about), aclId, createdBy: "admin" };
}

function kept(aclId: string, about: Partial<NewAcl> = {}): Acl {
  return { ...newAcl(aclId, about), createdAt: 5 };
}

function given(...acls: Acl[]): AclState {
  return new Map(acls.map((acl) => [acl.aclId, acl]));
}

function create(state: AclState, acl: NewAcl, maxAcls = 10) {
  return decideAcls(state, { type: "CreateAcl", acl, at: 5 }, { maxAcls });
}

Deno.test("an ACL that says what another says is that one, also at the bound", () => {
  const made = create(given(), newAcl("a"));
  assert.deepEqual(made, { type: "AclCreated", acl: kept("a") });
  assert.deepEqual(changeOfAcls(made), { id: "a", entry: kept("a") });
  const again = create(given(kept("a")), newAcl("b"), 1);
  assert.deepEqual(again, { type: "AclFound", acl: kept("a") });
  assert.equal(changeOfAcls(again), null);
});

Deno.test("ACLs that differ in anything they say are two, within the bound", () => {
  const others: Partial<NewAcl>[] = [
    { principal: "audit" },
    { tenant: "acme" },
    { resource: "group" },
    { pattern: "other" },
    { patternType: "prefix" },
    { operation: "write" },
    { effect: "deny" },
  ];
  for (const about of others) {
    assert.equal(create(given(kept("a")), newAcl("b", about)).type, "AclCreated");
    assert.throws(() => create(given(kept("a")), newAcl("b", about), 1), {
      code: "LIMIT_REACHED",
    });
  }
});

Deno.test("an ACL that is not there cannot be deleted", () => {
  const command = { type: "DeleteAcl" as const, aclId: "a" };
  assert.throws(() => decideAcls(given(), command, { maxAcls: 1 }), { code: "NOT_FOUND" });
  const event = decideAcls(given(kept("a")), command, { maxAcls: 1 });
  assert.deepEqual(event, { type: "AclDeleted", acl: kept("a") });
  assert.deepEqual(changeOfAcls(event), { id: "a", entry: null });
});

function stores() {
  const clock = new VirtualClock();
  const metadata = new MemoryMetadataStore({ timers: clock, randomness: seededRandomness(1) });
  return { clock, timers: clock, metadata };
}

Deno.test("ACLs are there again after a restart, and deleted ones are not", async () => {
  const ports = stores();
  const acls = await LocalAcls.open(ports);
  await acls.create(newAcl("a"));
  const second = await acls.create(newAcl("b", { operation: "write", tenant: "acme" }));
  let told: readonly Acl[] = [];
  acls.onChanged(() => told = acls.list());
  await acls.delete("a");
  assert.deepEqual(told, [second]);
  assert.equal(acls.list(), acls.list());
  await acls.close();
  await assert.rejects(acls.create(newAcl("c")), { code: "SHUTTING_DOWN" });
  const again = await LocalAcls.open(ports);
  assert.deepEqual(again.list(), [second]);
  assert.deepEqual([again.find("b"), again.find("a")], [second, null]);
});

Deno.test("a change whose outcome is unknown is done by the next attempt, or known to be", async () => {
  for (const isKept of [true, false]) {
    const { clock, timers, metadata } = stores();
    const shaky = losingMetadata(metadata, isKept);
    const acls = await LocalAcls.open({ metadata: shaky.metadata, clock, timers });
    shaky.loseNext();
    await assert.rejects(acls.create(newAcl("a")), /got lost/);
    const made = await acls.create(newAcl("b"));
    assert.equal(made.aclId, isKept ? "a" : "b");
    shaky.loseNext();
    await assert.rejects(acls.delete(made.aclId), /got lost/);
    if (isKept) await assert.rejects(acls.delete(made.aclId), { code: "NOT_FOUND" });
    else await acls.delete(made.aclId);
    assert.deepEqual(acls.list(), []);
    assert.deepEqual(await metadata.list(["acls"]), []);
  }
});

Deno.test("what another writer has changed meanwhile is seen before anything is decided", async () => {
  const ports = stores();
  const mine = await LocalAcls.open(ports);
  await mine.create(newAcl("a"));
  const theirs = await LocalAcls.open(ports);
  let heard = 0;
  mine.onChanged(() => heard++);
  await theirs.delete("a");
  await assert.rejects(mine.delete("a"), { code: "NOT_FOUND" });
  assert.deepEqual([heard, mine.list()], [1, []]);
});
