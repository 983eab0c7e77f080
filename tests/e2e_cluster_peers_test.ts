// Owns proof on real processes that brokers reach each other and etcd inside TLS where there are files for it, and that two
// processes are never one broker.
import assert from "node:assert/strict";
import { call, publish } from "./support/api_calls.ts";
import { BrokerDidNotStart, startBrokerProcess, withDataDir } from "./support/broker_process.ts";
import { ETCD_NEEDED, hasEtcd, startEtcd } from "./support/etcd_process.ts";
import { selfSigned, writePair } from "./support/self_signed.ts";

const SECRET = "0123456789abcdef-secret";
const canRun = await hasEtcd();
if (!canRun) console.warn(`brokers of a cluster inside TLS are not tested here: ${ETCD_NEEDED}`);

async function copied(from: string, to: string): Promise<void> {
  await Deno.mkdir(to, { recursive: true });
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (isDirectory) await copied(`${from}/${name}`, `${to}/${name}`);
    else await Deno.copyFile(`${from}/${name}`, `${to}/${name}`);
  }
}

Deno.test({
  name:
    "brokers reach each other and etcd inside TLS, and whose node id another process takes over ends",
  ignore: !canRun,
  async fn() {
    await withDataDir(async (root) => {
      await writePair(root, await selfSigned("waybill"));
      const [cert, key] = [`${root}/cert.pem`, `${root}/key.pem`];
      await using etcd = await startEtcd(1, { tls: { certFile: cert, keyFile: key } });
      const tls = [
        `--etcd-ca-file=${cert}`,
        `--peer-tls-cert-file=${cert}`,
        `--peer-tls-key-file=${key}`,
        `--peer-tls-ca-file=${cert}`,
      ];
      const start = (nodeId: string, dataDir = `${root}/${nodeId}`, args = tls) =>
        startBrokerProcess({
          dataDir,
          args: [`--node-id=${nodeId}`, "--lease-ms=2000", ...args],
          environment: { WAYBILL_ETCD: etcd.endpoints.join(","), WAYBILL_PEER_SECRET: SECRET },
        });

      await using a = await start("a");
      await using b = await start("b");
      const json = { name: "orders", partitions: 2, replicationFactor: 2, minInsyncReplicas: 2 };
      assert.equal((await call(a.url, "/api/topics", { json })).status, 201);
      for (const { url } of [a, b]) {
        for (const partition of [0, 1]) {
          const { status, body } = await publish(url, "orders", ["x"], { partition });
          assert.deepEqual([status, body.inSyncReplicas], [200, 2]);
        }
      }
      await assert.rejects(
        start("c", `${root}/c`, [`--etcd-ca-file=${root}/none.pem`]),
        (error) => {
          return error instanceof BrokerDidNotStart && error.code === 2 &&
            /etcdCaFile .*none.pem cannot be read/.test(error.output);
        },
      );
      await assert.rejects(start("b", `${root}/other`), (error) => {
        return error instanceof BrokerDidNotStart && error.code === 2 &&
          /another broker is running with the node id b/.test(error.output);
      });

      await copied(`${root}/b`, `${root}/copy`);
      await using twin = await start("b", `${root}/copy`);
      const ended = await b.ended;
      assert.equal(ended.code, 1);
      assert.match(b.log(), /another process is broker b of the cluster now/);
      const { body: { brokers } } = await call(a.url, "/api/cluster");
      const [, second] = brokers;
      assert.deepEqual([second.nodeId, second.state], ["b", "online"]);
      assert.equal(String(second.port), new URL(twin.url).port);
      const again = await publish(a.url, "orders", ["y"], { partition: 0 });
      assert.equal(again.status, 200);
    });
  },
});
