// Owns proof that people move replicas, empty brokers and see how far replicas are behind, from any broker over HTTP.
// Refuses to own plans (cluster_assignment_test.ts) and who decides (cluster_controller_test.ts).
// Invariant: whole brokers in memory and virtual time; what was acknowledged is read again after everything has moved.
import assert from "node:assert/strict";
import { type ApiUnderTest, apiUnderTest } from "./support/api_app.ts";
import { type ClusterScene, clusterScene } from "./support/cluster_scene.ts";
import { TOPIC_CONFIG } from "./support/memory_broker.ts";
import { plain } from "./support/partition_scene.ts";

const CONFIG = { ...TOPIC_CONFIG, replicationFactor: 2, minInsyncReplicas: 1 };
const REASSIGN = "/api/partitions:reassign";

interface Administered {
  readonly scene: ClusterScene;
  readonly api: ApiUnderTest;
  ask(method: string, path: string, body?: unknown): ReturnType<ApiUnderTest["ask"]>;
}

/** Brokers with topic `orders`, asked over HTTP at the last of them. */
async function administered(names: readonly string[], partitions = 4): Promise<Administered> {
  const scene = await clusterScene(names);
  const spec = { name: "orders", partitions, config: CONFIG };
  await scene.until(scene.node("1").broker.createTopic(spec));
  const { administration } = scene.node(names.at(-1)!);
  const api = await apiUnderTest({ app: { administration } });
  const ask = (method: string, path: string, body?: unknown) =>
    scene.until(api.ask(method, path, body === undefined ? {} : { body }));
  return { scene, api, ask };
}

const publish = ({ until, node }: ClusterScene, partition: number, text: string) =>
  until(node("1").broker.append({ topic: "orders", partition }, [plain(text)], { acks: "all" }));

Deno.test("replicas are moved as they are asked to be, and what was acknowledged moves along", async () => {
  const { scene, api, ask } = await administered(["1", "2", "3"], 1);
  for (let at = 0; at < 5; at++) await publish(scene, 0, `m${at}`);
  const before = (await ask("GET", "/api/partitions?search=orders")).body.partitions[0];
  const from = before.replicas.map(({ nodeId }: { nodeId: string }) => nodeId);
  const added = ["1", "2", "3"].find((id) => !from.includes(id))!;
  const to = [added, from[0]];
  const moves = [{ topic: "orders", partition: 0, replicas: to }];
  const dry = await ask("POST", REASSIGN, { moves, dryRun: true });
  assert.equal(dry.status, 200);
  const plan = { moves: [{ topic: "orders", partition: 0, from, to }] };
  assert.deepEqual(dry.body, { ...plan, dryRun: true, throttleBytesPerSecond: null });
  assert.equal((await ask("GET", REASSIGN)).body.total, 0);
  const begun = await ask("POST", REASSIGN, { moves });
  assert.deepEqual([begun.status, begun.headers.get("location")], [202, REASSIGN]);
  assert.deepEqual(begun.body.moves, plan.moves);
  await scene.time.advance(15_000);
  assert.equal((await ask("GET", REASSIGN)).body.total, 0);
  const [after] = (await ask("GET", "/api/partitions?search=orders")).body.partitions;
  assert.deepEqual(after.replicas.map(({ nodeId }: { nodeId: string }) => nodeId), to);
  assert.equal(after.leader, added, "the first of them is the preferred leader");
  const { highWatermark } = await scene.until(
    scene.node(added).broker.partitionInfo({ topic: "orders", partition: 0 }),
  );
  assert.equal(highWatermark, 5);
  await api.close();
});

Deno.test("moves under way say what is missing, and can be cancelled", async () => {
  const { scene, api, ask } = await administered(["1", "2", "3"], 1);
  for (let at = 0; at < 3; at++) await publish(scene, 0, `m${at}`);
  const [{ replicas }] = (await ask("GET", "/api/partitions?search=orders")).body.partitions;
  const from = replicas.map(({ nodeId }: { nodeId: string }) => nodeId);
  const added = ["1", "2", "3"].find((id) => !from.includes(id))!;
  scene.network.cut(from[0], added);
  scene.network.cut(from[1], added);
  const { administration } = scene.node(from[0]);
  const at = await apiUnderTest({ app: { administration } });
  const here = (method: string, path: string, body?: unknown) =>
    scene.until(at.ask(method, path, body === undefined ? {} : { body }));
  const moves = [{ topic: "orders", partition: 0, replicas: [added, from[0]] }];
  assert.equal((await here("POST", REASSIGN, { moves })).status, 202);
  const { moves: [move], total } = (await here("GET", REASSIGN)).body;
  assert.equal(total, 1);
  assert.deepEqual([move.from, move.to, move.missing], [from, [added, from[0]], [added]]);
  const moving = await here("GET", "/api/partitions?state=moving");
  assert.deepEqual(moving.body.partitions[0].target, [added, from[0]]);
  const none = await here("DELETE", `${REASSIGN}?topic=orders&partition=1`);
  assert.deepEqual(none.body.moves, []);
  assert.equal((await here("DELETE", `${REASSIGN}?topic=orders`)).status, 400);
  const cancelled = await here("DELETE", `${REASSIGN}?topic=orders&partition=0`);
  assert.equal(cancelled.status, 202);
  assert.equal(cancelled.body.moves.length, 1);
  assert.equal((await here("GET", REASSIGN)).body.total, 0);
  await Promise.all([api.close(), at.close()]);
});

Deno.test("a new broker gets its share by a rebalance, which its dry run has foretold", async () => {
  const { scene, api, ask } = await administered(["1", "2"]);
  await publish(scene, 0, "a");
  await scene.start("3");
  const loads = async () =>
    Object.fromEntries(
      (await ask("GET", "/api/brokers")).body.brokers.map((
        { nodeId, replicas }: { nodeId: string; replicas: number },
      ) => [nodeId, replicas]),
    );
  const count = (await loads())["3"];
  const dry = await ask("POST", REASSIGN, { moves: "rebalance", dryRun: true });
  assert.ok(dry.body.moves.length > 0);
  const begun = await ask("POST", REASSIGN, { moves: "rebalance" });
  assert.deepEqual(begun.body.moves, dry.body.moves);
  await scene.time.advance(30_000);
  const after = await loads();
  assert.ok(after["3"] > count, JSON.stringify(after));
  const values = Object.values(after) as number[];
  assert.ok(Math.max(...values) - Math.min(...values) <= 1, JSON.stringify(after));
  await api.close();
});

Deno.test("a drained broker is emptied, and can be decommissioned once it is stopped", async () => {
  const { scene, api, ask } = await administered(["1", "2", "3", "4"]);
  for (let partition = 0; partition < 4; partition++) await publish(scene, partition, "a");
  assert.equal((await ask("DELETE", "/api/brokers/1")).body.code, "INVALID_REQUEST");
  const drained = await ask("POST", "/api/brokers/1:drain");
  assert.deepEqual([drained.status, drained.body.state], [202, "draining"]);
  await scene.time.advance(30_000);
  const emptied = (await ask("GET", "/api/brokers/1")).body;
  assert.deepEqual([emptied.leaders, emptied.replicas], [0, 0]);
  assert.equal((await ask("DELETE", "/api/brokers/1")).body.code, "INVALID_REQUEST", "it runs");
  scene.kill("1");
  await scene.time.advance(10_000);
  assert.equal((await ask("GET", "/api/brokers/1")).body.state, "offline");
  assert.equal((await ask("DELETE", "/api/brokers/1")).status, 204);
  assert.equal((await ask("GET", "/api/brokers/1")).body.code, "NOT_FOUND");
  assert.equal((await ask("POST", "/api/brokers/1:undrain")).body.code, "NOT_FOUND");
  const { partitions } = (await ask("GET", "/api/partitions?search=orders")).body;
  for (const { replicas, underReplicated } of partitions) {
    assert.equal(replicas.length, 2);
    assert.equal(underReplicated, false);
  }
  await api.close();
});

Deno.test("a broker is not drained when nobody is left to take what it holds", async () => {
  const { api, ask } = await administered(["1", "2"], 1);
  assert.equal((await ask("POST", "/api/brokers/1:drain")).status, 202);
  const refused = await ask("POST", "/api/brokers/2:drain");
  assert.deepEqual([refused.status, refused.body.code], [400, "INVALID_REQUEST"]);
  const back = await ask("POST", "/api/brokers/1:undrain");
  assert.deepEqual([back.status, back.body.state], [202, "online"]);
  assert.equal((await ask("POST", "/api/brokers/2:drain")).status, 202);
  await api.close();
});

Deno.test("how far a replica is behind is told by its leader, at whichever broker is asked", async () => {
  const { scene, api, ask } = await administered(["1", "2", "3"], 3);
  const { partitions } = (await ask("GET", "/api/partitions?search=orders")).body;
  for (const { leader, replicas } of partitions) {
    for (const { nodeId, inSync, lagMessages, behindMs } of replicas) {
      assert.deepEqual([inSync, lagMessages, behindMs], [true, 0, 0], `${nodeId} of ${leader}`);
    }
  }
  const at = partitions.find(({ leader }: { leader: string }) => leader !== "3") ?? partitions[0];
  const follower = at.replicas.map(({ nodeId }: { nodeId: string }) => nodeId)
    .find((id: string) => id !== at.leader && id !== "3") ?? at.replicas[1].nodeId;
  scene.kill(follower);
  const publishing = scene.node(at.leader).broker.append(
    { topic: "orders", partition: at.partition },
    [plain("a", "b")],
    { acks: "leader" },
  );
  await scene.until(publishing);
  await scene.time.advance(1_000);
  const page = await ask("GET", `/api/partitions?search=orders&broker=${follower}&limit=500`);
  const [shown] = page.body.partitions.filter((one: { partition: number }) =>
    one.partition === at.partition
  );
  const lag = shown.replicas.find(({ nodeId }: { nodeId: string }) => nodeId === follower);
  assert.equal(lag.lagMessages, 2);
  assert.ok(lag.behindMs >= 900 && lag.behindMs < 2_500, `${lag.behindMs}`);
  await scene.time.advance(15_000);
  const dead = (await ask("GET", `/api/brokers/${follower}`)).body;
  assert.equal(dead.state, "offline");
  assert.ok(dead.outOfSync > 0);
  const behind = await ask("GET", "/api/partitions?state=under-replicated&limit=500");
  assert.ok(behind.body.partitions.length > 0);
  await api.close();
});

Deno.test("lists of partitions and moves are paged by topic and partition", async () => {
  const { api, ask } = await administered(["1", "2"], 12);
  const seen: string[] = [];
  let cursor = "";
  do {
    const page = (await ask("GET", `/api/partitions?search=orders&limit=5${cursor}`)).body;
    seen.push(...page.partitions.map(({ partition }: { partition: number }) => partition));
    cursor = page.nextCursor === undefined ? "" : `&cursor=${page.nextCursor}`;
  } while (cursor !== "");
  assert.deepEqual(seen, Array.from({ length: 12 }, (_, at) => at));
  await api.close();
});

Deno.test("a broker that is alone shows itself, and says why it moves nothing", async () => {
  const api = await apiUnderTest();
  await api.ask("POST", "/api/topics", { body: { name: "orders", partitions: 2 } });
  const { brokers: [self], nextCursor } = (await api.ask("GET", "/api/brokers")).body;
  assert.equal(nextCursor, undefined);
  assert.equal(self.nodeId, api.broker.nodeId);
  assert.equal(self.leaders, self.replicas);
  const { partitions } = (await api.ask("GET", "/api/partitions?search=orders")).body;
  assert.deepEqual(partitions.map(({ underReplicated }: never) => underReplicated), [false, false]);
  const refused = await api.ask("POST", REASSIGN, { body: { moves: "rebalance" } });
  assert.deepEqual([refused.status, refused.body.code], [400, "INVALID_REQUEST"]);
  assert.match(refused.body.detail, /is alone/);
  await api.close();
});

Deno.test("what moves is sent no faster than it may be, and publishing waits for none of it", async () => {
  const { scene, api, ask } = await administered(["1", "2", "3"], 1);
  const bulk = plain(...Array.from({ length: 50 }, () => "x".repeat(1_000)));
  const at = { topic: "orders", partition: 0 };
  for (let round = 0; round < 20; round++) {
    await scene.until(scene.node("1").broker.append(at, [bulk], { acks: "all" }));
  }
  const [{ replicas }] = (await ask("GET", "/api/partitions?search=orders")).body.partitions;
  const from = replicas.map(({ nodeId }: { nodeId: string }) => nodeId);
  const added = ["1", "2", "3"].find((id) => !from.includes(id))!;
  const moves = [{ topic: "orders", partition: 0, replicas: [from[0], added] }];
  const refused = await ask("POST", REASSIGN, {
    moves: [{ ...moves[0], replicas: [added] }],
    throttleBytesPerSecond: 1,
  });
  assert.equal(refused.body.code, "INVALID_REPLICATION_FACTOR");
  assert.equal((await ask("GET", REASSIGN)).body.throttleBytesPerSecond, null);
  const begun = await ask("POST", REASSIGN, { moves, throttleBytesPerSecond: 100_000 });
  assert.equal(begun.body.throttleBytesPerSecond, 100_000);
  await scene.time.advance(4_000);
  const publishedAt = scene.time.monotonic();
  await scene.until(scene.node("1").broker.append(at, [plain("y")], { acks: "all" }));
  assert.ok(scene.time.monotonic() - publishedAt < 200);
  // A megabyte at 100 kB/s, after a burst of one second.
  assert.equal((await ask("GET", REASSIGN)).body.moves[0].missing[0], added);
  await scene.time.advance(3_000);
  assert.equal((await ask("GET", REASSIGN)).body.total, 1);
  await scene.time.advance(5_000);
  assert.equal((await ask("GET", REASSIGN)).body.total, 0);
  const free = await ask("POST", REASSIGN, { moves: "rebalance", throttleBytesPerSecond: null });
  assert.equal(free.body.throttleBytesPerSecond, null);
  await api.close();
});
