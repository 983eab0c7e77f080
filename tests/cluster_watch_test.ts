// Owns proof of what a broker measures of its cluster: delays of followers, changes, partitions in trouble, and their series.
// Refuses to own thresholds over them (threshold_limits_test.ts).
// Invariant: whole brokers in memory and virtual time; what is counted at leaders adds up over brokers.
import assert from "node:assert/strict";
import { VERSION } from "../ops/version.ts";
import { metricsRoutes } from "../ops/metrics/routes.ts";
import { NOTHING_COUNTED } from "../ops/door/counts.ts";
import { type ClusterScene, clusterScene } from "./support/cluster_scene.ts";
import { measuredApi } from "./support/measured_api.ts";
import { TOPIC_CONFIG } from "./support/memory_broker.ts";
import { plain } from "./support/partition_scene.ts";

const CONFIG = { ...TOPIC_CONFIG, replicationFactor: 3, minInsyncReplicas: 2 };

async function orders(): Promise<{ scene: ClusterScene; leader: string; followers: string[] }> {
  const scene = await clusterScene();
  const made = await scene.until(
    scene.node("1").broker.createTopic({ name: "orders", partitions: 1, config: CONFIG }),
  );
  await scene.time.advance(1_000);
  const leader = made.partitions[0]!.leader!;
  return { scene, leader, followers: ["1", "2", "3"].filter((id) => id !== leader) };
}

const look = (scene: ClusterScene, nodeId: string) => scene.node(nodeId).watch.look();

Deno.test("the delay is how long the in-sync follower furthest behind has been so, until it leaves", async () => {
  const { scene, leader, followers } = await orders();
  const { time, node } = scene;
  assert.equal(look(scene, leader).delayMs, 0);
  for (const other of [leader, followers[1]!]) scene.network.cut(followers[0]!, other);
  const at = { topic: "orders", partition: 0 };
  await scene.until(node(leader).broker.append(at, [plain("a")], { acks: "leader" }));
  const seen: number[] = [];
  for (let second = 1; second <= 8; second++) {
    await time.advance(1_000);
    const { delayMs } = look(scene, leader);
    assert.ok(Math.abs(delayMs - second * 1_000) < 500, `${delayMs} ms after ${second} s`);
    assert.equal(look(scene, followers[1]!).delayMs, 0, "it leads nothing that is late");
    seen.push(delayMs);
  }
  assert.equal(look(scene, leader).underReplicatedPartitions, 0, "it is in sync still");
  const { inSyncChanges } = look(scene, leader);
  await time.advance(5_000);
  const after = look(scene, leader);
  assert.equal(after.delayMs, 0, "it is not in sync any more");
  assert.ok(after.underReplicatedPartitions >= 1);
  assert.ok(after.inSyncChanges > inSyncChanges);
  scene.network.heal();
  await time.advance(15_000);
  assert.deepEqual(
    [look(scene, leader).delayMs, look(scene, leader).underReplicatedPartitions],
    [0, 0],
  );
});

Deno.test("a partition that gets another leader is a change there, and an offline one is seen everywhere", async () => {
  const { scene, leader, followers } = await orders();
  const before = followers.map((id) => look(scene, id).leaderChanges);
  scene.kill(leader);
  await scene.time.advance(15_000);
  const gained = followers.map((id, at) => look(scene, id).leaderChanges - before[at]!);
  const led = followers.map((id) =>
    [...scene.node(id).cluster.partitions()].filter(({ record }) => record.leader === id).length
  );
  assert.ok(gained[0]! + gained[1]! >= 1, `${gained} of ${led}`);
  const under = followers.map((id) => look(scene, id).underReplicatedPartitions);
  assert.ok(under[0]! + under[1]! >= 1);
  scene.kill(followers[0]!);
  await scene.time.advance(15_000);
  const seen = look(scene, followers[1]!);
  assert.ok(seen.offlinePartitions + seen.underReplicatedPartitions >= 1);
});

Deno.test("the figures of the cluster are those of samples and of the metrics", async () => {
  const figures = {
    delayMs: 1_500,
    leaderChanges: 4,
    inSyncChanges: 6,
    underReplicatedPartitions: 3,
    offlinePartitions: 2,
  };
  const api = await measuredApi({
    replication: () => figures,
    routes: (measuring) => [metricsRoutes(VERSION, () => NOTHING_COUNTED, measuring, {})],
  });
  const first = await api.second();
  assert.deepEqual(
    [first.replicationDelayMs, first.underReplicatedPartitions, first.offlinePartitions],
    [1_500, 3, 2],
  );
  figures.leaderChanges += 2;
  figures.inSyncChanges += 1;
  const { leaderChanges, inSyncChanges } = await api.second();
  assert.deepEqual([leaderChanges, inSyncChanges], [2, 1]);
  const text = new TextDecoder().decode(
    await (await api.app.request("/metrics")).bytes(),
  );
  for (
    const line of [
      "waybill_replication_delay_seconds 1.5",
      "waybill_under_replicated_partitions 3",
      "waybill_offline_partitions 2",
      "waybill_leader_changes_total 6",
      "waybill_in_sync_changes_total 7",
    ]
  ) assert.ok(text.includes(`${line}\n`), line);
  await api.close();
});
