// Members of groups at brokers that do not lead their group, over whole brokers: word from the group follows its shard.
import assert from "node:assert/strict";
import { MemberLink } from "../api/stream/member_link.ts";
import type { GroupNotification } from "../actors/group/types.ts";
import { partitionForKey } from "../storage/format/murmur2.ts";
import { type ClusterScene, clusterScene } from "./support/cluster_scene.ts";
import { TOPIC_CONFIG } from "./support/memory_broker.ts";
import { plain } from "./support/partition_scene.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";

const CONFIG = { ...TOPIC_CONFIG, replicationFactor: 3, minInsyncReplicas: 2 };

function leaderOf(scene: ClusterScene, at: string, topic: string, partition: number): string {
  const { topicId } = scene.node(at).broker.topic(topic)!;
  return scene.node(at).cluster.partition(topicId, partition)!.record.leader!;
}

function shardLeader(scene: ClusterScene, at: string): string {
  return leaderOf(scene, at, "__groups", partitionForKey(new TextEncoder().encode("billing"), 3));
}

async function member(scene: ClusterScene, nodeId: string, seed: number) {
  const heard: GroupNotification[] = [];
  const link = new MemberLink({
    broker: scene.node(nodeId).broker,
    randomness: seededRandomness(seed),
    group: "billing",
    onNotification: (word) => heard.push(word),
    onError: (error) => scene.reports.push(String(error)),
  });
  await scene.until(link.join({
    group: "billing",
    topics: ["orders"],
    transport: "websocket",
    sessionTimeoutMs: 30_000,
  }));
  link.listen();
  await scene.time.advance(100);
  const assigned = () => heard.findLast(({ type }) => type === "assigned");
  return { link, heard, assigned };
}

Deno.test("members at other brokers go on when the broker that leads their group dies", async () => {
  const scene = await clusterScene();
  const spec = { name: "orders", partitions: 4, config: CONFIG };
  await scene.until(scene.node("1").broker.createTopic(spec));
  const leader = shardLeader(scene, "1");
  const [here, there] = ["1", "2", "3"].filter((nodeId) => nodeId !== leader) as [string, string];
  const first = await member(scene, here, 1);
  const alone = first.assigned();
  assert.equal(alone?.type === "assigned" && alone.partitions.length, 4);
  const before = first.heard.length;
  scene.kill(leader);
  await scene.time.advance(12_000);
  assert.notEqual(shardLeader(scene, here), leader);
  const looked = first.heard.slice(before).map(({ type }) => type);
  assert.ok(looked.includes("assigned") && !looked.includes("removed"), `it hears ${looked}`);
  assert.equal((await scene.until(first.link.heartbeat()))?.assignment.length, 4);
  // The new leader's word reaches it: another member takes a part of what it has.
  const second = await member(scene, there, 2);
  await scene.time.advance(200);
  const revoked = first.heard.findLast(({ type }) => type === "revoked");
  assert.equal(revoked?.type === "revoked" && revoked.partitions.length, 2);
  await scene.until(first.link.release(revoked?.type === "revoked" ? revoked.partitions : []));
  await scene.time.advance(200);
  const both = [first, second].map(({ assigned }) => assigned());
  assert.deepEqual(both.map((word) => word?.type === "assigned" && word.partitions.length), [2, 2]);
});

Deno.test("a reader at another broker waits for data of a partition whose leader dies, and gets it", async () => {
  const scene = await clusterScene();
  const spec = { name: "orders", partitions: 1, config: CONFIG };
  await scene.until(scene.node("1").broker.createTopic(spec));
  const leader = leaderOf(scene, "1", "orders", 0);
  const [here, there] = ["1", "2", "3"].filter((nodeId) => nodeId !== leader) as [string, string];
  const at = { topic: "orders", partition: 0 };
  let waited = false;
  const waiting = scene.node(here).broker.waitForData(at, 0, { timeoutMs: 60_000 })
    .then(() => waited = true);
  await scene.time.advance(1_000);
  scene.kill(leader);
  await scene.time.advance(8_000);
  assert.ok(!waited);
  await scene.until(scene.node(there).broker.append(at, [plain("a")], { acks: "all" }));
  await scene.until(waiting, 1_000);
});
