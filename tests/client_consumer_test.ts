// Owns the consumer's promises to an application: messages, batches, pauses, room, the end.
// Refuses to own commits and nacks (client_settling_test.ts) and connections that are lost (client_reconnecting_test.ts).
import assert from "node:assert/strict";
import { consumerWorld, Reader } from "./support/client_stream.ts";
import { watch } from "./support/client_transport.ts";
import { committed, pass, range } from "./support/consumer_scene.ts";

Deno.test("a consumer gets what is there and what comes", async () => {
  const { world, consumer, socket } = await consumerWorld();
  await world.publish(3);
  const billing = consumer();
  const reader = new Reader(billing);
  await world.until(() => reader.messages.length === 3, "what was there");
  await world.publish(2);
  await world.until(() => reader.messages.length === 5, "what came");
  assert.deepEqual(reader.offsets(), range(0, 5));
  const [first] = reader.messages;
  assert.deepEqual(
    [first!.topic, first!.key, first!.value, first!.attempt, first!.headers],
    ["orders", null, "message 0", 1, Object.create(null)],
  );
  assert.deepEqual(socket().protocols, ["waybill.v1", "bearer.secret"]);
  assert.match(
    socket().url,
    /^ws:\/\/broker\/api\/groups\/billing\/stream\?topics=orders&format=batch/,
  );
  const closing = watch(billing.close());
  await world.until(() => closing.code === "done", "the end");
  assert.equal(reader.ended, true);
  assert.equal(socket().ofType("leave").length, 1);
});

Deno.test("batches come per partition, and each can be committed as a whole", async () => {
  const { world, consumer } = await consumerWorld({ partitions: 2 });
  await world.publish(5, { partition: 0 });
  await world.publish(4, { partition: 1 });
  const billing = consumer();
  const seen: string[] = [];
  void (async () => {
    for await (const batch of billing.batches()) {
      seen.push(
        `${batch.partition}: ${batch.messages.map(({ offset }) => offset)} < ${batch.offset}`,
      );
      await billing.commit(batch);
    }
  })();
  await world.until(() => seen.length === 2, "both");
  await world.calm();
  assert.deepEqual(seen.toSorted(), ["0: 0,1,2,3,4 < 5", "1: 0,1,2,3 < 4"]);
  assert.deepEqual([await committed(world, 0), await committed(world, 1)], [5, 4]);
  await billing.close();
});

Deno.test("breaking off a loop loses nothing: the next loop goes on behind it", async () => {
  const { world, consumer } = await consumerWorld();
  await world.publish(10);
  const billing = consumer();
  const seen: number[] = [];
  const loops = watch((async () => {
    for (let loop = 0; loop < 3; loop++) {
      for await (const { offset } of billing) {
        seen.push(offset);
        if (seen.length % 3 === 0) break;
      }
    }
  })());
  await world.until(() => loops.code === "done", "three loops");
  assert.deepEqual(seen, range(0, 9));
  billing[Symbol.asyncIterator]();
  assert.throws(() => billing.batches(), /one iterator at a time/);
  await billing.close();
});

Deno.test("a paused partition gives nothing until it is resumed, others go on", async () => {
  const { world, consumer, socket } = await consumerWorld({ partitions: 2 });
  for (const partition of [0, 1]) await world.publish(5, { partition });
  const billing = consumer();
  const reader = new Reader(billing);
  reader.onMessage = (message) => {
    if (message.partition === 0 && message.offset === 1) {
      billing.pause([{ topic: "orders", partition: 0 }]);
    }
  };
  await world.until(() => reader.offsets(1).length === 5, "the other");
  await world.publish(5, { partition: 0 });
  await world.calm();
  assert.deepEqual(reader.offsets(0), [0, 1]);
  billing.resume([{ topic: "orders", partition: 0 }]);
  await world.until(() => reader.offsets(0).length === 10, "the rest");
  assert.deepEqual(reader.offsets(0), range(0, 10));
  assert.deepEqual(socket().sent.map(({ type }) => type), ["pause", "resume"]);
  await billing.close();
});

Deno.test("an application that settles nothing is told so when its window is full", async () => {
  const { world, consumer } = await consumerWorld();
  await world.publish(50);
  const told: unknown[] = [];
  const billing = consumer({ maxInFlight: 10, onLagging: (lagging) => told.push(lagging) });
  const reader = new Reader(billing);
  await world.until(() => told.length === 1, "the word");
  assert.deepEqual(told, [{ unsettled: 10, maxInFlight: 10 }]);
  assert.equal(reader.messages.length, 10);
  void billing.commit(reader.messages[9]!);
  await world.until(() => told.length === 2, "the word again");
  assert.equal(reader.messages.length, 20);
  await billing.close();
});

Deno.test("too many bytes in wait make the broker pause, room makes it go on", async () => {
  const { world, consumer, socket } = await consumerWorld();
  for (let index = 0; index < 20; index++) await world.publish(10, { bytes: 5_000 });
  const billing = consumer({ maxBufferedBytes: 200_000 });
  billing.start();
  await world.until(() => socket()?.ofType("pause").length === 1, "the pause");
  await world.calm();
  const reader = new Reader(billing);
  await world.until(() => reader.messages.length === 200, "all of them");
  assert.deepEqual(reader.offsets(), range(0, 200));
  assert.ok(socket().ofType("resume").length >= 1);
  await billing.close();
});

Deno.test("partitions that move are given up when the application is done with what it got of them", async () => {
  const { world, consumer } = await consumerWorld({ partitions: 2 });
  for (const partition of [0, 1]) await world.publish(30, { partition });
  const revocations: string[] = [];
  const first = consumer({
    onRevoked: (partitions, { lost }) => {
      revocations.push(...partitions.map(({ partition }) => `${partition} ${lost}`));
    },
  });
  const iterator = first[Symbol.asyncIterator]();
  const take = async () => {
    const result = watch(iterator.next());
    await world.until(() => result.code !== "pending", "a message");
    return result.value!.value;
  };
  // One message of each partition is with the application, more of both wait.
  const taken = [await take()];
  first.pause([taken[0]!]);
  taken.push(await take());
  first.resume([taken[0]!]);
  assert.notEqual(taken[0]!.partition, taken[1]!.partition);
  const second = consumer();
  const reader = new Reader(second);
  await world.until(() => revocations.length === 1, "the revocation");
  const moving = Number(revocations[0]![0]);
  await pass(world, 500);
  assert.equal(second.assignment.length, 0, "not before the first is done with what it has");
  const last = taken.findLast(({ partition }) => partition === moving)!;
  const commit = watch(first.commit(last));
  await world.until(() => commit.code === "done", "the commit");
  const committedAt = world.time.monotonic();
  await world.until(() => reader.messages.length > 0, "the second's turn");
  const waitedMs = world.time.monotonic() - committedAt;
  assert.ok(waitedMs < 200, `the broker had to take it after ${waitedMs} ms`);
  assert.deepEqual(revocations, [`${moving} false`]);
  assert.equal(reader.messages[0]!.offset, last.offset + 1);
  for (let index = 0; index < 5; index++) assert.equal((await take()).partition, 1 - moving);
  await Promise.all([first.close(), second.close()]);
});

Deno.test("a revocation waits for the application's listener while it has something to settle", async () => {
  const { world, consumer } = await consumerWorld({ partitions: 2 });
  for (const partition of [0, 1]) await world.publish(3, { partition });
  let release = () => {};
  const first = consumer({
    onRevoked: async () => {
      await new Promise<void>((resolve) => release = resolve);
      await first.commitAll();
    },
  });
  const reader = new Reader(first);
  await world.until(() => reader.messages.length === 6, "messages");
  const second = consumer();
  const other = new Reader(second);
  await world.calm();
  await world.time.advance(500);
  assert.equal(second.assignment.length, 0);
  release();
  await world.until(() => second.assignment.length === 1, "the second's share");
  assert.equal(first.assignment.length, 1);
  await world.calm();
  assert.deepEqual(other.messages, []);
  await Promise.all([first.close(), second.close()]);
});

Deno.test("close leaves no timer and no member behind, and ends what waits", async () => {
  const { world, consumer } = await consumerWorld();
  const billing = consumer({ autoCommit: true });
  const reader = new Reader(billing);
  await world.until(() => billing.assignment.length === 1, "the assignment");
  await billing.close();
  await world.calm();
  assert.equal(reader.ended, true);
  const group = await world.broker.group({ type: "Describe", group: "billing" });
  assert.equal(group.members.length, 0);
  await assert.rejects(
    billing.commit({ topic: "orders", partition: 0, offset: 1 }),
    { code: "NOT_ASSIGNED" },
  );
});

Deno.test("a damaged batch is fetched again, and after that the application hears of it", async () => {
  const { world, consumer, line, errors } = await consumerWorld();
  await world.publish(3);
  let left = 2;
  line.damaged = (frame) => {
    if (left-- > 0) frame[frame.length - 3]! ^= 1;
    return frame;
  };
  const billing = consumer();
  const reader = new Reader(billing);
  await world.until(() => reader.messages.length === 3, "messages after all");
  assert.deepEqual(reader.offsets(), [0, 1, 2]);
  assert.deepEqual(errors, ["CORRUPT_BATCH", "CORRUPT_BATCH", "CORRUPT_BATCH", "CORRUPT_BATCH"]);
  assert.equal(line.sockets.length, 3);
  left = 100;
  await world.publish(1);
  await world.until(() => reader.error !== null, "the error");
  assert.equal(reader.error!.code, "CORRUPT_BATCH");
  await billing.close();
});
