// What actors of a broker do by themselves, where other brokers lead what they need for it.
import assert from "node:assert/strict";
import { partitionRecordKey } from "../actors/cluster/types.ts";
import { type ClusterScene, clusterScene } from "./support/cluster_scene.ts";
import { TOPIC_CONFIG } from "./support/memory_broker.ts";
import { plain } from "./support/partition_scene.ts";

const CONFIG = { ...TOPIC_CONFIG, replicationFactor: 3, minInsyncReplicas: 2 };

/** From now on `nodeId` leads the first partition of the topic, and is preferred to. */
async function moveTo(scene: ClusterScene, nodeId: string, topic: string): Promise<void> {
  const { cluster, broker } = scene.node("1");
  const { topicId } = broker.topic(topic)!;
  const { record, version } = cluster.partition(topicId, 0)!;
  const replicas = [nodeId, ...record.replicas.filter((id) => id !== nodeId)];
  const value = { ...record, replicas, leader: nodeId, leaderEpoch: record.leaderEpoch + 1 };
  const key = partitionRecordKey(topicId, 0);
  assert.ok(await scene.store.commit({ checks: [{ key, version }], sets: [{ key, value }] }));
  await scene.time.advance(1_000);
  assert.equal(cluster.partition(topicId, 0)!.record.leader, nodeId);
}

Deno.test("a dead letter is written, and its topic's making audited, wherever group, log and audit are led", async () => {
  const scene = await clusterScene();
  const { until, node, time } = scene;
  await until(node("1").broker.createTopic({ name: "orders", partitions: 3, config: CONFIG }));
  await moveTo(scene, "2", "__audit");
  const at = { topic: "orders", partition: 1 };
  await until(node("1").broker.append(at, [plain("bad")], { acks: "all" }));
  const offsets = [{ ...at, offset: 0, endOffset: 1 }];
  const commit = { type: "CommitOffsets", offsets, allowRewind: false } as const;
  await until(node("1").broker.group({ ...commit, group: "g", principal: "tests" }));
  const why = { code: "NON_RETRYABLE", reason: "no", fraction: 0 };
  const nacks = [{ ...at, offset: 0, endOffset: 1, ...why }];
  await until(node("2").broker.group({ type: "Nack", group: "g", nacks, principal: "tests" }));
  await time.advance(20_000);
  const letters = node("3").broker.topic("dlq.orders");
  assert.ok(letters !== null, scene.reports.slice(-5).join("\n"));
  const infos = await until(node("3").broker.describeTopic("dlq.orders"));
  const stored = infos.partitions.reduce((sum, { logEndOffset }) => sum + logEndOffset, 0);
  assert.equal(stored, 1);
  const query = { action: "topic.create", resource: "dlq.orders" };
  const page = await until(
    node("3").broker.audit.query({ ...query, order: "newest", at: null, limit: 5 }),
  );
  assert.deepEqual(page.entries.map(({ actor, outcome }) => [actor, outcome]), [
    ["system:dead-letters", "success"],
  ]);
});
