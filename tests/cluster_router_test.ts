import assert from "node:assert/strict";
import { BrokerError } from "../storage/broker_error.ts";
import { RoutedScene } from "./support/routed_scene.ts";

const AT = { topic: "orders", partition: 1 };
const ID = "id-orders";
const BATCHES = [new Uint8Array([1])];

function append(scene: RoutedScene, nodeId = "a") {
  return scene.node(nodeId).broker.append(AT, BATCHES, { acks: "all" });
}

function fetch(scene: RoutedScene, nodeId = "a") {
  return scene.node(nodeId).broker.fetch(AT, 0, { maxBytes: 1 });
}

Deno.test("a call for a partition without a leader waits for one and goes to it as soon as it is known", async () => {
  const scene = new RoutedScene();
  scene.leadAll(null);
  const call = append(scene);
  await scene.time.advance(3_000);
  assert.equal(scene.node("b").count("broker.append"), 0);
  scene.cluster.lead(ID, 1, "b");
  // One way and back: nothing waits for the next look.
  await scene.time.advance(3);
  assert.equal(scene.node("b").count("broker.append"), 1);
  await call;
  scene.close();
});

Deno.test("a partition that nobody leads in time is told as such, and that is retryable", async () => {
  const scene = new RoutedScene();
  scene.leadAll(null);
  const refused = { code: "LEADER_NOT_AVAILABLE", retryable: true };
  const call = append(scene);
  let isOver = false;
  call.catch(() => isOver = true);
  await scene.time.advance(9_900);
  assert.ok(!isOver);
  await scene.time.advance(200);
  assert.ok(isOver);
  await assert.rejects(call, refused);
  scene.close();
});

Deno.test("whoever does not lead any more names who does, and that one is asked at once", async () => {
  const scene = new RoutedScene();
  scene.leadAll("b");
  scene.node("b").answers.set("broker.append", () => {
    throw new BrokerError("NOT_LEADER", "led by c", { leader: "c" });
  });
  const [b, c] = [scene.node("b"), scene.node("c")];
  const call = append(scene);
  call.catch(() => {});
  await scene.time.advance(4);
  assert.deepEqual([b.count("broker.append"), c.count("broker.append")], [1, 1]);
  // It has not heard of it itself: from then on the view counts, and the pauses grow.
  await scene.time.advance(100);
  assert.ok(b.count("broker.append") + c.count("broker.append") < 10);
  scene.cluster.lead(ID, 1, "c");
  await scene.run(call);
  scene.close();
});

Deno.test("a leader that is not reached is asked again, nothing has happened there", async () => {
  const scene = new RoutedScene();
  scene.leadAll("b");
  scene.network.cut("a", "b");
  const call = append(scene);
  await scene.time.advance(1_000);
  scene.network.heal();
  await scene.run(call);
  assert.equal(scene.node("b").count("broker.append"), 1);
  scene.close();
});

Deno.test("what may have happened is not done twice, what only reads is asked again", async () => {
  const scene = new RoutedScene();
  scene.leadAll("b");
  await scene.run(fetch(scene));
  scene.network.cutOneWay("b", "a");
  const appended = assert.rejects(append(scene), { code: "PEER_LOST" });
  const fetched = fetch(scene);
  await scene.time.advance(2_100);
  await appended;
  scene.cluster.lead(ID, 1, "c");
  assert.equal((await scene.run(fetched) as unknown as { by: string }).by, "c");
  assert.equal(scene.node("b").count("broker.append"), 1);
  assert.equal(scene.node("c").count("broker.append"), 0);
  scene.close();
});

Deno.test("a change of unknown outcome in the metadata store is not asked for twice", async () => {
  for (const [method, times] of [["append", 1], ["fetch", 2]] as const) {
    const scene = new RoutedScene();
    scene.leadAll("b");
    let count = 0;
    scene.node("b").answers.set(`broker.${method}`, () => {
      if (++count === 1) throw new BrokerError("METADATA_UNAVAILABLE", "who knows");
      return Promise.resolve(null);
    });
    const call: Promise<unknown> = method === "append" ? append(scene) : fetch(scene);
    await scene.run(call.catch((error) => assert.equal(error.code, "METADATA_UNAVAILABLE")));
    assert.equal(count, times);
    scene.close();
  }
});

Deno.test("a marker of an older coordinator is refused at once", async () => {
  const scene = new RoutedScene();
  scene.leadAll("b");
  scene.node("b").answers.set("broker.writeMarker", () => {
    throw new BrokerError("STALE_EPOCH", "older");
  });
  const marker = { producerId: 1, producerEpoch: 0, commit: true, coordinatorEpoch: 1 };
  const call = scene.node("a").broker.writeMarker(AT, marker as never);
  await assert.rejects(scene.run(call), { code: "STALE_EPOCH" });
  assert.equal(scene.node("b").count("broker.writeMarker"), 1);
  scene.close();
});

Deno.test("what a home of keys has decided is refused at once when it is over, what it is yet to decide is asked elsewhere", async () => {
  const scene = new RoutedScene();
  scene.leadAll("b");
  scene.cluster.lead(ID, 0, "c");
  for (const nodeId of ["b", "c"]) {
    scene.node(nodeId).answers.set("broker.append", () => {
      throw new BrokerError("STALE_EPOCH", "older");
    });
  }
  const keysTerm = { topicId: ID, leaderEpoch: 1, round: 1 };
  const { broker } = scene.node("a");
  const decided = broker.append(AT, BATCHES, { acks: "all", keysTerm });
  await assert.rejects(scene.run(decided), { code: "STALE_EPOCH" });
  assert.deepEqual([scene.node("b").count("broker.append")], [1]);
  const undecided = broker.append(AT, BATCHES, { acks: "all", idempotencyKeys: [["k"]] });
  await assert.rejects(scene.run(undecided), { code: "STALE_EPOCH" });
  assert.equal(scene.node("b").count("broker.append"), 1);
  assert.ok(scene.node("c").count("broker.append") > 1);
  scene.close();
});

Deno.test("what one caller asks one behind the other of a local leader is asked at once and in order", () => {
  const scene = new RoutedScene();
  scene.leadAll("a");
  void append(scene);
  void append(scene);
  assert.equal(scene.node("a").count("broker.append"), 2);
  scene.close();
});

Deno.test("what one caller asks one behind the other of another leader arrives in order", async () => {
  const scene = new RoutedScene();
  scene.leadAll("b");
  const { broker } = scene.node("a");
  const calls = Array.from(
    { length: 20 },
    (_, number) => broker.append(AT, [new Uint8Array([number])], { acks: "all" }),
  );
  await scene.run(Promise.all(calls));
  const heard = scene.node("b").asked.map(({ args }) => (args[1] as Uint8Array[])[0]![0]);
  assert.deepEqual(heard, Array.from({ length: 20 }, (_, number) => number));
  scene.close();
});

Deno.test("a wait for data goes on at the new leader when leadership moves in the middle of it", async () => {
  const scene = new RoutedScene();
  scene.leadAll("b");
  const ended = Promise.withResolvers<void>();
  scene.node("b").answers.set("broker.waitForData", () => ended.promise);
  const waits: number[] = [];
  scene.node("c").answers.set("broker.waitForData", (_at, _offset, { timeoutMs }: never) => {
    waits.push(timeoutMs);
    return Promise.resolve(null);
  });
  const call = scene.node("a").broker.waitForData(AT, 5, { timeoutMs: 20_000 });
  await scene.time.advance(5_000);
  scene.cluster.lead(ID, 1, "c");
  ended.reject(new BrokerError("NOT_LEADER", "moved", { leader: "c" }));
  await scene.run(call);
  assert.equal(waits.length, 1);
  assert.ok(waits[0]! <= 15_000 && waits[0]! > 14_900, `${waits[0]} ms are left`);
  scene.close();
});

Deno.test("a wait for data whose leader dies in the middle goes on elsewhere, and ends in its time", async () => {
  const scene = new RoutedScene();
  scene.leadAll("b");
  scene.node("b").answers.set("broker.waitForData", () => new Promise(() => {}));
  const call = scene.node("a").broker.waitForData(AT, 5, { timeoutMs: 4_000 });
  await scene.time.advance(1_000);
  scene.network.leave("b");
  let isOver = false;
  void call.then(() => isOver = true);
  await scene.time.advance(2_000);
  assert.ok(!isOver);
  await scene.time.advance(1_100);
  assert.ok(isOver, "it ends as if nothing had come");
  scene.close();
});

Deno.test("a wait that is given up ends at once, and the leader hears of it", async () => {
  const scene = new RoutedScene();
  scene.leadAll("b");
  const heard: AbortSignal[] = [];
  scene.node("b").answers.set("broker.waitForData", (_at, _offset, { signal }: never) => {
    heard.push(signal);
    return new Promise(() => {});
  });
  const giveUp = new AbortController();
  const options = { timeoutMs: 20_000, signal: giveUp.signal };
  const call = scene.node("a").broker.waitForData(AT, 5, options);
  await scene.time.advance(10);
  giveUp.abort();
  await call;
  await scene.time.advance(5);
  assert.equal(heard[0]!.aborted, true);
  scene.close();
});

Deno.test("a topic that is not there is refused by the broker that is asked", async () => {
  const scene = new RoutedScene();
  scene.node("a").answers.set("broker.append", () => {
    throw new BrokerError("UNKNOWN_TOPIC", "there is no topic nothing");
  });
  const at = { topic: "nothing", partition: 0 };
  const call = scene.node("a").broker.append(at, [], { acks: "all" });
  await assert.rejects(scene.run(call), { code: "UNKNOWN_TOPIC" });
  const wrong = scene.node("a").broker.transactions.describe("no id");
  await assert.rejects(scene.run(wrong), { code: "UNKNOWN_TRANSACTION" });
  scene.close();
});

Deno.test("a broker that closes lets go of what waits for a leader", async () => {
  const scene = new RoutedScene();
  scene.leadAll(null);
  const refused = assert.rejects(append(scene), { code: "SHUTTING_DOWN" });
  await scene.time.advance(10);
  scene.node("a").broker.close();
  await scene.time.advance(0);
  await refused;
  scene.close();
});
