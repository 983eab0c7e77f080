// Owns a cluster of whole brokers with a topic of several partitions, for tests of keys: who is their home, what is stored.
// Refuses to own what keys are to do. Invariant: as of clusterScene.
import type { AppendReceipt, Broker } from "../../actors/broker.ts";
import { IDEMPOTENCY_KEY_HEADER, knownMessagesOf } from "../../actors/message_keys/types.ts";
import { decodeBatch } from "../../storage/format/decode.ts";
import { batchSpans } from "../../storage/format/record_batch.ts";
import { clusterScene, type ClusterSceneOptions } from "./cluster_scene.ts";
import { batchOf } from "./keyed_appends.ts";
import { TOPIC_CONFIG } from "./memory_broker.ts";

const CONFIG = { ...TOPIC_CONFIG, replicationFactor: 3, minInsyncReplicas: 2 };

export type ClusterKeysScene = Awaited<ReturnType<typeof clusterKeysScene>>;

/** Brokers "1", "2", "3", and `orders` with three partitions. */
export async function clusterKeysScene(options: ClusterSceneOptions = {}) {
  const scene = await clusterScene(["1", "2", "3"], undefined, options);
  const { node, until } = scene;
  await until(node("1").broker.createTopic({ name: "orders", partitions: 3, config: CONFIG }));

  /** The record of a partition, as some broker that is there knows it. */
  function recordOf(topic: string, partition: number) {
    const { local, cluster } = scene.nodes.values().next().value!;
    return cluster.partition(local.topic(topic)!.topicId, partition)!.record;
  }
  const leaderOf = (topic: string, partition: number) => recordOf(topic, partition).leader!;
  /** A broker that is none of these. */
  const other = (...than: string[]) => [...scene.nodes.keys()].find((id) => !than.includes(id))!;

  function append(nodeId: string, partition: number, keys: readonly string[]) {
    const at = { topic: "orders", partition };
    const options = { acks: "all" as const, idempotencyKeys: [keys] };
    const appended = node(nodeId).broker.append(at, [batchOf(keys)], options);
    appended.catch(() => {});
    return appended;
  }

  /** Keys in all partitions, as `key@partition/offset`. */
  async function stored(): Promise<string[]> {
    const { broker } = scene.nodes.values().next().value!;
    const all = await Promise.all([0, 1, 2].map((partition) => until(keysIn(broker, partition))));
    return all.flat();
  }

  /** Where a publish that may be repeated has come to lie: `partition/offset`. */
  async function placeOf(appended: Promise<AppendReceipt>, partition: number): Promise<string> {
    try {
      return `${partition}/${(await until(appended)).baseOffsets[0]}`;
    } catch (error) {
      const first = knownMessagesOf(error)?.[0];
      if (first === undefined) throw error;
      return `${first.partition}/${first.offset}`;
    }
  }

  /** Brings leadership of a partition to a broker, as an operator would: the others are killed and started again. */
  async function loseLeader(topic: string, partition: number): Promise<string> {
    const leader = leaderOf(topic, partition);
    scene.kill(leader);
    for (let waits = 0; waits < 1_000 && leaderOf(topic, partition) === leader; waits++) {
      await scene.time.advance(10);
    }
    return leader;
  }

  return { ...scene, recordOf, leaderOf, other, append, stored, placeOf, loseLeader };
}

async function keysIn(broker: Broker, partition: number): Promise<string[]> {
  const { batches } = await broker.fetch({ topic: "orders", partition }, 0, { maxBytes: 1e9 });
  const text = new TextDecoder();
  return [...batchSpans(batches)].flatMap(({ at }) =>
    decodeBatch(batches, at, { maxDecompressedBytes: 1e6 }).flatMap(({ headers, offset }) =>
      headers.filter(([name]) => name === IDEMPOTENCY_KEY_HEADER)
        .map(([, value]) => `${text.decode(value!)}@${partition}/${offset}`)
    )
  );
}
