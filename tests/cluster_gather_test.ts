import assert from "node:assert/strict";
import { RoutedScene } from "./support/routed_scene.ts";

const summary = (groupId: string) => ({ groupId, state: "empty", generation: 1, members: 0 });

function told(scene: RoutedScene, nodeId: string, method: string, answer: unknown): void {
  scene.node(nodeId).answers.set(method, () => Promise.resolve(answer));
}

Deno.test("groups are gathered from all who lead some, each once and in order", async () => {
  const scene = new RoutedScene();
  ["a", "b", "c"].forEach((nodeId, shard) => scene.cluster.lead("id-__groups", shard, nodeId));
  told(scene, "a", "broker.groups", [summary("g3")]);
  told(scene, "b", "broker.groups", [summary("g1"), summary("g4")]);
  told(scene, "c", "broker.groups", [summary("g2"), summary("g1")]);
  const { broker } = scene.node("a");
  const groups = await scene.run(broker.groups());
  assert.deepEqual(groups.map(({ groupId }) => groupId), ["g1", "g2", "g3", "g4"]);
  scene.network.cut("a", "c");
  await scene.time.advance(2_100);
  const part = await scene.run(broker.groups());
  assert.deepEqual(part.map(({ groupId }) => groupId), ["g1", "g3", "g4"]);
  await assert.rejects(scene.run(broker.groups({ whole: true })), { code: "ACTOR_DOWN" });
  scene.network.heal();
  scene.cluster.lead("id-__groups", 1, null);
  await assert.rejects(scene.run(broker.groups({ whole: true })), { code: "ACTOR_DOWN" });
  scene.close();
});

Deno.test("a topic's partitions are told by those who lead them, and the others as offline", async () => {
  const scene = new RoutedScene();
  scene.leadAll("b");
  scene.cluster.lead("id-orders", 0, "a");
  scene.cluster.lead("id-orders", 2, null);
  const infos = (leader: string, end: number) =>
    [0, 1, 2].map((partition) => ({
      partition,
      leader,
      isr: [leader],
      leaderEpoch: 1,
      logStartOffset: 0,
      logEndOffset: end,
      highWatermark: end,
      lastStableOffset: end,
      sizeBytes: end,
      state: "online",
    }));
  const topic = scene.topics.get("orders")!;
  told(scene, "a", "broker.describeTopic", { ...topic, partitions: infos("a", 10) });
  told(scene, "b", "broker.describeTopic", { ...topic, partitions: infos("b", 20) });
  const { partitions } = await scene.run(scene.node("a").broker.describeTopic("orders"));
  const seen = partitions.map(({ leader, logEndOffset, state }) => [leader, logEndOffset, state]);
  assert.deepEqual(seen, [["a", 10, "online"], ["b", 20, "online"], [null, 10, "offline"]]);
  scene.network.leave("b");
  const after = await scene.run(scene.node("a").broker.describeTopic("orders"));
  assert.deepEqual(after.partitions.map(({ state }) => state), ["online", "offline", "offline"]);
  assert.equal(after.partitions[1]!.leader, "b");
  scene.close();
});

Deno.test("a topic that was made is told once its partitions have leaders, or after some seconds", async () => {
  const scene = new RoutedScene();
  scene.leadAll("b");
  const { broker } = scene.node("a");
  for (const nodeId of ["a", "b"]) {
    const infos = [{ partition: 0, leader: "b", state: "online" }];
    scene.node(nodeId).answers.set(
      "broker.describeTopic",
      (name: string) => Promise.resolve({ ...scene.topics.get(name)!, partitions: infos }),
    );
  }
  scene.node("a").answers.set("broker.createTopic", ({ name }: { name: string }) => {
    scene.addTopic(name, 1);
    return Promise.resolve(null);
  });
  const spec = (name: string) => ({ name, partitions: 1, config: {} as never });
  const made = broker.createTopic(spec("new"));
  await scene.time.advance(1_000);
  scene.cluster.lead("id-new", 0, "b");
  const { partitions } = await scene.run(made);
  assert.equal(partitions[0]!.state, "online");
  const unled = await scene.run(broker.createTopic(spec("unled")));
  assert.deepEqual([unled.partitions[0]!.leader, unled.partitions[0]!.state], [null, "offline"]);
  scene.close();
});

Deno.test("a trace is what all brokers know of it, told once, and truncated where one is silent", async () => {
  const scene = new RoutedScene();
  scene.leadAll("b");
  const event = (at: number, kind: string) => ({
    at,
    kind,
    topic: "orders",
    partition: 0,
    offset: 1,
  });
  const found = (events: unknown[], from: number | null) => ({
    events,
    isTruncated: false,
    indexedFrom: from,
    deliveriesFrom: from ?? 0,
  });
  told(scene, "a", "traces.find", found([event(1, "published"), event(9, "delivered")], 5));
  told(
    scene,
    "b",
    "traces.find",
    found([{ ...event(1, "published") }, event(4, "committed")], null),
  );
  told(scene, "c", "traces.find", found([], 3));
  const request = { traceId: "0".repeat(32), topics: ["orders"], asker: "p" };
  const { broker } = scene.node("a");
  const trace = await scene.run(broker.traces.find(request));
  assert.deepEqual(trace.events.map(({ kind }) => kind), ["published", "committed", "delivered"]);
  const { isTruncated, indexedFrom, deliveriesFrom } = trace;
  assert.deepEqual([isTruncated, indexedFrom, deliveriesFrom], [false, 5, 5]);
  scene.network.leave("c");
  assert.equal((await scene.run(broker.traces.find(request))).isTruncated, true);
  scene.close();
});

Deno.test("a partition is revived where it is led, everything everywhere", async () => {
  const scene = new RoutedScene();
  scene.leadAll("b");
  for (const nodeId of ["a", "b", "c"]) {
    told(scene, nodeId, "broker.revive", [{ what: nodeId, error: null }]);
  }
  const { broker } = scene.node("a");
  const at = { topic: "orders", partition: 1 };
  assert.deepEqual(await scene.run(broker.revive(at)), [{ what: "b", error: null }]);
  scene.network.leave("c");
  const all = await scene.run(broker.revive(null));
  assert.deepEqual(all.map(({ what, error }) => [what, error?.code ?? null]), [
    ["a", null],
    ["b", null],
    ["broker c", "PEER_UNAVAILABLE"],
  ]);
  scene.close();
});

Deno.test("alerts are judged by one broker and shown by all, about as they are there", async () => {
  const scene = new RoutedScene();
  scene.leadAll("b");
  const resource = { type: "group", name: "g", labels: {} };
  const alert = { alertId: "x", name: "consumer-lag", state: "firing", severity: "P1", resource };
  scene.node("b").answers.set("alerts.list", () => [alert]);
  const { broker } = scene.node("a");
  let changes = 0;
  broker.alerts.onChanged(() => changes++);
  assert.deepEqual(broker.alerts.list(), []);
  await scene.time.advance(1_100);
  assert.deepEqual(broker.alerts.list(), [alert]);
  assert.equal(broker.alerts.find("x")?.state, "firing");
  await scene.time.advance(5_000);
  assert.equal(changes, 1, "told of once, not each time it is looked at");
  broker.alerts.observe({ at: 1, monotonic: 1 } as never);
  scene.node("b").broker.alerts.observe({ at: 2, monotonic: 1 } as never);
  await scene.time.advance(5);
  assert.equal(scene.node("a").count("alerts.observe"), 0);
  assert.equal(scene.node("b").count("alerts.observe"), 1);
  scene.close();
});

Deno.test("refusals are counted where they happen and written by the log's leader", async () => {
  const scene = new RoutedScene();
  scene.leadAll("b");
  const refusal = {
    action: "login.refused",
    actor: "?",
    tenant: null,
    remoteAddress: "10.0.0.1",
    code: "UNAUTHENTICATED",
    reason: "no",
    route: "GET /",
    requestId: "r",
  };
  for (let count = 0; count < 50; count++) scene.node("a").broker.audit.refused(refusal);
  await scene.time.advance(61_000);
  const written = scene.node("b").asked.filter(({ method }) => method === "audit.record");
  const counts = written.map(({ args }) => (args[0] as { after: { count: number } }).after.count);
  assert.deepEqual(counts, [1, 49]);
  scene.close();
});
