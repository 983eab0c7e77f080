// Owns proof that etcd for a cluster that is tried out starts, is found again, and stops; and what its command line says.
// Refuses to own the brokers beside it (e2e_cluster_test.ts).
import assert from "node:assert/strict";
import { startLocalEtcd } from "../ops/cluster/local_etcd.ts";
import { parseOptions } from "../ops/cluster/options.ts";
import { ETCD_NEEDED, hasEtcd } from "./support/etcd_process.ts";

const canRun = await hasEtcd();
if (!canRun) console.warn(`etcd of a local cluster is not tested here: ${ETCD_NEEDED}`);

Deno.test("a local cluster's command line has defaults, and refuses what it cannot do", () => {
  const options = parseOptions([]);
  assert.notEqual(options, "help");
  const { brokers, port, dataDir, etcd } = options as Exclude<typeof options, "help">;
  assert.deepEqual([brokers, port, etcd], [3, 8080, []]);
  assert.match(dataDir, /^\/.*data\/cluster$/);
  assert.equal(parseOptions(["--help"]), "help");
  assert.throws(() => parseOptions(["--brokers=0"]), /from 1 to 9, not 0/);
  assert.throws(() => parseOptions(["--port=65535"]), /--port/);
  assert.throws(() => parseOptions(["--bokers=3"]), /bokers/);
});

Deno.test({
  name:
    "etcd of a local cluster keeps its data, and one that an earlier run left behind is found again",
  ignore: !canRun,
  async fn() {
    const directory = await Deno.makeTempDir({ prefix: "waybill-local-etcd-" });
    const key = btoa("k");
    const ask = async (endpoint: string, path: string, body: unknown) => {
      const response = await fetch(endpoint + path, { method: "POST", body: JSON.stringify(body) });
      return await response.json();
    };
    const first = await startLocalEtcd(directory);
    await ask(first.endpoint, "/v3/kv/put", { key, value: btoa("v") });
    const found = await startLocalEtcd(directory);
    assert.equal(found.endpoint, first.endpoint);
    await found.stop();
    await first.ended;
    const again = await startLocalEtcd(directory);
    const { kvs } = await ask(again.endpoint, "/v3/kv/range", { key });
    assert.equal(atob(kvs[0].value), "v");
    await again.stop();
    await again.ended;
    await assert.rejects(fetch(`${again.endpoint}/health`));
    await Deno.remove(directory, { recursive: true });
  },
});
