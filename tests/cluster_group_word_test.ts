import assert from "node:assert/strict";
import type { GroupNotification } from "../actors/group/types.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { partitionForKey } from "../storage/format/murmur2.ts";
import { type FakeNode, RoutedScene } from "./support/routed_scene.ts";

const GROUPS = "id-__groups";
const SHARD = partitionForKey(new TextEncoder().encode("g"), 3);
const ONE = [{ topic: "orders", partition: 0 }];
const TWO = [...ONE, { topic: "orders", partition: 1 }];

/** What `node` answers as the group's leader; a sign of life tells `assignment`. */
function leads(node: FakeNode, assignment = ONE, paused: { reason: string } | null = null): void {
  node.answers.set("broker.group", ({ type }: { type: string }) => {
    const reply = type === "Join"
      ? { memberId: "m1", generation: 1, assignment: ONE, resumed: false }
      : { generation: 2, assignment, paused };
    return Promise.resolve(reply as never);
  });
}

function listening(scene: RoutedScene, at = "a", memberId = "m1") {
  const heard: GroupNotification[] = [];
  const { broker } = scene.node(at);
  const end = broker.onGroupNotification({ group: "g", memberId }, (word) => heard.push(word));
  return { heard, end };
}

function join(scene: RoutedScene, at = "a") {
  return scene.node(at).broker.group({
    type: "Join",
    group: "g",
    newMemberId: "m1",
    topics: ["orders"],
    sessionTimeoutMs: 30_000,
    transport: "websocket",
    partitionCounts: { orders: 3 },
  });
}

const ASSIGNED: GroupNotification = { type: "assigned", generation: 1, partitions: ONE };

Deno.test("a member hears its group wherever that is led, from before its join on", async () => {
  for (const leader of ["a", "b"]) {
    const scene = new RoutedScene();
    scene.leadAll(leader);
    const node = scene.node(leader);
    leads(node);
    const { heard } = listening(scene);
    const joined = join(scene);
    if (leader === "b") await scene.time.advance(1);
    assert.ok(node.listeners.has("m1"), "listened for before the join was carried out");
    await scene.run(joined);
    node.tell("m1", ASSIGNED);
    await scene.time.advance(5);
    assert.deepEqual(heard, [ASSIGNED]);
    scene.close();
  }
});

Deno.test("an answer does not overtake word that the group gave before it", async () => {
  const scene = new RoutedScene();
  scene.leadAll("b");
  const b = scene.node("b");
  leads(b);
  const { heard } = listening(scene);
  await scene.run(join(scene));
  b.answers.set("broker.group", () => {
    // Slower than what comes after it.
    scene.delayMs = () => 20;
    b.tell("m1", ASSIGNED);
    scene.delayMs = () => 1;
    return Promise.resolve({ generation: 2, assignment: TWO, paused: null } as never);
  });
  const beat = scene.node("a").broker.group({ type: "Heartbeat", group: "g", memberId: "m1" });
  let heardBefore = -1;
  await scene.run(beat.then(() => heardBefore = heard.length));
  assert.equal(heardBefore, 1);
  scene.close();
});

Deno.test("when the shard moves, members hear the new leader, and what they missed", async () => {
  for (const [from, to] of [["b", "c"], ["a", "b"], ["b", "a"]] as const) {
    const scene = new RoutedScene();
    scene.leadAll(from);
    leads(scene.node(from));
    leads(scene.node(to), TWO, { reason: "repair" });
    const { heard } = listening(scene);
    await scene.run(join(scene));
    scene.cluster.lead(GROUPS, SHARD, to);
    await scene.time.advance(20);
    assert.deepEqual(heard, [
      { type: "paused", reason: "repair" },
      { type: "assigned", generation: 2, partitions: TWO },
      { type: "retries", partitions: TWO },
    ], `${from} to ${to}`);
    assert.equal(scene.node(from).listeners.size, 0, "the old leader is listened to no more");
    scene.node(from).tell("m1", ASSIGNED);
    scene.node(to).tell("m1", { type: "resumed" });
    await scene.time.advance(5);
    assert.deepEqual(heard.slice(3), [{ type: "resumed" }]);
    scene.close();
  }
});

Deno.test("a member that the new leader does not know hears that it was removed", async () => {
  const scene = new RoutedScene();
  scene.leadAll("b");
  leads(scene.node("b"));
  scene.node("c").answers.set("broker.group", () => {
    throw new BrokerError("UNKNOWN_MEMBER", "no m1");
  });
  const { heard } = listening(scene);
  const joining = listening(scene, "a", "m2");
  await scene.run(join(scene));
  scene.cluster.lead(GROUPS, SHARD, "c");
  await scene.time.advance(20);
  assert.deepEqual(heard, [{ type: "removed", reason: "timed out" }]);
  assert.deepEqual(joining.heard, [], "who is still joining was never one");
  scene.close();
});

Deno.test("when the connection to the leader breaks, members listen anew and look again", async () => {
  const scene = new RoutedScene();
  scene.leadAll("b");
  const b = scene.node("b");
  leads(b, TWO);
  const { heard } = listening(scene);
  await scene.run(join(scene));
  scene.network.cut("a", "b");
  b.tell("m1", ASSIGNED);
  await scene.time.advance(2_500);
  assert.equal(b.listeners.size, 0, "nobody is told who does not hear");
  scene.network.heal();
  await scene.time.advance(1_000);
  assert.equal(b.listeners.size, 1);
  assert.deepEqual(heard, [
    { type: "assigned", generation: 2, partitions: TWO },
    { type: "retries", partitions: TWO },
  ]);
  scene.close();
});

Deno.test("when the leader's process ends, members listen at whoever leads next", async () => {
  const scene = new RoutedScene();
  scene.leadAll("b");
  leads(scene.node("b"));
  leads(scene.node("c"), TWO);
  const { heard } = listening(scene);
  await scene.run(join(scene));
  scene.network.leave("b");
  await scene.time.advance(2_000);
  assert.deepEqual(heard, []);
  scene.cluster.go("b");
  scene.leadAll("c");
  await scene.time.advance(100);
  assert.deepEqual(heard.map(({ type }) => type), ["assigned", "retries"]);
  scene.close();
});

Deno.test("when the leader starts anew under the same name, members look again", async () => {
  const scene = new RoutedScene();
  scene.leadAll("b");
  leads(scene.node("b"));
  const { heard } = listening(scene);
  await scene.run(join(scene));
  scene.node("b").broker.close();
  const b = scene.start("b");
  leads(b, TWO);
  await scene.time.advance(500);
  assert.equal(b.listeners.size, 1);
  assert.deepEqual(heard.map(({ type }) => type), ["assigned", "retries"]);
  scene.close();
});

Deno.test("who does not listen any more is told nothing, and the tie ends with the last one", async () => {
  const scene = new RoutedScene();
  scene.leadAll("b");
  leads(scene.node("b"));
  const first = listening(scene);
  const second = listening(scene, "a", "m2");
  await scene.run(join(scene));
  first.end();
  first.end();
  await scene.time.advance(5);
  assert.deepEqual([...scene.node("b").listeners.keys()], ["m2"]);
  second.end();
  await scene.time.advance(5);
  assert.equal(scene.node("b").listeners.size, 0);
  const third = listening(scene);
  await scene.time.advance(5);
  scene.node("b").tell("m1", ASSIGNED);
  await scene.time.advance(5);
  assert.deepEqual([first.heard, third.heard], [[], [ASSIGNED]]);
  scene.close();
});

Deno.test("newer word that comes while a member looks again is not followed by older", async () => {
  const scene = new RoutedScene();
  scene.leadAll("b");
  leads(scene.node("b"));
  const answer = Promise.withResolvers<unknown>();
  scene.node("c").answers.set("broker.group", () => answer.promise);
  const { heard } = listening(scene);
  await scene.run(join(scene));
  scene.cluster.lead(GROUPS, SHARD, "c");
  await scene.time.advance(10);
  scene.node("c").tell("m1", { type: "assigned", generation: 3, partitions: TWO });
  answer.resolve({ generation: 2, assignment: ONE, paused: null });
  await scene.time.advance(10);
  assert.deepEqual(heard, [{ type: "assigned", generation: 3, partitions: TWO }]);
  scene.close();
});

Deno.test("a member that listens while nobody leads is heard once somebody does", async () => {
  const scene = new RoutedScene();
  scene.leadAll(null);
  const { heard } = listening(scene);
  leads(scene.node("b"));
  const joined = join(scene);
  await scene.time.advance(500);
  scene.leadAll("b");
  await scene.run(joined);
  scene.node("b").tell("m1", ASSIGNED);
  await scene.time.advance(5);
  assert.deepEqual(heard, [ASSIGNED]);
  scene.close();
});
