// Owns proof that users are told of a cluster what any of its brokers sees: controller, brokers, partitions in trouble.
import assert from "node:assert/strict";
import { describeCluster } from "../actors/cluster/describe_cluster.ts";
import { apiUnderTest } from "./support/api_app.ts";
import { ClusterWorld, sampleTopic } from "./support/cluster_world.ts";

const address = (nodeId: string, zone: string | null, state = "online") => ({
  nodeId,
  zone,
  state,
});

Deno.test("a cluster names its controller, its brokers with state and zone, and partitions in trouble", async () => {
  const world = new ClusterWorld();
  const topics = [
    sampleTopic("orders", { partitions: 2 }),
    sampleTopic("alone", { replicationFactor: 1, minInsyncReplicas: 1 }),
  ];
  const a = await world.start("a", { zone: "z1" });
  const b = await world.start("b", { zone: "z2" });
  const c = await world.start("c");
  const api = await apiUnderTest({ app: { cluster: () => describeCluster(b.view, topics) } });
  const told = async () => (await api.ask("GET", "/api/cluster")).body;
  const brokers = (body: { brokers: ReturnType<typeof address>[] }) =>
    body.brokers.map(({ nodeId, zone, state }) => address(nodeId, zone, state));

  const before = await told();
  assert.equal(before.offlinePartitions.length, 3, "nothing is decided of them yet");
  for (const topic of topics) await world.putTopic(topic);
  await world.clock.advance(500);
  const whole = await told();
  assert.equal(whole.clusterId, api.broker.clusterId);
  assert.deepEqual(whole.controller, { nodeId: "a", epoch: 1 });
  assert.deepEqual(brokers(whole), [address("a", "z1"), address("b", "z2"), address("c", null)]);
  assert.ok(
    whole.brokers.every(({ host, port }: { host: unknown; port: unknown }) => host && port),
  );
  assert.deepEqual([whole.offlinePartitions, whole.underReplicatedPartitions], [[], []]);

  const only = b.record("id-alone")!.leader!;
  const [dead, ...left] = [a, b, c].sort((x) => x.view.nodeId === only ? -1 : 0);
  const seen = left[0]!;
  dead!.kill();
  await world.clock.advance(10_000);
  const described = describeCluster(seen.view, topics);
  assert.equal(described.brokers.find(({ nodeId }) => nodeId === only)!.state, "offline");
  assert.equal(described.brokers.find(({ nodeId }) => nodeId === only)!.host, null);
  assert.deepEqual(described.offlinePartitions, [{ topic: "alone", partition: 0 }]);
  assert.deepEqual(
    described.underReplicatedPartitions.map(({ topic, partition }) => `${topic}/${partition}`),
    ["orders/0", "orders/1"],
  );
  await api.close();
});
