// Owns what a consuming client's commits do to retries, and what it may be sent where they hold up a partition.
// Refuses to own the decisions themselves (retry_decide_test.ts). Invariant: a whole broker in memory, in virtual time.
import assert from "node:assert/strict";
import { AT, batched, nack, retries, seen, setPolicy } from "./support/stream_retry_scene.ts";

retries(
  "a commit does not settle a retry that it may have crossed on its way, however much time goes by",
  async (world) => {
    const client = await world.consumer();
    await world.publish(5);
    await nack(world, client, 1, { delayMs: 0 });
    await world.time.advance(10);
    await world.calm();
    assert.deepEqual(seen(client).at(-1), "1#2");
    const inHand = async () =>
      (await world.broker.group({ type: "Describe", group: "billing" })).retries.inHand;
    client.commit(5);
    await world.calm();
    assert.equal(await inHand(), 1);
    await nack(world, client, 1, { delayMs: 0 });
    assert.deepEqual(client.ofType("error"), []);
    await world.time.advance(10);
    await world.calm();
    assert.deepEqual(seen(client).at(-1), "1#3");
    client.commit(5);
    await world.time.advance(20_000);
    await world.calm();
    assert.equal(await inHand(), 1);
    await nack(world, client, 1, { delayMs: 0 });
    assert.deepEqual(client.ofType("error"), []);
    await world.time.advance(10);
    await world.calm();
    assert.deepEqual(seen(client).at(-1), "1#4");
    client.commit(2);
    await world.calm();
    assert.equal(await inHand(), 0);
  },
);

retries(
  "a commit that waits for the one before it is not about a retry that is sent meanwhile",
  async (world) => {
    const client = await world.consumer();
    await world.publish(3);
    client.send({ type: "nack", ...AT, offset: 2, delayMs: 0 });
    client.commit(3);
    await world.calm();
    await world.time.advance(10);
    await world.calm();
    assert.deepEqual(seen(client).at(-1), "2#2");
    const { retries } = await world.broker.group({ type: "Describe", group: "billing" });
    assert.equal(retries.inHand, 1);
    await nack(world, client, 2, { delayMs: 0 });
    assert.deepEqual(client.ofType("error"), []);
  },
);

retries(
  "autoCommit settles what came again once it was flushed, and the window goes on",
  async (world) => {
    const client = await world.consumer({ autoCommit: true, maxInFlight: 2 });
    await world.publish(2);
    await nack(world, client, 0, { delayMs: 500 });
    await nack(world, client, 1, { delayMs: 500 });
    await world.time.advance(600);
    await world.calm();
    assert.deepEqual(seen(client), ["0", "1", "0#2", "1#2"]);
    await world.time.advance(1_500);
    await world.calm();
    const { offsets, retries } = await world.broker.group({ type: "Describe", group: "billing" });
    assert.deepEqual(retries, { waiting: 0, inHand: 0, deadLettersToWrite: 0 });
    assert.equal(offsets[0]!.offset, 2);
    await world.publish(1);
    assert.deepEqual(seen(client).at(-1), "2");
  },
);

retries("what a client says is done of retries is done, and no more", async (world) => {
  const client = await world.consumer();
  await world.publish(5);
  for (const offset of [1, 2, 3]) await nack(world, client, offset, { delayMs: 0 });
  await world.time.advance(10);
  await world.calm();
  assert.deepEqual(seen(client).slice(5), ["1#2", "2#2", "3#2"]);
  client.send({ type: "commit", offsets: [{ ...AT, offset: 5, settles: [2] }] });
  await world.publish(2);
  client.send({ type: "commit", offsets: [{ ...AT, offset: 7, settles: [] }] });
  await world.calm();
  const inHand = async () =>
    (await world.broker.group({ type: "Describe", group: "billing" })).retries.inHand;
  assert.equal(await inHand(), 2);
  client.send({ type: "commit", offsets: [{ ...AT, offset: 7, settles: [1] }] });
  await nack(world, client, 3, { delayMs: 0 });
  await world.time.advance(10);
  await world.calm();
  assert.equal(await inHand(), 1);
  assert.deepEqual(seen(client).at(-1), "3#3");
  client.send({ type: "leave" });
  await world.calm();
  const next = await world.consumer();
  await world.calm();
  assert.deepEqual(seen(next), ["3#3"], "it was not settled: it comes again");
  assert.deepEqual(client.ofType("error"), []);
});

retries(
  "under blockPartition a client goes on too that answers everything with the highest offset",
  async (world) => {
    await setPolicy(world, { ordering: "blockPartition" });
    const client = await world.consumer();
    await world.publish(3);
    await nack(world, client, 0);
    client.commit(2);
    client.commit(3);
    await world.publish(2);
    assert.deepEqual(seen(client), ["0", "1", "2"]);
    await world.time.advance(200);
    await world.calm();
    assert.deepEqual(seen(client).slice(3), ["0#2"]);
    await world.time.advance(20_000);
    assert.deepEqual(seen(client).slice(4), []);
    client.commit(3);
    await world.calm();
    assert.deepEqual(seen(client).slice(4), ["3", "4"]);
  },
);

retries(
  "under blockPartition the next member reads up to what waits, no further",
  async (world) => {
    await setPolicy(world, { ordering: "blockPartition", maxAttempts: 3 });
    const client = await world.consumer();
    await world.publish(8);
    await nack(world, client, 5, { delayMs: 1_000 });
    await nack(world, client, 6, { delayMs: 0 });
    client.commit(3);
    client.send({ type: "leave" });
    await world.calm();
    for (const format of ["json", "batch"] as const) {
      const next = await world.consumer({ format });
      await world.calm();
      assert.deepEqual(format === "batch" ? batched(next) : seen(next), ["3", "4"]);
      next.send({ type: "leave" });
      await world.calm();
    }
    await world.time.advance(1_000);
    const last = await world.consumer();
    await world.calm();
    assert.deepEqual(seen(last), ["3", "4", "5#2"]);
    last.commit(6);
    await world.calm();
    await world.time.advance(10);
    await world.calm();
    assert.deepEqual(seen(last), ["3", "4", "5#2", "6#2"]);
    last.commit(7);
    await world.calm();
    assert.deepEqual(seen(last), ["3", "4", "5#2", "6#2", "7"]);
  },
);

retries("under blockPartition what waits may be the first thing to come", async (world) => {
  await setPolicy(world, { ordering: "blockPartition" });
  const client = await world.consumer();
  await world.publish(2);
  await nack(world, client, 0);
  client.send({ type: "leave" });
  await world.calm();
  const next = await world.consumer();
  await world.calm();
  assert.deepEqual(seen(next), []);
  await world.time.advance(200);
  await world.calm();
  assert.deepEqual(seen(next), ["0#2"]);
  next.commit(1);
  await world.calm();
  assert.deepEqual(seen(next), ["0#2", "1"]);
});
