// Owns that the controller assigns, elects and hands over, on brokers that come and go.
import assert from "node:assert/strict";
import { ClusterWorld, sampleTopic } from "./support/cluster_world.ts";

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
