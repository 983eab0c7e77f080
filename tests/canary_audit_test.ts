// Owns tests of what of a withdrawal outlives the broker: one audit entry, whatever was lost, and who is listed.
// Refuses to own the withdrawal itself. Invariant: brokers in memory over the same stores.
import assert from "node:assert/strict";
import { DEFAULT_CANARY_RULES } from "../actors/group/canary/types.ts";
import { recordWithdrawal } from "../actors/audit/system_actions.ts";
import type { LocalBroker } from "../actors/local_broker.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";
import { settle } from "./support/virtual_time.ts";

const GROUP = "billing";

async function entriesOf(broker: LocalBroker) {
  await settle();
  const { entries } = await broker.audit.query({
    action: "canary.withdraw",
    order: "oldest",
    at: null,
    limit: 100,
  });
  return entries;
}

/** Two members of which one is a canary that nacks what it gets. */
async function withdraw(broker: LocalBroker, advance: (ms: number) => Promise<void>) {
  await broker.createTopic({ name: "orders", partitions: 2, config: TOPIC_CONFIG });
  const join = (newMemberId: string, version: string) =>
    broker.group({
      type: "Join",
      group: GROUP,
      newMemberId,
      version,
      topics: ["orders"],
      sessionTimeoutMs: 3_600_000,
      transport: "http",
      partitionCounts: { orders: 2 },
    });
  await join("a", "v1");
  await join("c", "v2");
  await advance(5_000);
  await broker.group({
    type: "SetCanary",
    group: GROUP,
    version: "v2",
    percent: 50,
    rules: { ...DEFAULT_CANARY_RULES, minObservations: 20 },
    reason: null,
    principal: "op",
    dryRun: false,
  });
  await advance(5_000);
  const { members } = await broker.group({ type: "Describe", group: GROUP });
  const partitionOf = (id: string) =>
    members.find(({ memberId }) => memberId === id)!.assignment[0]!.partition;
  const commit = (memberId: string, offset: number) =>
    broker.group({
      type: "CommitOffsets",
      group: GROUP,
      memberId,
      offsets: [{ topic: "orders", partition: partitionOf(memberId), offset, endOffset: 1_000 }],
      allowRewind: false,
      principal: "op",
    });
  await commit("a", 1);
  await commit("a", 100);
  await broker.group({
    type: "Nack",
    group: GROUP,
    memberId: "c",
    principal: "op",
    nacks: Array.from({ length: 20 }, (_, offset) => ({
      topic: "orders",
      partition: partitionOf("c"),
      offset,
      fraction: 0,
      endOffset: 1_000,
    })),
  });
}

Deno.test("a withdrawal is one audit entry, also after the broker was started again, and its group is listed again", async () => {
  const { time, open } = memoryBrokerStores();
  const broker = await open();
  await withdraw(broker, (ms) => time.advance(ms));
  const [entry, ...more] = await entriesOf(broker);
  assert.equal(more.length, 0);
  assert.deepEqual([entry?.actor, entry?.resource?.name], ["system:canary-judge", GROUP]);
  assert.equal(broker.activity().canariesWithdrawn, 1);
  await broker.close();

  const again = await open();
  assert.equal((await entriesOf(again)).length, 1);
  const [listed] = again.activity().canaries;
  assert.deepEqual([listed?.group, listed?.state, listed?.version], [GROUP, "withdrawn", "v2"]);
  assert.equal(again.activity().canariesWithdrawn, 0, "it was counted in its own life");
  const remove = { type: "RemoveCanary", group: GROUP, reason: null, principal: "op" } as const;
  await again.group(remove);
  assert.deepEqual(again.activity().canaries, []);
  await again.close();
});

Deno.test("a withdrawal whose audit entry was lost is recorded when it is told again, once", async () => {
  const { open } = memoryBrokerStores();
  const broker = await open();
  const counts = { answered: 20, nacked: 20, deadLettered: 0, lostSessions: 0 };
  const withdrawn = { version: "v2", at: 0, reason: "nacks", canary: counts, rest: counts };
  const faults: string[] = [];
  const ports = { report: ({ message }: { message: string }) => void faults.push(message) };
  for (let start = 0; start < 3; start++) {
    recordWithdrawal(broker.audit, ports, { group: GROUP, withdrawn, again: true });
    assert.equal((await entriesOf(broker)).length, 1);
  }
  // Another group's, and one after this, are others.
  recordWithdrawal(broker.audit, ports, { group: "other", withdrawn, again: true });
  assert.equal((await entriesOf(broker)).length, 2);
  await broker.close();
  recordWithdrawal(broker.audit, ports, { group: GROUP, withdrawn, again: true });
  await settle();
  assert.equal(faults.length, 1);
});
