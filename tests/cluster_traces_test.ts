// Traces over whole brokers: what becomes of a message is known at several of them, and told whole at each.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { encodeBatch } from "../storage/format/encode.ts";
import { partitionForKey } from "../storage/format/murmur2.ts";
import { type ClusterScene, clusterScene } from "./support/cluster_scene.ts";
import { TOPIC_CONFIG } from "./support/memory_broker.ts";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const CONFIG = { ...TOPIC_CONFIG, replicationFactor: 1, minInsyncReplicas: 1 };

function leaderOf(scene: ClusterScene, topic: string, partition: number): string {
  const { topicId } = scene.node("1").broker.topic(topic)!;
  return scene.node("1").cluster.partition(topicId, partition)!.record.leader!;
}

/** A group that another broker leads than `nodeId`. */
function groupElsewhere(scene: ClusterScene, nodeId: string): { group: string; leader: string } {
  for (let number = 0; number < 100; number++) {
    const group = `g${number}`;
    const leader = leaderOf(
      scene,
      "__groups",
      partitionForKey(new TextEncoder().encode(group), 3),
    );
    if (leader !== nodeId) return { group, leader };
  }
  throw new Error("all groups are led by one broker");
}

Deno.test("a trace is told whole at every broker, wherever its message, its group and its reader are", async () => {
  const scene = await clusterScene();
  const { until, node, time } = scene;
  await until(node("1").broker.createTopic({ name: "orders", partitions: 1, config: CONFIG }));
  const at = { topic: "orders", partition: 0 };
  const keeper = leaderOf(scene, "orders", 0);
  const { group, leader } = groupElsewhere(scene, keeper);
  const edge = ["1", "2", "3"].find((nodeId) => nodeId !== keeper && nodeId !== leader)!;
  const record = {
    key: null,
    value: "a",
    headers: [["traceparent", `00-${TRACE}-00f067aa0ba902b7-01`] as const],
    timestamp: time.now(),
  };
  const batch = encodeBatch([record], { crc32c });
  await until(node(edge).broker.append(at, [batch], { acks: "all" }));
  const spans = [{ from: 0, to: 1 }];
  node(edge).broker.traces.delivered({ ...at, group, member: "m", spans, attempt: 1 });
  await time.advance(1_000);
  await until(
    node(edge).broker.group({
      type: "CommitOffsets",
      group,
      offsets: [{ ...at, offset: 1, endOffset: 1 }],
      allowRewind: false,
      principal: "tests",
    }),
  );
  const request = { traceId: TRACE, topics: ["orders"], asker: "tests" };
  for (const nodeId of ["1", "2", "3"]) {
    const found = await until(node(nodeId).broker.traces.find(request));
    const kinds = found.events.map(({ kind }) => kind);
    assert.deepEqual(kinds.toSorted(), ["committed", "delivered", "published"], `at ${nodeId}`);
    assert.equal(found.isTruncated, false, `at ${nodeId}`);
  }
  scene.kill(keeper);
  await time.advance(10_000);
  const found = await until(node(edge).broker.traces.find(request));
  assert.deepEqual([found.events, found.isTruncated], [[], true]);
});
