// Owns that the controller assigns, elects and hands over, on brokers that come and go.
import assert from "node:assert/strict";
import { cancelMoves, movesUnderWay, reassign } from "../actors/cluster/reassign.ts";
import { partitionRecordKey } from "../actors/cluster/types.ts";
import { recordOf } from "./support/cluster_samples.ts";
import {
  type ClusterBroker,
  ClusterWorld,
  identity,
  sampleTopic,
} from "./support/cluster_world.ts";

Deno.test("a new topic gets replicas on all brokers, each in sync, and a leader", async () => {
  const world = new ClusterWorld();
  const [a, b, c] = await world.startAll(["a", "b", "c"]);
  await world.putTopic(sampleTopic("orders", { partitions: 3 }));
  await world.clock.advance(500);
  const leaders = new Set<string | null>();
  for (const partition of [0, 1, 2]) {
    const record = b!.record("id-orders", partition)!;
    assert.deepEqual([...record.replicas].sort(), ["a", "b", "c"]);
    assert.deepEqual(record.isr, record.replicas);
    assert.equal(record.leader, record.replicas[0]);
    assert.equal(record.leaderEpoch, 1);
    leaders.add(record.leader);
  }
  assert.equal(leaders.size, 3);
  assert.deepEqual([a!, b!, c!].map((broker) => broker.view.controller()?.nodeId), ["a", "a", "a"]);
});

Deno.test("when a broker dies another in sync leads, and the controller's work goes on elsewhere", async () => {
  const world = new ClusterWorld();
  const [a, b] = await world.startAll(["a", "b", "c"]);
  await world.putTopic(sampleTopic("orders", { partitions: 3 }));
  await world.clock.advance(500);
  a!.kill();
  await world.clock.advance(5_000);
  assert.equal(b!.view.online().has("a"), false);
  assert.notEqual(b!.view.controller()!.nodeId, "a");
  assert.equal(b!.view.controller()!.epoch, 2);
  for (const partition of [0, 1, 2]) {
    const record = b!.record("id-orders", partition)!;
    assert.notEqual(record.leader, "a");
    assert.deepEqual([...record.isr].sort(), ["b", "c"]);
    assert.equal(record.leaderEpoch, record.replicas[0] === "a" ? 2 : 1);
  }
});

Deno.test("records of a removed topic go", async () => {
  const world = new ClusterWorld();
  const [a] = await world.startAll(["a", "b", "c"]);
  await world.putTopic(sampleTopic("orders", { partitions: 250 }));
  await world.clock.advance(500);
  assert.equal([...a!.view.partitions()].length, 250);
  await world.removeTopic("orders");
  await world.clock.advance(500);
  assert.equal([...a!.view.partitions()].length, 0);
});

Deno.test("a controller whose lease is gone commits nothing, whatever it still believes", async () => {
  const world = new ClusterWorld();
  const [a, b] = await world.startAll(["a", "b", "c"]);
  await world.putTopic(sampleTopic("orders"));
  await world.clock.advance(500);
  // It decides with what it knew, and its commit arrives when another one is the controller.
  const commit = a!.metadata.commit;
  const waiting: (() => void)[] = [];
  const late: boolean[] = [];
  a!.metadata.commit = async (transaction) => {
    if (waiting.length > 0) return await commit(transaction);
    await new Promise<void>((resolve) => waiting.push(resolve));
    const isKept = await commit(transaction);
    late.push(isKept);
    return isKept;
  };
  await world.putTopic(sampleTopic("late"));
  await world.clock.advance(100);
  assert.equal(waiting.length, 1);
  await world.store.revokeLease(a!.view.registration.leaseId!);
  await world.removeTopic("late");
  await world.clock.advance(500);
  assert.equal(b!.view.controller()!.epoch, 2);
  waiting[0]!();
  await world.clock.advance(0);
  assert.equal(late[0], false);
  assert.equal(await world.store.get(partitionRecordKey("id-late", 0)), null);
  await world.clock.advance(100);
  assert.equal(a!.controller!.term, null);
});

Deno.test("a paused controller that wakes changes nothing, and two never decide in one epoch", async () => {
  const world = new ClusterWorld();
  const brokers = await world.startAll(["a", "b", "c"]);
  await world.putTopic(sampleTopic("orders", { partitions: 3 }));
  await world.clock.advance(500);
  const [a, b] = brokers;
  a!.isCut = true;
  await world.clock.advance(6_000);
  assert.notEqual(b!.view.controller()!.nodeId, "a");
  const before = [...b!.view.partitions()];
  a!.isCut = false;
  await world.clock.advance(300);
  assert.notEqual(b!.view.controller()!.nodeId, "a");
  assert.deepEqual([...b!.view.partitions()], before);
  await world.clock.advance(2_000);
  const epochs = brokers.flatMap(({ notices }) =>
    notices.flatMap((notice) => notice.type === "controller.elected" ? [notice.epoch] : [])
  );
  assert.equal(new Set(epochs).size, epochs.length);
  assert.equal(a!.controller!.term, null);
});

Deno.test("a campaign whose outcome was not told ends with one controller", async () => {
  const world = new ClusterWorld();
  const a = await world.open("a");
  const commit = a.metadata.commit;
  let lost = 0;
  a.metadata.commit = async (transaction) => {
    const isKept = await commit(transaction);
    const isCampaign = transaction.sets?.some(({ key }) => key[1] === "controller");
    if (isCampaign && lost++ < 2) throw new Error("the answer got lost");
    return isKept;
  };
  await a.view.register(identity("a"));
  await world.clock.advance(2_000);
  assert.equal(lost, 3);
  assert.deepEqual(a.controller!.term, { nodeId: "a", epoch: 3 });
  assert.deepEqual(a.view.controller(), { nodeId: "a", epoch: 3 });
});

Deno.test("a commit of the controller whose outcome was not told is decided again from what is kept", async () => {
  const world = new ClusterWorld();
  const [a] = await world.startAll(["a", "b", "c"]);
  const commit = a!.metadata.commit;
  let lost = 0;
  a!.metadata.commit = async (transaction) => {
    const isKept = await commit(transaction);
    if (lost++ < 2) throw new Error("the answer got lost");
    return isKept;
  };
  await world.putTopic(sampleTopic("orders", { partitions: 250 }));
  await world.clock.advance(2_000);
  const records = [...a!.view.partitions()].map(({ record }) => record);
  assert.equal(records.length, 250);
  assert.ok(records.every(({ leaderEpoch }) => leaderEpoch === 1));
});

Deno.test("records that others change at the same time are decided again", async () => {
  const world = new ClusterWorld();
  const [a, b, c] = await world.startAll(["a", "b", "c"]);
  await world.putTopic(sampleTopic("orders", { partitions: 3 }));
  await world.clock.advance(500);
  const led = [...b!.view.partitions()].find(({ record }) => record.leader === "b")!;
  const commit = a!.metadata.commit;
  let isBetween = true;
  a!.metadata.commit = async (transaction) => {
    if (isBetween && transaction.sets?.some(({ key }) => key[1] === "partitions")) {
      isBetween = false;
      assert.notEqual(await b!.view.raiseLeaderEpoch(led), null);
    }
    return await commit(transaction);
  };
  c!.kill();
  await world.clock.advance(5_500);
  assert.equal(isBetween, false);
  for (const { record } of a!.view.partitions()) {
    assert.deepEqual([...record.isr].sort(), ["a", "b"]);
    assert.notEqual(record.leader, "c");
  }
  const now = a!.record("id-orders", led.record.partition)!;
  assert.deepEqual([now.leader, now.leaderEpoch], ["b", 2]);
});

Deno.test("leadership leaves a broker that shuts down before it goes, the controller's too", async () => {
  const world = new ClusterWorld();
  const [a, b] = await world.startAll(["a", "b", "c"]);
  await world.putTopic(sampleTopic("orders", { partitions: 6 }));
  await world.clock.advance(500);
  const startedMs = world.clock.monotonic();
  assert.equal(await world.passing(a!.view.leave()), 0);
  assert.ok(world.clock.monotonic() - startedMs < 500);
  assert.equal(b!.view.stateOf("a"), "draining");
  for (const { record } of b!.view.partitions()) {
    assert.notEqual(record.leader, "a");
    assert.ok(record.isr.includes("a"), "it is in sync until it goes");
  }
  await a!.stop();
  await world.clock.advance(200);
  assert.notEqual(b!.view.controller()!.nodeId, "a");
  for (const { record } of b!.view.partitions()) assert.ok(!record.isr.includes("a"));
  const again = await world.start("a");
  assert.equal(again.view.stateOf("a"), "online");
});

Deno.test("a broker that nobody can follow leaves at once, and one that is not heard within its bound", async () => {
  const world = new ClusterWorld();
  const a = await world.start("a");
  await world.putTopic(sampleTopic("orders", { replicationFactor: 1, minInsyncReplicas: 1 }));
  await world.clock.advance(500);
  assert.equal(await a.view.leave(), 1);
  const other = new ClusterWorld();
  const [x] = await other.startAll(["a", "b"], { withoutController: true });
  const key = partitionRecordKey("id-orders", 0);
  await other.store.commit({ checks: [], sets: [{ key, value: recordOf("a b") }] });
  await other.clock.advance(100);
  const startedMs = other.clock.monotonic();
  assert.equal(await other.passing(x!.view.leave({ timeoutMs: 1_000 })), 1);
  assert.equal(Math.round((other.clock.monotonic() - startedMs) / 100), 10);
});

Deno.test("leadership goes back to the first replica when it has been in sync for a while", async () => {
  const world = new ClusterWorld();
  const [a, b, c] = await world.startAll(["a", "b", "c"], { preferredAfterMs: 5_000 });
  await world.putTopic(sampleTopic("orders", { partitions: 90 }));
  await world.clock.advance(500);
  assert.ok(b && c);
  const ledBy = (nodeId: string) =>
    [...b.view.partitions()].filter(({ record }) => record.leader === nodeId).length;
  assert.deepEqual(["a", "b", "c"].map(ledBy), [30, 30, 30]);
  a!.kill();
  await world.clock.advance(5_000);
  assert.equal(ledBy("a"), 0);
  const back = await world.start("a", { preferredAfterMs: 5_000 });
  for (const kept of b.view.partitions()) {
    const leader = kept.record.leader === "b" ? b : c;
    await leader.view.changeInSync(kept, { isr: kept.record.replicas, elr: [] });
  }
  await world.clock.advance(4_000);
  assert.equal(ledBy("a"), 0);
  await world.clock.advance(1_500);
  assert.ok(ledBy("a") > 0 && ledBy("a") <= 20);
  await world.clock.advance(2_000);
  assert.deepEqual(["a", "b", "c"].map(ledBy), [30, 30, 30]);
  assert.ok(back.view.hasLease);
});

Deno.test("a drained broker is emptied, can be forgotten, and not before", async () => {
  const world = new ClusterWorld();
  const [a, b, c, d] = await world.startAll(["a", "b", "c", "d"]);
  await world.putTopic(sampleTopic("orders", { partitions: 4 }));
  await world.clock.advance(500);
  assert.ok(c);
  await b!.view.setDraining("d", true);
  await world.clock.advance(500);
  assert.equal(a!.view.stateOf("d"), "draining");
  await assert.rejects(a!.view.forget("d"), { code: "INVALID_REQUEST" });
  await catchUp(world, [a!, b!, c]);
  assert.ok([...a!.view.partitions()].every(({ record }) => !record.replicas.includes("d")));
  await assert.rejects(a!.view.forget("d"), { code: "INVALID_REQUEST" });
  await d!.stop();
  await world.clock.advance(100);
  await a!.view.forget("d");
  await world.clock.advance(100);
  assert.equal(b!.view.stateOf("d"), null);
  const again = await world.start("d", { diskId: "new" });
  assert.equal(again.view.incarnation, 2);
  await again.stop();
  await world.clock.advance(100);
  await a!.view.forget("d");
  await assert.rejects(a!.view.setDraining("d", true), { code: "NOT_FOUND" });
});

Deno.test("moves are planned, begun, followed and cancelled from any broker", async () => {
  const world = new ClusterWorld();
  const topics = [sampleTopic("orders", { partitions: 4, replicationFactor: 2 })];
  const brokers = await world.startAll(["a", "b"]);
  await world.putTopic(topics[0]!);
  await world.clock.advance(500);
  brokers.push(...await world.startAll(["c", "d"]));
  const { view } = brokers[3]!;
  const before = [...view.partitions()];
  const plan = await reassign(view, topics, { moves: "rebalance", dryRun: true });
  assert.deepEqual([...view.partitions()], before);
  assert.equal(plan.length, 4);
  assert.deepEqual(await reassign(view, topics, { moves: "rebalance", dryRun: false }), plan);
  await world.clock.advance(500);
  const progress = movesUnderWay(view, topics);
  assert.deepEqual(progress.map(({ to }) => to), plan.map(({ to }) => to));
  assert.ok(progress.every(({ missing }) => missing.length > 0));
  await cancelMoves(view, [plan[0]!]);
  assert.equal(movesUnderWay(view, topics).length, 3);
  const cancelled = view.partition("id-orders", plan[0]!.partition)!.record;
  assert.deepEqual(cancelled.replicas, plan[0]!.from);
  await catchUp(world, brokers);
  assert.equal(movesUnderWay(view, topics).length, 0);
  for (const { partition, to } of plan.slice(1)) {
    const { replicas, isr, leader } = view.partition("id-orders", partition)!.record;
    assert.deepEqual([replicas, isr], [to, to]);
    assert.ok(to.includes(leader!));
  }
});

/** Leaders take in all replicas that are there, and the controller acts on it, until both rest. */
async function catchUp(world: ClusterWorld, brokers: readonly ClusterBroker[]): Promise<void> {
  for (let round = 0; round < 10; round++) {
    for (const { view } of brokers) {
      for (const kept of [...view.partitions()]) {
        const isr = kept.record.replicas.filter((id) => view.online().has(id));
        if (kept.record.leader !== view.nodeId || isr.length === kept.record.isr.length) continue;
        await view.changeInSync(kept, { isr, elr: [] });
      }
    }
    await world.clock.advance(300);
  }
}
