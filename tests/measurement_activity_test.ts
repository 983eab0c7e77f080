// Owns proof that a broker counts what its actors do, and tells how its partitions stand.
// Refuses to own sampling. Invariant: a restart counts nothing again.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { GroupActivity } from "../actors/group/group_activity.ts";
import { NO_COUNTS } from "../actors/group/group_counts.ts";
import type { LocalBroker } from "../actors/local_broker.ts";
import { MAX_SAMPLED_PLACES, MAX_SAMPLED_REBALANCED } from "../actors/measurement/types.ts";
import { GroupGrowth } from "../ops/measurement/group_growth.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";

const NACK = { partition: 0, fraction: 0, endOffset: 3 };

async function publishThree(broker: LocalBroker, partition: number): Promise<number> {
  const records = ["a", "b", "c"].map((value) => ({ key: null, value, headers: [], timestamp: 1 }));
  const batch = encodeBatch(records, { crc32c });
  await broker.append({ topic: "orders", partition }, [batch], { acks: "all" });
  return batch.length;
}

async function join(broker: LocalBroker): Promise<void> {
  await broker.group({
    type: "Join",
    group: "billing",
    newMemberId: "m1",
    topics: ["orders"],
    partitionCounts: { orders: 2 },
    sessionTimeoutMs: 30_000,
    transport: "http",
  });
}

Deno.test("rebalances, retries and dead letters are counted when they happen, not when they are read again", async () => {
  const stores = memoryBrokerStores({
    group: { initialRebalanceDelayMs: 0, rebalanceDelayMs: 0 },
  });
  const broker = await stores.open();
  await broker.createTopic({ name: "orders", partitions: 2, config: TOPIC_CONFIG });
  await publishThree(broker, 0);
  assert.deepEqual(broker.activity().rebalances, 0);
  await join(broker);
  await stores.time.advance(100);
  const nacks = [0, 1].map((offset) => ({ ...NACK, topic: "orders", offset }));
  await broker.group({ type: "Nack", group: "billing", nacks, principal: "t" });
  const dead = [{ ...NACK, topic: "orders", offset: 2, code: "NON_RETRYABLE" }];
  await broker.group({ type: "Nack", group: "billing", nacks: dead, principal: "t" });
  const { rebalances, retries, deadLetters } = broker.activity();
  assert.deepEqual({ rebalances, retries, deadLetters }, {
    rebalances: 1,
    retries: 2,
    deadLetters: 1,
  });
  const { rebalancesByGroup, retriesByPlace, deadLettersByPlace } = broker.activity();
  assert.deepEqual([...rebalancesByGroup], [["billing", 1]]);
  assert.deepEqual([...retriesByPlace], [["billing on orders", 2]]);
  assert.deepEqual([...deadLettersByPlace], [["billing on orders", 1]]);
  await stores.time.advance(1_000);
  await broker.close();
  const again = await stores.open();
  const after = again.activity();
  assert.deepEqual([after.retries, after.deadLetters], [0, 0]);
  assert.deepEqual([after.retriesByPlace.size, after.deadLettersByPlace.size], [0, 0]);
  await again.close();
});

Deno.test("each partition tells what was appended to it and whether it serves", async () => {
  const broker = await memoryBrokerStores().open();
  await broker.createTopic({ name: "orders", partitions: 2, config: TOPIC_CONFIG });
  const bytes = await publishThree(broker, 1) + await publishThree(broker, 1);
  const orders = [...broker.activity().partitions].filter(({ topic }) => topic === "orders");
  assert.deepEqual(orders, [
    {
      topic: "orders",
      partition: 0,
      online: true,
      appendedBytes: 0,
      sizeBytes: 0,
      waiting: 0,
    },
    {
      topic: "orders",
      partition: 1,
      online: true,
      appendedBytes: bytes,
      sizeBytes: bytes,
      waiting: 0,
    },
  ]);
  await broker.close();
  assert.ok(![...broker.activity().partitions].some(({ online }) => online));
});

Deno.test("what happened in groups is told in the sample it happened in, tenants share the places", () => {
  const growth = new GroupGrowth();
  const groups = new Map(Array.from({ length: 300 }, (_, n) => [`evil.${n}`, 5]));
  groups.set("acme.o", 1);
  const none = new Map<string, number>();
  const counters = { rebalancesByGroup: groups, retriesByPlace: none, deadLettersByPlace: none };
  const tenantOf = (group: string) => group.split(".")[0];
  const { rebalancesByGroup } = growth.take(counters, tenantOf);
  assert.equal(rebalancesByGroup!.length, MAX_SAMPLED_REBALANCED);
  assert.deepEqual(rebalancesByGroup!.at(-1), { group: "acme.o", tenant: "acme", rebalances: 1 });
  const places = new Map(Array.from({ length: 30 }, (_, n) => [`g${n} on t`, n + 1]));
  const next = growth.take({ ...counters, retriesByPlace: places }, tenantOf);
  assert.deepEqual(next.rebalancesByGroup, []);
  assert.equal(Object.keys(next.retriesByPlace!).length, MAX_SAMPLED_PLACES);
  assert.equal(next.retriesByPlace!["g29 on t"], 30);
});

Deno.test("names in which nothing happened for longest are forgotten, and count anew", () => {
  const activity = new GroupActivity();
  const counted = { ...NO_COUNTS, rebalances: 1, byTopic: new Map() };
  activity.note("first", counted);
  for (let n = 0; n < 9_999; n++) activity.note(`g${n}`, counted);
  activity.note("first", counted);
  activity.note("one more", counted);
  const { rebalancesByGroup } = activity.counts();
  assert.equal(rebalancesByGroup.size, 10_000);
  assert.equal(rebalancesByGroup.get("first"), 2);
  assert.equal(rebalancesByGroup.get("g0"), undefined);
});
