// Owns proof of how a partition is replicated: each rule of replicas as a test, in memory and virtual time.
// Refuses to own who is elected (the controller's tests). Invariant: elections are made by hand here.
import assert from "node:assert/strict";
import { LAG_MAX_MS, replicaScene, TOPIC_ID } from "./support/replica_scene.ts";
import { settle } from "./support/virtual_time.ts";

/** What a promise has come to, without waiting longer than now. */
async function outcome(promise: Promise<unknown>): Promise<string> {
  const settled = promise.then(() => "done", (error) => error.code ?? String(error));
  return await Promise.race([settled, settle().then(settle).then(() => "waits")]);
}

Deno.test("an append is acknowledged when every in-sync replica has synced it", async () => {
  const { time, append, same, node, network } = await replicaScene();
  const appended = append("1", "a");
  await settle();
  assert.equal(await outcome(appended), "waits");
  await time.advance(50);
  const receipt = await appended;
  assert.deepEqual([receipt.baseOffsets, receipt.inSyncReplicas], [[0], 3]);
  assert.deepEqual(await same(), ["0@1"]);
  assert.equal(node("1").partition.info().highWatermark, 1);
  network.cut("1", "3");
  const late = append("1", "b");
  late.catch(() => undefined);
  await time.advance(1_000);
  assert.equal(await outcome(late), "waits", "one in-sync replica has it not");
});

Deno.test("a replica that lags leaves the in-sync set by compare-and-set, and only then no longer counts", async () => {
  const scene = await replicaScene();
  const { time, append, network, records } = scene;
  network.cut("1", "3");
  const appended = append("1", "a");
  appended.catch(() => undefined);
  await time.advance(LAG_MAX_MS - 2_000);
  assert.equal(await outcome(appended), "waits");
  await time.advance(4_000);
  assert.equal(await outcome(appended), "done");
  assert.deepEqual(records.record(TOPIC_ID).isr, ["1", "2"]);
  network.heal();
  await time.advance(5_000);
  assert.deepEqual(records.record(TOPIC_ID).isr, ["1", "2", "3"]);
  assert.deepEqual(await scene.same(), ["0@1"]);
});

Deno.test("with fewer in sync than the topic asks nothing is appended, and the high watermark does not rise", async () => {
  const { time, append, network, node, records } = await replicaScene({ minInsync: 2 });
  network.cut("1", "2");
  network.cut("1", "3");
  const appended = append("1", "a");
  appended.catch(() => undefined);
  await time.advance(LAG_MAX_MS + 20_000);
  assert.deepEqual(records.record(TOPIC_ID).isr, ["1"]);
  assert.deepEqual(records.record(TOPIC_ID).elr, ["2", "3"]);
  assert.equal(await outcome(appended), "STORAGE_FAILED");
  assert.equal(node("1").partition.info().highWatermark, 0);
  assert.equal(await outcome(append("1", "b")), "NOT_ENOUGH_REPLICAS");
  network.heal();
  await time.advance(5_000);
  assert.equal(node("1").partition.info().highWatermark, 1);
  assert.deepEqual(records.record(TOPIC_ID).elr, []);
  const again = append("1", "c");
  await time.advance(50);
  assert.equal(await outcome(again), "done");
});

Deno.test("a new leader goes on, and the old one cuts back what nobody else has, by epoch", async () => {
  const scene = await replicaScene();
  const { time, append, network, records, node } = scene;
  const first = append("1", "a");
  await time.advance(50);
  await first;
  network.isolate("1");
  node("1").view.isCut = true;
  const lost = append("1", "only here", "and this");
  lost.catch(() => undefined);
  await time.advance(20);
  records.elect(TOPIC_ID, "2", { isr: ["2", "3"] });
  await time.advance(500);
  const next = append("2", "b");
  await time.advance(50);
  await next;
  assert.deepEqual(await scene.stored("1"), ["0@1", "1@1"]);
  network.heal();
  node("1").view.isCut = false;
  node("1").view.hear();
  assert.equal(await outcome(lost), "STORAGE_FAILED");
  await time.advance(3_000);
  assert.deepEqual(await scene.same(), ["0@1", "1@2"]);
  assert.deepEqual(records.record(TOPIC_ID).isr, ["1", "2", "3"]);
});

Deno.test("a zombie's appends are not acknowledged by those who follow another epoch", async () => {
  const { time, append, records, node } = await replicaScene();
  node("1").view.isCut = true;
  records.elect(TOPIC_ID, "2", { isr: ["2", "3"] });
  await time.advance(500);
  assert.equal(node("1").partition.leads, true, "it knows of nothing");
  const zombie = append("1", "lost");
  zombie.catch(() => undefined);
  await time.advance(5_000);
  assert.equal(await outcome(zombie), "waits");
  await time.advance(25_000);
  assert.equal(await outcome(zombie), "STORAGE_FAILED");
});

Deno.test("a leader that starts anew raises its epoch before its first append", async () => {
  const scene = await replicaScene();
  const { time, append, records } = scene;
  const first = append("1", "a");
  await time.advance(50);
  await first;
  const { leaderEpoch } = records.record(TOPIC_ID);
  scene.kill("1");
  await time.advance(100);
  await scene.start("1");
  assert.equal(records.record(TOPIC_ID).leaderEpoch, leaderEpoch + 1);
  await time.advance(500);
  const next = append("1", "b");
  await time.advance(50);
  await next;
  assert.deepEqual(await scene.same(), ["0@1", "1@2"]);
});

Deno.test("a leader is asked for nothing before it knows that all in sync have what may have been acknowledged", async () => {
  const scene = await replicaScene();
  const { time, append, records, network, node } = scene;
  const first = append("1", "a");
  await time.advance(50);
  await first;
  network.cut("2", "3");
  scene.kill("1");
  records.elect(TOPIC_ID, "2", { isr: ["2", "3"] });
  await time.advance(1_000);
  assert.equal(node("2").partition.leads, false);
  network.heal();
  await time.advance(3_000);
  assert.equal(node("2").partition.leads, true);
  assert.equal(node("2").partition.info().highWatermark, 1);
});

Deno.test("a follower refuses to serve, and says who leads", async () => {
  const { append, node } = await replicaScene();
  const error = await append("2", "a").catch((error) => error);
  assert.deepEqual([error.code, error.details], ["NOT_LEADER", { leader: "1" }]);
  const read = await node("2").partition.fetch(0, { maxBytes: 100 }).catch((error) => error);
  assert.equal(read.code, "NOT_LEADER");
});

Deno.test("who loses its lease leads no longer, until it has one again", async () => {
  const { append, node, time } = await replicaScene();
  const { view } = node("1");
  view.hasLease = false;
  view.hear();
  await settle();
  assert.equal(await outcome(append("1", "a")), "LEADER_NOT_AVAILABLE");
  view.hasLease = true;
  view.hear();
  await time.advance(500);
  const appended = append("1", "a");
  await time.advance(50);
  assert.equal(await outcome(appended), "done");
});

Deno.test("a change of the in-sync set whose answer is lost counts whoever may have joined", async () => {
  const scene = await replicaScene();
  const { time, append, records, node } = scene;
  scene.kill("3");
  records.set({ ...records.record(TOPIC_ID), isr: ["1", "2"] });
  await time.advance(100);
  node("1").view.losesAnswers = true;
  node("1").view.isCut = false;
  await scene.start("3");
  await time.advance(2_000);
  assert.deepEqual(records.record(TOPIC_ID).isr, ["1", "2", "3"]);
  node("1").view.losesAnswers = false;
  const appended = append("1", "a");
  await time.advance(1_000);
  assert.equal(await outcome(appended), "done");
  assert.deepEqual(await scene.same(), ["0@1"]);
});

Deno.test("a topic that leaves syncing to the operating system is replicated as what it has", async () => {
  const scene = await replicaScene({ durability: "os" });
  for (const value of ["a", "b"]) {
    const appended = scene.append("1", value);
    await scene.time.advance(50);
    assert.equal(await outcome(appended), "done");
  }
  assert.deepEqual(await scene.same(), ["0@1", "1@1"]);
  assert.deepEqual(scene.reports, []);
});

Deno.test("a follower whose log starts before the leader's begins anew there", async () => {
  const scene = await replicaScene({ nodes: ["1", "2"] });
  const { time, append, records, node } = scene;
  scene.kill("2");
  records.set({ ...records.record(TOPIC_ID), isr: ["1"] });
  await time.advance(100);
  for (const value of ["a", "b", "c"]) {
    const appended = append("1", value);
    await time.advance(20);
    await appended;
  }
  const leader = node("1").replicas.find({ topicId: TOPIC_ID, partition: 0 })!.log;
  await leader.log!.applyRetention({
    now: time.now(),
    retentionMs: null,
    retentionBytes: 0,
    keepFrom: 3,
  });
  const { logStartOffset } = leader.log!;
  await scene.start("2");
  await time.advance(3_000);
  assert.deepEqual(records.record(TOPIC_ID).isr, ["1", "2"]);
  assert.equal(node("2").partition.info().logStartOffset, logStartOffset);
  assert.equal(node("2").partition.info().logEndOffset, 3);
});

Deno.test("followers count for a leader that leads on in its epoch, also those that did not hear that it was without a lease", async () => {
  const { append, node, time, records, network } = await replicaScene();
  const { view } = node("1");
  const appended = append("1", "a");
  await time.advance(50);
  await appended;
  network.cut("1", "2");
  await time.advance(300);
  view.hasLease = false;
  view.hear();
  await time.advance(300);
  view.hasLease = true;
  view.hear();
  await time.advance(300);
  // Sooner than anybody takes the connection for lost.
  network.heal();
  await time.advance(LAG_MAX_MS + 2_000);
  assert.deepEqual(records.record(TOPIC_ID).isr, ["1", "2", "3"]);
  assert.equal(node("1").partition.leads, true);
});
