// Owns the tests of message keys in a cluster of whole brokers: one home for each topic, wherever its partitions are led.
// Refuses to own keys on a broker alone (message_keys_append_test.ts) and the fence itself (key_fence_test.ts).
// Invariant: whatever happens, a key is stored once, and a repeat is told where.
import assert from "node:assert/strict";
import { BrokerError } from "../storage/broker_error.ts";
import { clusterKeysScene } from "./support/cluster_keys_scene.ts";
import { batchOf } from "./support/keyed_appends.ts";

const hasCode = (code: string) => (error: unknown) =>
  error instanceof BrokerError && error.code === code;

Deno.test("a key that is published at once to partitions of different brokers is stored once", async () => {
  const scene = await clusterKeysScene();
  const { append, until, placeOf, leaderOf } = scene;
  const leaders = new Set([0, 1, 2].map((partition) => leaderOf("orders", partition)));
  assert.ok(leaders.size > 1, "one broker leads all of them");
  const rivals = ["1", "2", "3"].flatMap((nodeId) =>
    [0, 1, 2].map((partition) => ({ partition, appended: append(nodeId, partition, ["a"]) }))
  );
  const places = [];
  for (const { partition, appended } of rivals) places.push(await placeOf(appended, partition));
  assert.equal(new Set(places).size, 1, places.join(" "));
  assert.deepEqual(await scene.stored(), [`a@${places[0]}`]);
  // Others go on beside it.
  await until(append("1", 1, ["b"]));
  await until(append("2", 2, ["c", "d"]));
  assert.deepEqual((await scene.stored()).length, 4);
});

for (const killedAfterMs of [1, 2, 3, 4, 5, 6, 8]) {
  Deno.test(`a key whose home dies ${killedAfterMs} ms later is stored once, and a repeat is told where`, async () => {
    const scene = await clusterKeysScene();
    const { append, until, placeOf, leaderOf, other, time } = scene;
    await until(append("1", 1, ["warm"]));
    const home = leaderOf("orders", 0);
    const partition = [1, 2].find((each) => leaderOf("orders", each) !== home)!;
    const asked = other(home);
    const appended = append(asked, partition, ["a"]);
    await time.advance(killedAfterMs);
    scene.kill(home);
    await until(appended.then(() => null, () => null));
    // Elsewhere, and to another partition.
    const repeats = [];
    for (const again of [partition, 0, 1, 2]) {
      repeats.push(await placeOf(append(other(home, asked), again, ["a"]), again));
    }
    assert.equal(new Set(repeats).size, 1, repeats.join(" "));
    assert.deepEqual((await scene.stored()).filter((at) => at.startsWith("a@")), [
      `a@${repeats[0]}`,
    ]);
    const known = await placeOf(append(asked, 0, ["warm"]), 0);
    assert.ok(known.startsWith("1/"), known);
  });
}

Deno.test("what an old home sends late is refused once a new one has looked what there is", async () => {
  const scene = await clusterKeysScene();
  const { append, until, node, recordOf, other } = scene;
  const partition = [1, 2].find((each) =>
    scene.leaderOf("orders", each) !== scene.leaderOf("orders", 0)
  )!;
  await until(append("1", partition, ["a"]));
  const { topicId, leaderEpoch } = recordOf("orders", 0);
  const late = (nodeId: string, round: number) =>
    until(
      node(nodeId).broker.append({ topic: "orders", partition }, [batchOf(["b"])], {
        acks: "all",
        keysTerm: { topicId, leaderEpoch, round },
      }),
    );
  // As long as nobody else is the home it counts.
  await late("2", 99);
  const old = await scene.loseLeader("orders", 0);
  await until(append(other(old), partition, ["c"]));
  await assert.rejects(late(other(old), 99), hasCode("STALE_EPOCH"));
  assert.deepEqual((await scene.stored()).map((at) => at[0]), ["a", "b", "c"]);
});

Deno.test("an append that is on its way while its home is replaced arrives too late", async () => {
  const scene = await clusterKeysScene({ detectMs: 60_000 });
  const { append, until, placeOf, leaderOf, network, time } = scene;
  const home = leaderOf("orders", 0);
  const partition = [1, 2].find((each) => leaderOf("orders", each) !== home)!;
  const leader = leaderOf("orders", partition);
  await until(append(home, partition, ["warm"]));
  // As if it was paused: nothing of it arrives, and it hears nothing.
  network.isolate(home);
  scene.reachesMetadata(home, false);
  const late = append(home, partition, ["a"]);
  const before = scene.recordOf("orders", 0).leaderEpoch;
  const known = () => {
    const { local, cluster } = scene.node(leader);
    return cluster.partition(local.topic("orders")!.topicId, 0)!.record;
  };
  while (known().leaderEpoch === before || known().leader === null) await time.advance(100);
  assert.notEqual(known().leader, home);
  await time.advance(12_000);
  assert.equal(leaderOf("orders", partition), leader, "the late append has a leader to arrive at");
  const other = scene.other(home, leader);
  const place = await placeOf(append(other, partition, ["a"]), partition);
  scene.reachesMetadata(home, true);
  network.heal();
  await time.advance(1_000);
  assert.equal(await placeOf(late, partition), place);
  assert.deepEqual((await scene.stored()).filter((at) => at.startsWith("a@")), [`a@${place}`]);
});

Deno.test("an append whose answer is lost is looked for, and what is under way of it is kept out", async () => {
  const scene = await clusterKeysScene();
  const { append, until, placeOf, leaderOf, network, time } = scene;
  const home = leaderOf("orders", 0);
  const partition = [1, 2].find((each) => leaderOf("orders", each) !== home)!;
  const leader = leaderOf("orders", partition);
  await until(append(home, partition, ["warm"]));
  network.cutOneWay(leader, home);
  const lost = append(home, partition, ["a"]);
  await time.advance(100);
  network.reset(home, leader);
  await assert.rejects(until(lost), hasCode("PEER_LOST"));
  const counts = () => scene.node(home).local.messageKeyCounts();
  assert.equal((await counts()).pending, 1);
  network.heal();
  assert.equal(await placeOf(append(home, 0, ["a"]), 0), `${partition}/1`);
  const { pending, recovered } = await counts();
  assert.deepEqual([pending, recovered], [0, 1]);
  assert.deepEqual(await scene.stored(), [`warm@${partition}/0`, `a@${partition}/1`]);
  const { topicId, leaderEpoch } = scene.recordOf("orders", 0);
  const at = { topic: "orders", partition };
  const keysTerm = { topicId, leaderEpoch, round: 1 };
  const late = scene.node(leader).local.append(at, [batchOf(["b"])], { acks: "all", keysTerm });
  await assert.rejects(until(late), hasCode("STALE_EPOCH"));
});

Deno.test("a home that is one no more keeps nothing, and knows all when it is one again", async () => {
  const scene = await clusterKeysScene();
  const { append, until, leaderOf, other, time, placeOf } = scene;
  for (let number = 0; number < 20; number++) {
    await until(append("1", number % 3, [`k${number}`]));
  }
  const home = leaderOf("orders", 0);
  const keysAt = async (nodeId: string) => (await scene.node(nodeId).local.messageKeyCounts()).keys;
  assert.equal(await keysAt(home), 20);
  await until(scene.node(home).close());
  scene.kill(home);
  const next = leaderOf("orders", 0);
  assert.notEqual(next, home);
  // Loaded before anybody asks.
  await time.advance(1_000);
  assert.equal(await keysAt(next), 20);
  await until(append(next, 1, ["new"]));
  await scene.start(home);
  await time.advance(15_000);
  await until(scene.node(next).close());
  scene.kill(next);
  const third = leaderOf("orders", 0);
  for (const key of ["k0", "k19", "new"]) {
    const place = await placeOf(append(other(next), 2, [key]), 2);
    assert.notEqual(place, "2/99");
  }
  assert.equal((await scene.stored()).length, 21);
  assert.equal(await keysAt(third), 21);
});

Deno.test("a partition that the topic does not have is refused with keys as without", async () => {
  const scene = await clusterKeysScene();
  await assert.rejects(scene.until(scene.append("1", 7, ["a"])), hasCode("UNKNOWN_PARTITION"));
});
