// Owns proof that `deno task cluster` gives a cluster that is ready to use: any broker answers, one that dies is made up for
// and comes back, and all of it stops and starts again with what it has kept.
import assert from "node:assert/strict";
import { type LocalCluster, startLocalCluster } from "../ops/cluster/local_cluster.ts";
import { call } from "./support/api_calls.ts";
import { withDataDir } from "./support/broker_process.ts";
import { ETCD_NEEDED, hasEtcd } from "./support/etcd_process.ts";

const WAIT_MS = 60_000;
const TOPIC = { name: "orders", partitions: 3, replicationFactor: 3, minInsyncReplicas: 2 };

const canRun = await hasEtcd();
if (!canRun) console.warn(`a cluster on this machine is not tested here: ${ETCD_NEEDED}`);

async function until<T>(ask: () => Promise<T>, isSo: (answer: T) => boolean): Promise<T> {
  const givenUpAt = performance.now() + WAIT_MS;
  for (;;) {
    const answer = await ask();
    if (isSo(answer)) return answer;
    if (performance.now() > givenUpAt) throw new Error(`still ${JSON.stringify(answer)}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function start(dataDir: string, said: string[]): Promise<LocalCluster> {
  const options = { brokers: 3, port: 0, dataDir, etcd: [] };
  const { signal } = new AbortController();
  return await startLocalCluster(options, { say: (line) => said.push(line), signal });
}

async function publish(url: string, value: string): Promise<number> {
  const json = { topic: TOPIC.name, partition: 0, messages: [{ value }] };
  return (await call(url, "/api/messages:publish", { json })).status;
}

async function valuesAt(url: string): Promise<unknown[]> {
  const path = `/api/topics/${TOPIC.name}/partitions/0/messages?offset=earliest`;
  const { body } = await call(url, path);
  return body.messages.map(({ value }: { value: unknown }) => value);
}

Deno.test({
  name:
    "a cluster on this machine is ready when it says so, loses nothing with a broker, and starts again with what it has",
  ignore: !canRun,
  async fn() {
    await withDataDir(async (dataDir) => {
      const said: string[] = [];
      const cluster = await start(dataDir, said);
      const acknowledged: string[] = [];
      try {
        const [one, two, three] = cluster.brokers() as [Place, Place, Place];
        assert.equal((await call(one.url, "/api/topics", { json: TOPIC })).status, 201);
        for (const { url, nodeId } of [one, two, three]) {
          assert.equal(await publish(url, `to ${nodeId}`), 200);
          acknowledged.push(`to ${nodeId}`);
        }
        const { partitions } = (await call(one.url, `/api/topics/${TOPIC.name}`)).body;
        const dead = cluster.brokers().find(({ nodeId }) => nodeId === partitions[0].leader)!;
        const { url } = cluster.brokers().find(({ nodeId }) => nodeId !== dead.nodeId)!;
        Deno.kill(dead.pid, "SIGKILL");
        await until(() => publish(url, "after"), (status) => status === 200);
        acknowledged.push("after");
        assert.deepEqual([...new Set(await valuesAt(url))], acknowledged);
        await until(
          async () => (await call(url, "/api/cluster")).body,
          ({ brokers, underReplicatedPartitions }) =>
            underReplicatedPartitions.length === 0 &&
            brokers.every(({ state }: { state: string }) => state === "online"),
        );
        await until(() => Promise.resolve(said.join()), (all) => /is back at/.test(all));
        const back = cluster.brokers().find(({ nodeId }) => nodeId === dead.nodeId)!;
        assert.equal(back.url, dead.url);
        assert.deepEqual([...new Set(await valuesAt(back.url))], acknowledged);
      } finally {
        await cluster.stop();
      }
      const again = await start(dataDir, said);
      try {
        for (const { url } of again.brokers()) {
          assert.deepEqual([...new Set(await valuesAt(url))], acknowledged);
        }
      } finally {
        await again.stop();
      }
    });
  },
});

type Place = ReturnType<LocalCluster["brokers"]>[number];
