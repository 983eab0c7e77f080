// Owns proof on real processes and a real etcd that a broker which was alone becomes the first of three without losing
// anything, and that its data directory is never opened in another way afterwards.
import assert from "node:assert/strict";
import { type Answer, call } from "./support/api_calls.ts";
import {
  BrokerDidNotStart,
  type BrokerProcess,
  startBrokerProcess,
  withDataDir,
} from "./support/broker_process.ts";
import { ETCD_NEEDED, hasEtcd, startEtcd } from "./support/etcd_process.ts";

const SECRET = "0123456789abcdef-secret";
const MESSAGES = 30;
const WAIT_MS = 60_000;

const canRun = await hasEtcd();
if (!canRun) console.warn(`a single node's way into a cluster is not tested here: ${ETCD_NEEDED}`);

async function ask(broker: BrokerProcess, method: string, path: string, body?: unknown) {
  const answer: Answer = await call(broker.url, path, {
    method,
    ...(body === undefined ? {} : { json: body }),
  });
  assert.ok(
    answer.status < 300,
    `${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`,
  );
  return answer.body;
}

/** Asks until the answer is as wanted. */
async function until<T>(ask: () => Promise<T>, isSo: (answer: T) => boolean): Promise<T> {
  const givenUpAt = performance.now() + WAIT_MS;
  for (;;) {
    const answer = await ask();
    if (isSo(answer)) return answer;
    if (performance.now() > givenUpAt) throw new Error(`still ${JSON.stringify(answer)}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function valuesAt(broker: BrokerProcess): Promise<unknown[]> {
  const path = "/api/topics/orders/partitions/0/messages?offset=earliest&maxMessages=1000";
  return (await ask(broker, "GET", path)).messages.map(({ value }: { value: unknown }) => value);
}

Deno.test({
  name:
    "a broker that was alone becomes the first of three, with every message, offset, key and rule it had",
  ignore: !canRun,
  async fn() {
    await withDataDir(async (root) => {
      await using etcd = await startEtcd(1);
      const member = (nodeId: string, dataDir = `${root}/${nodeId}`) =>
        startBrokerProcess({
          dataDir,
          args: [`--node-id=${nodeId}`, "--lease-ms=2000"],
          environment: { WAYBILL_ETCD: etcd.endpoints.join(","), WAYBILL_PEER_SECRET: SECRET },
        });

      const values = Array.from({ length: MESSAGES }, (_, at) => `m${at}`);
      const alone = await startBrokerProcess({ dataDir: `${root}/a` });
      await ask(alone, "POST", "/api/topics", { name: "orders" });
      const messages = values.map((value) => ({ value, idempotencyKey: value }));
      await ask(alone, "POST", "/api/messages:publish", { topic: "orders", messages });
      const offsets = [{ topic: "orders", partition: 0, offset: 7 }];
      await ask(alone, "POST", "/api/offsets:commit", { groupId: "billing", offsets });
      const { keyId } = await ask(alone, "POST", "/api/keys", { principal: "billing" });
      const { clusterId } = await ask(alone, "GET", "/api/cluster");
      const { topicId } = await ask(alone, "GET", "/api/topics/orders");
      assert.equal((await alone.stop("SIGTERM")).code, 0);

      await using first = await member("a");
      assert.deepEqual(await valuesAt(first), values);
      assert.equal((await ask(first, "GET", "/api/cluster")).clusterId, clusterId);

      await using second = await member("b");
      await using third = await member("c");
      for (const broker of [first, second, third]) {
        assert.deepEqual(await valuesAt(broker), values, broker.url);
        assert.equal((await ask(broker, "GET", "/api/topics/orders")).topicId, topicId);
        const { keys } = await ask(broker, "GET", "/api/keys");
        assert.deepEqual(keys.map((key: { keyId: string }) => key.keyId), [keyId]);
        const { partitions } = await ask(broker, "GET", "/api/groups/billing/lag");
        assert.equal(partitions[0].committedOffset, 7);
        const again = await ask(broker, "POST", "/api/messages:publish", {
          topic: "orders",
          messages: [{ value: "again", idempotencyKey: "m3" }],
        });
        assert.deepEqual(again.results, [{ partition: 0, offset: 3, duplicate: true }]);
        const seen = await ask(broker, "GET", "/api/cluster");
        assert.deepEqual(seen.brokers.map((each: { state: string }) => each.state), [
          "online",
          "online",
          "online",
        ]);
      }
      await until(
        () => ask(second, "GET", "/api/cluster"),
        (seen) => seen.underReplicatedPartitions.length === 0,
      );
      assert.equal((await ask(third, "GET", "/api/audit:verify")).intact, true);

      await withDataDir(async (other) => {
        await (await startBrokerProcess({ dataDir: other })).stop("SIGTERM");
        await assert.rejects(member("d", other), (error: Error) => {
          return error instanceof BrokerDidNotStart && error.code === 2 &&
            /cluster waybill exists already/.test(error.output);
        });
      });
      for (const broker of [third, second, first]) {
        assert.ok(!broker.log().includes(SECRET));
        assert.equal((await broker.stop("SIGTERM")).code, 0, broker.log());
      }
      await assert.rejects(startBrokerProcess({ dataDir: `${root}/a` }), (error: Error) => {
        return error instanceof BrokerDidNotStart && error.code === 2 &&
          /belongs to cluster waybill/.test(error.output);
      });
      await using back = await member("a");
      assert.deepEqual(await valuesAt(back), values);
    });
  },
});
