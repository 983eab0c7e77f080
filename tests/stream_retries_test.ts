// Owns what a consuming client sees of messages that fail: when they come again, what they hold up, where they end.
// Refuses to own the decisions themselves (retry_decide_test.ts), and commits (stream_retry_commits_test.ts).
// Invariant: a whole broker in memory, in virtual time.
import assert from "node:assert/strict";
import {
  AT,
  batched,
  deadLetters,
  nack,
  publishKeys,
  redeliver,
  retries,
  seen,
  setPolicy,
} from "./support/stream_retry_scene.ts";

retries("a poison message holds up nobody under skip, and ends as a dead letter", async (world) => {
  await setPolicy(world, { maxAttempts: 3 });
  await world.publish(50);
  const client = await world.consumer({ maxInFlight: 10 });
  let poison = 0;
  let read = 0;
  await world.until(() => {
    for (; read < client.messages().length; read++) {
      const { offset } = client.messages()[read];
      if (offset === 7) {
        client.send({ type: "nack", ...AT, offset, code: "BAD", reason: "poison" });
        poison++;
      } else client.commit(offset + 1);
    }
    return poison === 3 && read === 52;
  }, "all messages, and the poison three times");
  await world.calm();
  assert.equal(await deadLetters(world), 1);
  const { offsets, retries } = await world.broker.group({ type: "Describe", group: "billing" });
  assert.equal(offsets[0]!.offset, 50);
  assert.deepEqual(retries, { waiting: 0, inHand: 0, deadLettersToWrite: 0 });
  assert.deepEqual(client.ofType("error"), []);
});

for (const format of ["json", "msgpack", "batch"] as const) {
  retries(`a poison message holds up its key alone under blockKey (${format})`, async (world) => {
    await setPolicy(world, { ordering: "blockKey", maxAttempts: 3 });
    const client = await world.consumer({ format });
    const records = () => format === "batch" ? batched(client) : seen(client);
    await publishKeys(world, "a");
    await nack(world, client, 0);
    await publishKeys(world, "b", "a", null, "a", "c");
    assert.deepEqual(records(), ["0", "1", "3", "5"]);
    client.commit(6);
    await world.time.advance(200);
    await world.calm();
    assert.deepEqual(records().slice(4), ["0#2"], "the others of its key wait behind it");
    client.commit(1);
    await world.calm();
    await world.time.advance(10);
    await world.calm();
    assert.deepEqual(records().slice(5), ["2#1"], "one at a time, in order");
    client.commit(3);
    await world.calm();
    await world.time.advance(10);
    await world.calm();
    assert.deepEqual(records().slice(6), ["4#1"]);
    client.commit(5);
    await publishKeys(world, "a");
    assert.deepEqual(records().slice(7), ["6"]);
  });
}

retries(
  "what waits behind a poison message outlives its dead letter and the member",
  async (world) => {
    await setPolicy(world, { ordering: "blockKey", maxAttempts: 2 });
    const client = await world.consumer();
    await publishKeys(world, "a");
    await nack(world, client, 0);
    await publishKeys(world, "a", "b");
    assert.deepEqual(seen(client), ["0", "2"]);
    client.commit(3);
    client.send({ type: "leave" });
    await world.calm();
    const next = await world.consumer();
    await world.time.advance(200);
    await world.calm();
    assert.deepEqual(seen(next), ["0#2"]);
    await nack(world, next, 0);
    await world.time.advance(10);
    await world.calm();
    assert.equal(await deadLetters(world), 1);
    assert.deepEqual(seen(next), ["0#2", "1#1"]);
  },
);

retries("a poison message holds up its partition under blockPartition", async (world) => {
  await setPolicy(world, { ordering: "blockPartition", maxAttempts: 3 });
  const client = await world.consumer();
  await world.publish(1);
  await world.publish(1, { partition: 1 });
  await nack(world, client, 0);
  await world.publish(3);
  await world.publish(2, { partition: 1 });
  assert.deepEqual(client.offsets(0), [0]);
  assert.deepEqual(client.offsets(1), [0, 1, 2]);
  for (const [waitMs, attempt] of [[200, 2], [400, 3]] as const) {
    await world.time.advance(waitMs);
    await world.calm();
    assert.equal(client.messages(0).at(-1).attempt, attempt);
    assert.deepEqual([...new Set(client.offsets(0))], [0]);
    await nack(world, client, 0);
  }
  await world.time.advance(10);
  await world.calm();
  assert.equal(await deadLetters(world), 1);
  assert.deepEqual(client.offsets(0).slice(3), [1, 2, 3]);
}, { partitions: 2 });

retries(
  "a retry goes to the member that reads its partition now, which passes it over before",
  async (world) => {
    const client = await world.consumer();
    await world.publish(5);
    await nack(world, client, 1, { delayMs: 1_000, id: "n" });
    const { nextAttemptAt, ...confirmed } = client.last("nacked");
    assert.deepEqual(confirmed, { type: "nacked", id: "n", ...AT, offset: 1, attempt: 1 });
    assert.equal(nextAttemptAt, world.time.now() + 1_000);
    client.send({ type: "leave" });
    await world.calm();
    const next = await world.consumer();
    await world.calm();
    assert.deepEqual(seen(next), ["0", "2", "3", "4"]);
    await world.time.advance(1_000);
    await world.calm();
    assert.deepEqual(seen(next).slice(4), ["1#2"]);
    next.commit(5);
    await world.publish(1);
    next.commit(6);
    await world.calm();
    const { retries } = await world.broker.group({ type: "Describe", group: "billing" });
    assert.deepEqual(retries, { waiting: 0, inHand: 0, deadLettersToWrite: 0 });
  },
);

retries("a retry in hand of a member that vanishes comes again to the next", async (world) => {
  const client = await world.consumer();
  await world.publish(2);
  client.commit(2);
  await world.calm();
  await redeliver(world, [0, 1]);
  await world.time.advance(10);
  await world.calm();
  assert.deepEqual(seen(client), ["0", "1", "0#2", "1#2"]);
  client.commit(1);
  await world.calm();
  await client.gone();
  await world.time.advance(2_000);
  const next = await world.consumer();
  await world.until(() => next.messages().length > 0, "the retry");
  assert.deepEqual(seen(next), ["1#2"]);
});

retries(
  "retries are given out no faster than the window allows, and all of them come",
  async (world) => {
    const client = await world.consumer({ maxInFlight: 7 });
    await world.publish(40);
    let read = 0;
    const failed = new Set<number>();
    await world.until(() => {
      for (; read < client.messages().length; read++) {
        const { offset, attempt } = client.messages()[read];
        if (attempt === undefined) {
          client.send({ type: "nack", ...AT, offset, delayMs: 0 });
          failed.add(offset);
        } else {
          client.commit(offset + 1);
          failed.delete(offset);
        }
      }
      return failed.size === 0 && read === 80;
    }, "every retry");
    await world.calm();
    const { offsets, retries } = await world.broker.group({ type: "Describe", group: "billing" });
    assert.equal(retries.waiting + retries.inHand, 0);
    assert.equal(offsets[0]!.offset, 40);
    assert.deepEqual(client.ofType("error"), []);
  },
);

retries(
  "a paused group gives out no retry, and goes on with them when it is resumed",
  async (world) => {
    const client = await world.consumer();
    await world.publish(2);
    await nack(world, client, 0, { delayMs: 100 });
    await world.broker.group({ type: "Pause", group: "billing", reason: "stop", principal: "ops" });
    await world.time.advance(1_000);
    await world.calm();
    assert.deepEqual(seen(client), ["0", "1"]);
    await world.broker.group({ type: "Resume", group: "billing", principal: "ops" });
    await world.calm();
    await world.time.advance(10);
    await world.calm();
    assert.deepEqual(seen(client), ["0", "1", "0#2"]);
  },
);

retries("a retry of what is not read yet comes once, when reading has got there", async (world) => {
  const client = await world.consumer();
  await world.publish(1);
  client.commit(1);
  await redeliver(world, [3]);
  await world.time.advance(50);
  await world.calm();
  await world.publish(5);
  await world.time.advance(50);
  await world.calm();
  assert.deepEqual(seen(client), ["0", "1", "2", "4", "5", "3#2"]);
});
