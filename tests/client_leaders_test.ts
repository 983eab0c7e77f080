// Owns the promise that a producer spares brokers the way to each other: what goes through whom, counted on whole brokers.
// Refuses to own routing between brokers (cluster_router_test.ts). The figures are of this run, in memory and virtual time.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { describeCluster } from "../actors/cluster/describe_cluster.ts";
import { createApp } from "../api/app.ts";
import { type Fetch, WaybillClient } from "../api/client.ts";
import { DEFAULT_API_LIMITS } from "../api/limits.ts";
import { type ClusterScene, clusterScene } from "./support/cluster_scene.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";

const TOPIC = { name: "orders", partitions: 6, replicationFactor: 3, minInsyncReplicas: 2 };
const ROUNDS = 20;

/** HTTP to the brokers of the scene, at `http://b<node id>:1`; one that is dead refuses connections. */
function doors(scene: ClusterScene): Fetch {
  const apps = new Map([...scene.nodes].map(([nodeId, node]) => {
    const topics = () => node.broker.topicNames().map((name) => node.broker.topic(name)!);
    const described = () => {
      const told = describeCluster(node.cluster, topics());
      const brokers = told.brokers.map((each) => ({ ...each, host: `b${each.nodeId}`, port: 1 }));
      return { ...told, brokers };
    };
    const app = createApp({
      broker: node.broker,
      clock: scene.time,
      randomness: seededRandomness(5),
      crc32c,
      limits: DEFAULT_API_LIMITS,
      security: { adminToken: null, allowedOrigins: [] },
      version: "0.1.0-test",
      self: () => ({ host: `b${nodeId}`, port: 1, zone: null }),
      cluster: described,
    });
    return [nodeId, app];
  }));
  return async (url, init) => {
    const address = new URL(url);
    const nodeId = address.hostname.slice(1);
    if (!scene.nodes.has(nodeId)) throw new TypeError("tcp connect error: Connection refused");
    // A guard of the application takes loopback names alone where there is no credential.
    const here = new URL(address.pathname + address.search, "http://127.0.0.1:1");
    return await apps.get(nodeId)!.request(here.href, init);
  };
}

/** Appends that one broker asked of another, from now on. */
function countForwards(scene: ClusterScene): () => number {
  let count = 0;
  for (const { broker: { router } } of scene.nodes.values()) {
    const there = router.there.bind(router);
    router.there = (nodeId, request, options) => {
      if (request.method === "broker.append") count++;
      return there(nodeId, request, options);
    };
  }
  return () => count;
}

function clientOf(scene: ClusterScene, discover: boolean): WaybillClient {
  const { time } = scene;
  const ports = { clock: time, timers: time, randomness: seededRandomness(9), crc32c };
  return new WaybillClient({ url: "http://b1:1", fetch: doors(scene), discover, ...ports });
}

/**
 * One message to each partition, several times over: how many publishes went from broker to broker, and how many were
 * for partitions that the broker which the client was told of does not lead.
 */
async function forwardsOf(discover: boolean): Promise<{ forwarded: number; foreign: number }> {
  const scene = await clusterScene();
  const client = clientOf(scene, discover);
  await scene.until(client.topics.create(TOPIC));
  const producer = client.producer({ lingerMs: 0 });
  await scene.until(producer.send(TOPIC.name, { partition: 0, value: "first" }));
  await scene.time.advance(100);
  const forwards = countForwards(scene);
  for (let round = 0; round < ROUNDS; round++) {
    const messages = Array.from({ length: TOPIC.partitions }, (_, partition) => ({
      partition,
      value: `v${round}`,
    }));
    await scene.until(producer.send(TOPIC.name, messages));
  }
  const { partitions } = await scene.until(client.topics.describe(TOPIC.name));
  await scene.until(client.close());
  const foreign = partitions.filter(({ leader }) => leader !== "1").length;
  return { forwarded: forwards(), foreign: ROUNDS * foreign };
}

Deno.test("a producer that knows the leaders has nothing forwarded, one that does not all that is led elsewhere", async () => {
  const straight = await forwardsOf(true);
  assert.equal(straight.forwarded, 0);
  const through = await forwardsOf(false);
  assert.ok(through.foreign >= ROUNDS);
  assert.equal(through.forwarded, through.foreign);
});

Deno.test("a producer whose broker dies goes on at the others, and to their leaders", async () => {
  const scene = await clusterScene();
  const client = clientOf(scene, true);
  await scene.until(client.topics.create(TOPIC));
  const producer = client.producer({ lingerMs: 0 });
  const send = (value: string) =>
    Promise.all(
      Array.from(
        { length: TOPIC.partitions },
        (_, partition) => producer.send(TOPIC.name, { partition, value }),
      ),
    );
  await scene.until(send("before"));
  await scene.time.advance(100);
  scene.kill("1");
  await scene.until(send("during"), 60_000);
  await scene.time.advance(60_000);
  await scene.until(send("after"));
  const forwards = countForwards(scene);
  await scene.until(send("later"));
  assert.equal(forwards(), 0);
  for (let partition = 0; partition < TOPIC.partitions; partition++) {
    const read = await scene.until(client.read({ topic: TOPIC.name, partition }));
    const values = read.messages.map(({ value }) => value);
    assert.deepEqual(values.filter((value) => value !== "first"), [
      "before",
      "during",
      "after",
      "later",
    ]);
  }
  await scene.until(client.close());
});
