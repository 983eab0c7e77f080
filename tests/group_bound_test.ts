// Owns the tests of how many groups one broker keeps.
// Refuses to own what each group decides. Invariant: a whole broker in memory, virtual time.
import assert from "node:assert/strict";
import { BrokerError } from "../storage/broker_error.ts";
import type { LocalBroker } from "../actors/local_broker.ts";
import { DEFAULT_RETRY_POLICY } from "../actors/group/retry/policy.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";

const MAX_GROUPS = 5;

async function scene() {
  const stores = memoryBrokerStores({ group: { maxGroups: MAX_GROUPS } });
  const broker = await stores.open();
  await broker.createTopic({ name: "orders", partitions: 1, config: TOPIC_CONFIG });
  return { broker, stores };
}

function commit(broker: LocalBroker, group: string) {
  const offsets = [{ topic: "orders", partition: 0, offset: 0, endOffset: 0 }];
  const more = { allowRewind: false, principal: "tests" };
  return broker.group({ type: "CommitOffsets", group, offsets, ...more });
}

function codeOf(work: Promise<unknown>): Promise<string | null> {
  return work.then(
    () => null,
    (error) => error instanceof BrokerError ? error.code : String(error),
  );
}

Deno.test("no command makes more groups than the broker may have, those that exist go on", async () => {
  const { broker, stores } = await scene();
  const names = Array.from({ length: 20 }, (_, number) => `g${number}`);
  const codes = await Promise.all(names.map((name) => codeOf(commit(broker, name))));
  assert.equal(codes.filter((code) => code === null).length, MAX_GROUPS);
  assert.equal(codes.filter((code) => code === "OVERLOADED").length, names.length - MAX_GROUPS);
  assert.equal((await broker.groups()).length, MAX_GROUPS);

  const known = names[codes.indexOf(null)]!;
  assert.equal(await codeOf(commit(broker, known)), null);
  const makers = (group: string) => [
    broker.group({
      type: "Join",
      group,
      newMemberId: "m",
      topics: ["orders"],
      sessionTimeoutMs: 10_000,
      transport: "http",
      partitionCounts: { orders: 1 },
    }),
    broker.group({
      type: "SetRetryPolicy",
      group,
      policy: DEFAULT_RETRY_POLICY,
      principal: "tests",
    }),
  ];
  for (const made of makers("one-more")) assert.equal(await codeOf(made), "OVERLOADED");
  for (const made of makers(known)) assert.equal(await codeOf(made), null);
  assert.equal((await broker.groups()).length, MAX_GROUPS);

  const gone = (await broker.groups()).find(({ groupId }) => groupId !== known)!.groupId;
  await broker.group({ type: "DeleteGroup", group: gone, principal: "tests" });
  assert.equal(await codeOf(commit(broker, "one-more")), null, "there is room again");
  assert.equal(await codeOf(commit(broker, "two-more")), "OVERLOADED");
  await broker.close();

  const again = await stores.open();
  assert.equal(await codeOf(commit(again, "two-more")), "OVERLOADED", "after a restart");
  assert.equal(await codeOf(commit(again, known)), null);
  await again.close();
});

function commitOf(broker: LocalBroker, tenant: string, group: string) {
  const offsets = [{ topic: "orders", partition: 0, offset: 0, endOffset: 0 }];
  const asker = { principal: `of-${tenant}`, tenant, isAdministrator: tenant === "admins" };
  const more = { allowRewind: false, principal: "tests", asker };
  return codeOf(broker.group({ type: "CommitOffsets", group, offsets, ...more }));
}

Deno.test("a tenant makes three quarters of the groups at most, also after a restart; others find room", async () => {
  const { broker, stores } = await scene();
  const names = Array.from({ length: 20 }, (_, number) => `evil${number}`);
  const codes = await Promise.all(names.map((name) => commitOf(broker, "evil", name)));
  assert.equal(codes.filter((code) => code === null).length, 3);
  assert.equal(codes.filter((code) => code === "OVERLOADED").length, 17);
  const policy = { policy: DEFAULT_RETRY_POLICY, principal: "tests" };
  const asker = { principal: "p", tenant: "evil", isAdministrator: false };
  const set = broker.group({ type: "SetRetryPolicy", group: "evil-more", ...policy, asker });
  assert.equal(await codeOf(set), "OVERLOADED");
  const known = names[codes.indexOf(null)]!;
  for (const { groupId } of await broker.groups()) {
    await broker.group({ type: "RecordState", group: groupId });
  }
  await broker.close();

  const again = await stores.open();
  assert.equal(await commitOf(again, "evil", "evil-more"), "OVERLOADED", "after a restart");
  assert.equal(await commitOf(again, "evil", known), null);
  assert.equal(await commitOf(again, "good", "first"), null);
  await again.group({ type: "DeleteGroup", group: known, principal: "tests" });
  assert.equal(await commitOf(again, "evil", "evil-more"), null, "there is room again");
  assert.equal(await commitOf(again, "evil", "evil-most"), "OVERLOADED");
  assert.equal(await commitOf(again, "admins", "theirs"), null);
  await again.close();
});
