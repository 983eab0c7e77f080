// Owns that a broker is registered as long as its lease holds, once a node id, and that its disk is known (rules 8 and 9).
import assert from "node:assert/strict";
import { NodeIdTakenError } from "../actors/cluster/registration.ts";
import { partitionRecordKey } from "../actors/cluster/types.ts";
import { ClusterWorld, identity, sampleTopic } from "./support/cluster_world.ts";
import { recordOf } from "./support/cluster_samples.ts";

Deno.test("brokers see each other while they renew, and no longer when one is gone", async () => {
  const world = new ClusterWorld();
  const [a, b] = await world.startAll(["a", "b"]);
  assert.deepEqual([...a!.view.online().keys()].sort(), ["a", "b"]);
  await world.clock.advance(60_000);
  assert.equal(b!.view.stateOf("a"), "online");
  assert.ok(a!.view.hasLease);
  a!.kill();
  await world.clock.advance(3_000);
  assert.equal(b!.view.stateOf("a"), "online");
  await world.clock.advance(1_500);
  assert.equal(b!.view.stateOf("a"), "offline");
  assert.equal(b!.view.members().get("a")!.incarnation, 1);
});

Deno.test("a broker that is cut from the store has no lease before the store has none, and registers anew", async () => {
  const world = new ClusterWorld();
  const [a, b] = await world.startAll(["a", "b"]);
  let changes = 0;
  const renewLease = a!.metadata.renewLease;
  a!.metadata.renewLease = async (leaseId) => {
    const holds = await renewLease(leaseId);
    await new Promise<void>((resolve) => world.clock.after(300, resolve));
    return holds;
  };
  await world.clock.advance(10_400);
  a!.view.onChanged(() => changes++);
  a!.isCut = true;
  while (a!.view.hasLease) {
    assert.ok(b!.view.online().has("a"), "the lease ended in the store before it ended here");
    await world.clock.advance(50);
  }
  assert.ok(changes > 0, "nobody was told that the lease has ended");
  assert.equal(a!.view.stateOf("a"), "fenced");
  await world.clock.advance(2_000);
  assert.equal(b!.view.online().has("a"), false);
  a!.isCut = false;
  await world.clock.advance(1_500);
  assert.ok(a!.view.hasLease);
  assert.equal(a!.view.incarnation, 2);
  assert.equal(b!.view.online().get("a")!.incarnation, 2);
});

Deno.test("a lease that is gone, whatever its owner believes, is noticed at the next renewal", async () => {
  const world = new ClusterWorld();
  const a = await world.start("a");
  await world.store.revokeLease(a.view.registration.leaseId!);
  await world.clock.advance(100);
  assert.equal(a.view.incarnation, 2);
  assert.ok(a.view.hasLease);
  assert.equal(a.view.online().get("a")!.incarnation, 2);
});

Deno.test("a second broker with a node id that is taken is refused, and the first goes on", async () => {
  const world = new ClusterWorld();
  const first = await world.start("a");
  const second = await world.open("a", { diskId: "another" });
  await assert.rejects(
    world.passing(second.view.register(identity("a", { diskId: "another" }))),
    (error) => error instanceof NodeIdTakenError && /node id a/.test(error.message),
  );
  assert.equal(second.view.hasLease, false);
  assert.equal(first.view.incarnation, 1);
  assert.ok(first.view.hasLease && !first.view.isSuperseded);
});

Deno.test("a broker that starts again need not wait for its old lease", async () => {
  const world = new ClusterWorld();
  const first = await world.start("a");
  first.kill();
  const again = await world.open("a");
  await again.view.register(identity("a"));
  assert.equal(again.view.incarnation, 2);
  await world.clock.advance(10_000);
  assert.equal(again.view.incarnation, 2);
  assert.deepEqual(again.view.online().get("a")!.incarnation, 2);
});

Deno.test("a process whose registration another one took over is never that broker again", async () => {
  const world = new ClusterWorld();
  const first = await world.start("a");
  const second = await world.open("a");
  await second.view.register(identity("a"));
  await world.clock.advance(20_000);
  assert.ok(first.view.isSuperseded && !first.view.hasLease);
  assert.equal(second.view.incarnation, 2);
  assert.ok(second.view.hasLease);
});

Deno.test("a process that slept while another one took over gives way when it wakes", async () => {
  const world = new ClusterWorld();
  const first = await world.start("a");
  first.isCut = true;
  await world.clock.advance(6_000);
  const second = await world.start("a");
  first.isCut = false;
  await world.clock.advance(20_000);
  assert.ok(first.view.isSuperseded && !first.view.hasLease);
  assert.ok(second.view.hasLease && !second.view.isSuperseded);
});

Deno.test("a registration whose outcome was not told is not taken for another broker's", async () => {
  const world = new ClusterWorld();
  const a = await world.start("a", { withoutController: true });
  const commit = a.metadata.commit;
  await world.store.revokeLease(a.view.registration.leaseId!);
  let lost = 0;
  a.metadata.commit = async (transaction) => {
    const isKept = await commit(transaction);
    if (lost++ < 2) throw new Error("the answer got lost");
    return isKept;
  };
  await world.clock.advance(10_000);
  assert.equal(lost, 3);
  assert.ok(a.view.hasLease && !a.view.isSuperseded);
  assert.equal(a.view.incarnation, 4);
});

Deno.test("a broker with another disk counts nowhere as having anything before it is there again", async () => {
  const world = new ClusterWorld();
  const [a, b, c] = await world.startAll(["a", "b", "c"]);
  await world.putTopic(sampleTopic("orders", { partitions: 150 }));
  await world.clock.advance(500);
  c!.kill();
  b!.controller!.close();
  const seen: boolean[] = [];
  a!.view.onChanged(() => {
    const isBack = a!.view.online().get("c")?.diskId === "new";
    if (isBack) seen.push([...a!.view.partitions()].some(({ record }) => record.isr.includes("c")));
  });
  // The old lease still holds when the new process comes.
  await world.start("c", { diskId: "new" });
  await world.clock.advance(500);
  assert.ok(seen.length > 0 && !seen.includes(true));
  for (const { record } of a!.view.partitions()) {
    assert.notEqual(record.leader, "c");
    assert.deepEqual([...record.isr].sort(), ["a", "b"]);
  }
});

Deno.test("a broker with the same disk counts as before", async () => {
  const world = new ClusterWorld();
  const [a, b, c] = await world.startAll(["a", "b", "c"]);
  await world.putTopic(sampleTopic("orders", { partitions: 6 }));
  await world.clock.advance(500);
  const before = [...a!.view.partitions()];
  assert.ok(b);
  c!.kill();
  await world.start("c");
  await world.clock.advance(500);
  assert.deepEqual([...a!.view.partitions()], before);
});

Deno.test("when the last replica in sync comes with another disk, that is told and nobody leads", async () => {
  const world = new ClusterWorld();
  const key = partitionRecordKey("id-orders", 0);
  const value = recordOf("a b", { isr: ["b"], leader: "b" });
  await world.putTopic(sampleTopic("orders", { replicationFactor: 2 }));
  await world.store.commit({ checks: [], sets: [{ key, value }] });
  const a = await world.start("a");
  assert.equal(a.record("id-orders")!.leader, null);
  const b = await world.start("b", { diskId: "new" });
  await world.clock.advance(2_000);
  assert.equal(b.lost.length, 1);
  assert.equal(b.record("id-orders")!.leader, null);
  const lossy = sampleTopic("orders", { replicationFactor: 2, uncleanLeaderElection: true });
  await world.putTopic(lossy);
  await world.clock.advance(500);
  const led = b.record("id-orders")!;
  assert.deepEqual([led.leader, led.isr, led.lost], ["a", ["a"], undefined]);
});

Deno.test("a broker that closes is gone at once", async () => {
  const world = new ClusterWorld();
  const [a, b] = await world.startAll(["a", "b"]);
  await a!.stop();
  await world.clock.advance(50);
  assert.equal(b!.view.stateOf("a"), "offline");
  assert.equal(b!.view.controller()!.nodeId, "b");
});
