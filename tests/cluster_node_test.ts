// Owns proof that whole brokers are one cluster: any of them answers, and any of them may die.
// Refuses to own real sockets and stores (e2e tests), and random faults (sim/). Invariant: memory and virtual time.
import assert from "node:assert/strict";
import type { Broker } from "../actors/broker.ts";
import { decodeBatch } from "../storage/format/decode.ts";
import { batchSpans } from "../storage/format/record_batch.ts";
import { type ClusterScene, clusterScene } from "./support/cluster_scene.ts";
import { TOPIC_CONFIG } from "./support/memory_broker.ts";
import { plain } from "./support/partition_scene.ts";

const CONFIG = { ...TOPIC_CONFIG, replicationFactor: 3, minInsyncReplicas: 2 };

async function readAll(
  broker: Broker,
  at: { topic: string; partition: number },
): Promise<string[]> {
  const { batches } = await broker.fetch(at, 0, { maxBytes: 1_000_000 });
  return [...batchSpans(batches)].flatMap(({ at }) =>
    decodeBatch(batches, at, { maxDecompressedBytes: 1_000_000 })
      .map(({ value }) => new TextDecoder().decode(value!))
  );
}

const orders = (scene: ClusterScene, partitions = 3) =>
  scene.until(scene.node("1").broker.createTopic({ name: "orders", partitions, config: CONFIG }));

Deno.test("a topic is led by several brokers, and any broker takes what belongs to another", async () => {
  const scene = await clusterScene();
  const { until, node } = scene;
  const made = await orders(scene);
  assert.equal(made.partitions.length, 3);
  assert.equal(new Set(made.partitions.map(({ leader }) => leader)).size >= 2, true);
  for (const [index, nodeId] of ["1", "2", "3", "1"].entries()) {
    const at = { topic: "orders", partition: 0 };
    const receipt = await until(
      node(nodeId).broker.append(at, [plain(`m${index}`)], { acks: "all" }),
    );
    assert.deepEqual([receipt.baseOffsets, receipt.inSyncReplicas], [[index], 3]);
  }
  for (const nodeId of ["1", "2", "3"]) {
    const read = await until(readAll(node(nodeId).broker, { topic: "orders", partition: 0 }));
    assert.deepEqual(read, ["m0", "m1", "m2", "m3"]);
  }
});

Deno.test("brokers that start, and change what topics there are, have nothing to complain of", async () => {
  const scene = await clusterScene();
  await orders(scene);
  await scene.time.advance(2_000);
  const complaints = scene.reports.filter((said) =>
    !/controller|partition \d+ of|actor.loaded/.test(said)
  );
  assert.deepEqual(complaints, []);
});

Deno.test("what was acknowledged is there after its leader has died, and publishing goes on", async () => {
  const scene = await clusterScene();
  const { until, node, time } = scene;
  const { partitions } = await orders(scene, 1);
  const at = { topic: "orders", partition: 0 };
  await until(node("1").broker.append(at, [plain("a")], { acks: "all" }));
  const leader = partitions[0]!.leader!;
  const other = ["1", "2", "3"].find((nodeId) => nodeId !== leader)!;
  scene.kill(leader);
  const diedAt = time.monotonic();
  const receipt = await until(node(other).broker.append(at, [plain("b")], { acks: "all" }));
  assert.deepEqual(receipt.baseOffsets, [1]);
  assert.ok(time.monotonic() - diedAt < 6_000, `${time.monotonic() - diedAt} ms`);
  assert.deepEqual(await until(readAll(node(other).broker, at)), ["a", "b"]);
  await scene.start(leader);
  await time.advance(20_000);
  const info = await until(node(leader).broker.partitionInfo(at));
  assert.equal(info.isr.length, 3);
  assert.deepEqual(await until(readAll(node(leader).broker, at)), ["a", "b"]);
});

Deno.test("offsets that were committed anywhere are there after the group's broker has died", async () => {
  const scene = await clusterScene();
  const { until, node } = scene;
  await orders(scene);
  const at = { topic: "orders", partition: 0 };
  await until(node("2").broker.append(at, [plain("a", "b")], { acks: "all" }));
  const commit = (nodeId: string, offset: number) =>
    until(
      node(nodeId).broker.group({
        type: "CommitOffsets",
        group: "billing",
        offsets: [{ ...at, offset, endOffset: 2 }],
        allowRewind: false,
        principal: "tests",
      }),
    );
  await commit("1", 1);
  for (const nodeId of ["1", "2", "3"]) {
    const described = await until(
      node(nodeId).broker.group({ type: "Describe", group: "billing" }),
    );
    assert.equal(described.offsets[0]?.offset, 1, `at ${nodeId}`);
  }
  const groups = scene.node("1").local.topic("__groups")!;
  const led = [...node("1").cluster.partitions()]
    .filter(({ record }) => record.topicId === groups.topicId).map(({ record }) => record.leader!);
  scene.kill(led[0]!);
  const left = ["1", "2", "3"].find((nodeId) => nodeId !== led[0])!;
  await commit(left, 2);
  const described = await until(node(left).broker.group({ type: "Describe", group: "billing" }));
  assert.equal(described.offsets[0]?.offset, 2);
});

Deno.test("a broker that is closed gives its leadership away first", async () => {
  const scene = await clusterScene();
  const { until, node } = scene;
  await orders(scene);
  await until(node("1").close());
  scene.kill("1");
  for (const { record } of node("2").cluster.partitions()) {
    assert.notEqual(record.leader, "1", `${record.topicId}/${record.partition}`);
  }
  const receipt = await until(
    node("2").broker.append({ topic: "orders", partition: 0 }, [plain("a")], { acks: "all" }),
  );
  assert.equal(receipt.inSyncReplicas, 2);
});

Deno.test("whoever names the zone of a broker reads its replica, as far as that knows what may be read", async () => {
  const scene = await clusterScene();
  const { until, node, time, network } = scene;
  const { partitions } = await orders(scene, 1);
  const at = { topic: "orders", partition: 0 };
  const follower = ["1", "2", "3"].find((nodeId) => nodeId !== partitions[0]!.leader)!;
  const publish = (value: string) =>
    until(node(partitions[0]!.leader!).broker.append(at, [plain(value)], { acks: "all" }));
  const near = { maxBytes: 1_000, zone: `zone-${follower}` };
  await publish("a");
  const first = await until(node(follower).broker.fetch(at, 0, near));
  assert.ok(first.batches.length > 0, "from the leader, while the replica does not know yet");
  await time.advance(1_000);
  network.isolate(follower);
  const found = await until(node(follower).broker.fetch(at, 0, near));
  assert.deepEqual([found.batches.length > 0, found.highWatermark], [true, 1]);
  const far = node(follower).broker.fetch(at, 0, { maxBytes: 1_000 });
  await assert.rejects(until(far), "only the leader answers without a zone");
});
