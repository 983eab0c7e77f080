// Owns proof on real processes that a client of a cluster goes on when the broker it is connected to is killed: what was
// acknowledged is there once, consumption goes on, and nothing that was committed is handed out again.
// Refuses to own the drills (ops/drills/cluster) and what the client does in every case (client_cluster_test.ts).
import assert from "node:assert/strict";
import { WaybillClient } from "../api/client.ts";
import { type LocalCluster, startLocalCluster } from "../ops/cluster/local_cluster.ts";
import { withDataDir } from "./support/broker_process.ts";
import { ETCD_NEEDED, hasEtcd } from "./support/etcd_process.ts";
import { requireOrSkip } from "./support/system_needs.ts";

const PARTITIONS = 3;
const BEFORE = 150;
const AFTER = 150;
const SEND_EVERY_MS = 10;
/** Far more than it takes, on a machine that is busy with other tests. */
const WAIT_MS = 90_000;

/** What a commit may end with while brokers come and go. */
const NOT_COMMITTED = new Set(["NOT_ASSIGNED", "TIMEOUT", "CLIENT_CLOSED"]);

const isSkipped = requireOrSkip("etcd", await hasEtcd(), ETCD_NEEDED);

async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const givenUpAt = performance.now() + WAIT_MS;
  while (!await isSo()) {
    if (performance.now() > givenUpAt) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Sends numbered messages one after the other until it is told to stop; what was acknowledged is in `acked`. */
function publishing(client: WaybillClient) {
  const acked: string[] = [];
  const failures: unknown[] = [];
  const producer = client.producer({ lingerMs: 0 });
  const sends: Promise<void>[] = [];
  let number = 0;
  const timer = setInterval(() => {
    const value = `m${number++}`;
    const message = { value, partition: number % PARTITIONS };
    sends.push(
      producer.send("orders", message).then(
        () => void acked.push(value),
        (error) => void failures.push(error),
      ),
    );
  }, SEND_EVERY_MS);
  return {
    acked,
    failures,
    async stop() {
      clearInterval(timer);
      await Promise.all(sends);
      await producer.close();
    },
  };
}

/** Commits what it was given, batch by batch; `twice` are messages that came again after their commit. */
function consuming(client: WaybillClient) {
  const seen: string[] = [];
  const twice: string[] = [];
  const resumed: boolean[] = [];
  const committed = new Map<number, number>();
  const consumer = client.consumer({
    group: "billing",
    topics: ["orders"],
    autoOffsetReset: "earliest",
    onConnected: (member) => resumed.push(member.resumed),
  });
  const done = (async () => {
    for await (const batch of consumer.batches()) {
      for (const { value, partition, offset } of batch.messages) {
        if (offset < (committed.get(partition) ?? 0)) twice.push(`${partition}/${offset}`);
        seen.push(value as string);
      }
      await consumer.commit(batch).then(
        () => committed.set(batch.partition, batch.offset),
        (error) => assert.ok(NOT_COMMITTED.has(error.code), String(error)),
      );
    }
  })();
  return { seen, twice, resumed, done, close: () => consumer.close() };
}

async function stored(client: WaybillClient): Promise<string[]> {
  const values: string[] = [];
  for (let partition = 0; partition < PARTITIONS; partition++) {
    for (let offset = 0;;) {
      const read = await client.read({ topic: "orders", partition, offset });
      values.push(...read.messages.map(({ value }) => value as string));
      offset = read.nextOffset;
      if (offset >= read.highWatermark) break;
    }
  }
  return values;
}

async function killUnderLoad(cluster: LocalCluster): Promise<void> {
  const [met, ...others] = cluster.brokers();
  // It is told of one broker: the others it has to learn.
  await using client = new WaybillClient({ url: met!.url });
  await client.topics.create({
    name: "orders",
    partitions: PARTITIONS,
    replicationFactor: 3,
    minInsyncReplicas: 2,
  });
  const load = publishing(client);
  const work = consuming(client);
  await until("messages before", () => load.acked.length >= BEFORE && work.seen.length >= BEFORE);
  Deno.kill(met!.pid, "SIGKILL");
  const [ackedThen, seenThen] = [load.acked.length, work.seen.length];
  await until("publishing to go on", () => load.acked.length >= ackedThen + AFTER);
  await until("consumption to go on", () => work.seen.length >= seenThen + AFTER);
  await load.stop();
  const consumedAll = () => new Set(work.seen).size === new Set([...load.acked, ...work.seen]).size;
  await until("all to be consumed", consumedAll);
  await work.close();
  await work.done;
  assert.deepEqual(load.failures, []);
  assert.deepEqual(work.twice, []);
  assert.ok(work.resumed.length >= 2, "it connected again");
  await using witness = new WaybillClient({ url: others.map(({ url }) => url) });
  assert.deepEqual((await stored(witness)).toSorted(), load.acked.toSorted());
}

Deno.test({
  name:
    "killed under a client that knew only it, a broker is made up for by those that the client has learnt of",
  ignore: isSkipped,
  async fn() {
    await withDataDir(async (dataDir) => {
      const options = { brokers: 3, port: 0, dataDir, etcd: [] };
      const interrupt = new AbortController();
      const cluster = await startLocalCluster(options, {
        say: () => {},
        signal: interrupt.signal,
      });
      try {
        await killUnderLoad(cluster);
      } finally {
        await cluster.stop();
      }
    });
  },
});
