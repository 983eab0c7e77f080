// Owns the tests of the fence that keeps late appends of older homes of keys out of a partition.
// Refuses to own keys (cluster_message_keys_test.ts). Invariant: one partition on three brokers, its record changed by hand.
import assert from "node:assert/strict";
import type { Partition } from "../actors/partition/partition.ts";
import type { KeysTerm } from "../actors/partition/types.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { plain } from "./support/partition_scene.ts";
import { replicaScene } from "./support/replica_scene.ts";
import { settle } from "./support/virtual_time.ts";

const HOME = "home";

const hasCode = (code: string) => (error: unknown) =>
  error instanceof BrokerError && error.code === code;

const term = (leaderEpoch: number, round = 1): KeysTerm => ({ topicId: HOME, leaderEpoch, round });

const append = (partition: Partition, keysTerm: KeysTerm) =>
  partition.append([plain("x")], { acks: "all", keysTerm });

Deno.test("a partition that was told of a newer home takes nothing of an older one", async () => {
  const { node, time } = await replicaScene();
  const { partition } = node("1");
  const acked = async (keysTerm: KeysTerm) => {
    const appended = append(partition, keysTerm);
    appended.catch(() => {});
    await time.advance(100);
    return (await appended).baseOffsets[0];
  };
  assert.equal(await acked(term(4)), 0);
  assert.deepEqual(await partition.fenceKeys(term(5)), { startOffset: 0, endOffset: 1 });
  await assert.rejects(acked(term(4, 99)), hasCode("STALE_EPOCH"));
  await assert.rejects(partition.fenceKeys(term(4, 99)), hasCode("STALE_EPOCH"));
  assert.equal(await acked(term(5)), 1);
  // Another home's keys, and what has none, are not concerned.
  assert.equal(await acked({ ...term(1), topicId: "other" }), 2);
  assert.equal((await partition.fenceKeys(term(5, 3))).endOffset, 3);
  await assert.rejects(acked(term(5, 2)), hasCode("STALE_EPOCH"));
  assert.equal(await acked(term(6)), 3);
});

Deno.test("what an older home has submitted and is not written yet is refused with the rest", async () => {
  const { node, time } = await replicaScene();
  const { partition } = node("1");
  const held = Promise.withResolvers<void>();
  const { log } = node("1").replicas.find({ topicId: "x", partition: 0 })!;
  void log.turn.run(() => held.promise);
  const waiting = append(partition, term(4));
  waiting.catch(() => {});
  const fenced = partition.fenceKeys(term(5));
  held.resolve();
  await time.advance(100);
  await assert.rejects(waiting, hasCode("STALE_EPOCH"));
  assert.equal((await fenced).endOffset, 0);
});

Deno.test("a fence stands when all that was written before it can be read", async () => {
  const { node, time, network } = await replicaScene();
  const { partition } = node("1");
  network.isolate("1");
  const waiting = append(partition, term(4));
  waiting.catch(() => {});
  await settle();
  assert.equal(partition.info().logEndOffset, 1);
  let range: unknown = null;
  const fenced = partition.fenceKeys(term(5)).then((told) => range = told);
  await time.advance(1_000);
  assert.equal(range, null);
  network.heal();
  await time.advance(12_000);
  await fenced;
  assert.deepEqual(range, { startOffset: 0, endOffset: 1 });
  assert.equal((await waiting).baseOffsets[0], 0);
});

Deno.test("a partition goes by the record of the home where nobody has told it anything", async () => {
  const { node, time, records } = await replicaScene();
  const { partition } = node("1");
  const home = { topicId: HOME, partition: 0, replicas: ["2"], isr: ["2"], elr: [], leader: "2" };
  records.set({ ...home, leaderEpoch: 7 });
  await assert.rejects(append(partition, term(6)), hasCode("STALE_EPOCH"));
  const appended = append(partition, term(7));
  await time.advance(100);
  assert.equal((await appended).baseOffsets[0], 0);
});

Deno.test("a fence outlasts leadership that goes and comes back, and only a leader sets one", async () => {
  const { node, time, records } = await replicaScene();
  const { partition } = node("1");
  await partition.fenceKeys(term(5));
  records.elect("x", "2");
  await time.advance(1_000);
  await assert.rejects(partition.fenceKeys(term(6)), hasCode("NOT_LEADER"));
  records.elect("x", "1");
  await time.advance(1_000);
  await assert.rejects(append(partition, term(4)), hasCode("STALE_EPOCH"));
});
