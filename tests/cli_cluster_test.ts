// Owns tests of the commands on the cluster, over HTTP against whole brokers in memory.
// Refuses to own what the broker allows (cluster_administration_test.ts).
import assert from "node:assert/strict";
import { cli } from "./support/cli_run.ts";
import { done, withBroker } from "./support/cli_broker.ts";
import { type ClusterServer, withClusterServer } from "./support/cluster_server.ts";
import { TOPIC_CONFIG } from "./support/memory_broker.ts";

type Run = (words: string) => ReturnType<typeof cli>;

/** Three brokers with topic `orders`, asked at the first. */
function withCluster(test: (run: Run, server: ClusterServer) => Promise<void>): Promise<void> {
  return withClusterServer(["1", "2", "3"], async (server) => {
    const { url, scene } = server;
    const config = { ...TOPIC_CONFIG, replicationFactor: 2, minInsyncReplicas: 1 };
    const spec = { name: "orders", partitions: 2, config };
    await scene.until(scene.node("1").broker.createTopic(spec));
    await test((words) => cli(words.split(" "), { environment: { WAYBILLCTL_URL: url } }), server);
  });
}

const replicasOf = async (run: Run, partition: number) =>
  (await done(run("cluster partitions --search orders --json"))).json().partitions[partition]
    .replicas.map(({ nodeId }: { nodeId: string }) => nodeId);

Deno.test("the status shows each broker with its state, leaders, replicas and lag", () =>
  withCluster(async (run) => {
    for (const words of ["cluster", "cluster status"]) {
      const { out } = await done(run(words));
      assert.match(out, /^controller +1, epoch 1$/m);
      assert.match(out, /^under-replicated +none$/m);
      assert.match(out, /^BROKER +STATE +ZONE +ADDRESS +LEADERS +REPLICAS +OUT OF SYNC +LAG/m);
      for (const id of ["1", "2", "3"]) {
        assert.match(
          out,
          new RegExp(`^ *${id} +online +zone-${id} +127\\.0\\.0\\.1:1 +\\d+ +\\d+ +0 +0 `, "m"),
        );
      }
    }
    const { brokers, movesUnderWay, controller } = (await done(run("cluster --json"))).json();
    assert.deepEqual([brokers.length, movesUnderWay, controller.nodeId], [3, 0, "1"]);
    const { out } = await done(run("cluster --help"));
    for (const name of ["status", "rebalance", "reassign", "drain", "undrain", "decommission"]) {
      assert.match(out, new RegExp(`\\b${name}\\b`));
    }
  }));

Deno.test("replicas are moved by name, after a dry run has shown the plan", () =>
  withCluster(async (run, { advance }) => {
    const from = await replicasOf(run, 0);
    const added = ["1", "2", "3"].find((id) => !from.includes(id))!;
    const words = `cluster reassign orders 0 ${added},${from[0]}`;
    const dry = await done(run(`${words} --dry-run`));
    assert.match(dry.out, new RegExp(`orders/0 +${from.join(",")} +${added},${from[0]}`));
    assert.match(dry.err, /nothing has been moved/);
    assert.deepEqual(await replicasOf(run, 0), from);
    const begun = (await done(run(`${words} --throttle 50000000 --json`))).json();
    assert.deepEqual([begun.dryRun, begun.throttleBytesPerSecond], [false, 50_000_000]);
    await advance(15_000);
    assert.deepEqual(await replicasOf(run, 0), [added, from[0]]);
    assert.match((await done(run("cluster moves"))).out, /nothing moves/);
    assert.match((await done(run("cluster"))).out, /^throttle +47\.7 MiB\/s$/m);
    await done(run("cluster rebalance --throttle none"));
    assert.match((await done(run("cluster"))).out, /^throttle +none$/m);
    assert.equal((await run("cluster reassign orders 0 1,nobody")).code, 1);
    assert.equal((await run("cluster cancel orders --yes")).code, 2);
    assert.match((await done(run("cluster cancel --yes"))).out, /nothing was under way/);
  }));

Deno.test("a broker is drained, which takes a yes, and taken back", () =>
  withCluster(async (run, { advance }) => {
    assert.notEqual((await run("cluster drain 3")).code, 0, "nobody was asked");
    assert.match((await done(run("cluster drain 3 --yes"))).out, /^ *3 +draining/m);
    await advance(20_000);
    const { brokers } = (await done(run("cluster --json"))).json();
    const drained = brokers.find(({ nodeId }: { nodeId: string }) => nodeId === "3");
    assert.equal(drained.leaders, 0);
    assert.equal((await run("cluster decommission 3 --yes")).code, 1, "it runs");
    assert.match((await done(run("cluster undrain 3"))).out, /^ *3 +online/m);
  }));

Deno.test("the replication factor of a topic is changed, and its replicas follow", () =>
  withCluster(async (run, { advance }) => {
    const topic = (await done(run("topics alter orders --replication-factor 3 --json"))).json();
    assert.equal(topic.replicationFactor, 3);
    await advance(20_000);
    assert.equal((await replicasOf(run, 0)).length, 3);
    assert.equal((await run("topics alter orders --replication-factor 4")).code, 1);
  }));

Deno.test("a broker that is alone is a cluster of one, and moves nothing", () =>
  withBroker(async (run) => {
    assert.match((await done(run("cluster"))).out, /^ *\S+ +online/m);
    const refused = await run("cluster rebalance --dry-run");
    assert.equal(refused.code, 1);
    assert.match(refused.err, /is alone/);
  }));
