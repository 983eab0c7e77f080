// Owns the consumer's promises of what an application settles: commits, auto-commit, nacks.
import assert from "node:assert/strict";
import { WaybillError } from "../api/client/errors.ts";
import { consumerWorld, Reader } from "./support/client_stream.ts";
import { watch } from "./support/client_transport.ts";
import { committed, range } from "./support/consumer_scene.ts";

Deno.test("commits that gather while one is on its way go together, and each hears of its end", async () => {
  const { world, consumer, socket } = await consumerWorld();
  await world.publish(100);
  const billing = consumer();
  const reader = new Reader(billing);
  const commits: ReturnType<typeof watch>[] = [];
  reader.onMessage = (message) => void commits.push(watch(billing.commit(message)));
  await world.until(
    () => commits.length === 100 && commits.every(({ code }) => code === "done"),
    "all",
  );
  assert.equal(await committed(world), 100);
  const frames = socket().ofType("commit").length;
  assert.ok(frames < 20, `${frames} frames for 100 commits`);
  const stale = watch(billing.commit(reader.messages[3]!));
  await world.calm();
  assert.equal(stale.code, "done", "what is committed past is done");
  assert.equal(socket().ofType("commit").length, frames);
  await billing.close();
});

Deno.test("a commit that the broker refuses rejects, those beside it do not", async () => {
  const { world, consumer } = await consumerWorld({ partitions: 2 });
  await world.publish(2, { partition: 0 });
  await world.publish(2, { partition: 1 });
  const billing = consumer();
  const reader = new Reader(billing);
  await world.until(() => reader.messages.length === 4, "messages");
  const at = (partition: number, offset: number) => ({ topic: "orders", partition, offset });
  const beyond = watch(billing.commit(at(0, 1_000)));
  const right = watch(billing.commit(at(0, 1)));
  const other = watch(billing.commit(at(1, 2)));
  const foreign = watch(billing.commit(at(7, 1)));
  await world.calm();
  await world.calm();
  assert.deepEqual(
    [beyond.code, right.code, other.code, foreign.code],
    ["OFFSET_OUT_OF_RANGE", "done", "done", "NOT_ASSIGNED"],
  );
  assert.deepEqual([await committed(world, 0), await committed(world, 1)], [1, 2]);
  await billing.close();
});

Deno.test("auto-commit commits what the application has come back from, and no more", async () => {
  const { world, consumer } = await consumerWorld();
  await world.publish(10);
  const billing = consumer({ autoCommit: true, autoCommitIntervalMs: 1_000 });
  const iterator = billing[Symbol.asyncIterator]();
  const next = async () => {
    const result = watch(iterator.next());
    await world.until(() => result.code !== "pending", "a message");
    return result.value!;
  };
  for (let index = 0; index < 4; index++) await next();
  await world.time.advance(1_100);
  await world.calm();
  assert.equal(await committed(world), 3, "the fourth is still in the application's hands");
  await next();
  const closing = watch(billing.close());
  await world.until(() => closing.code === "done", "the end");
  assert.equal(await committed(world), 4);
  assert.equal((await next()).done, true);
});

Deno.test("auto-commit does not wait for its interval when much is consumed", async () => {
  const { world, consumer, socket } = await consumerWorld();
  await world.publish(200);
  const billing = consumer({ autoCommit: true, maxInFlight: 20, autoCommitIntervalMs: 60_000 });
  const reader = new Reader(billing);
  await world.until(() => reader.messages.length === 200, "all of them");
  assert.ok(world.time.monotonic() < 30_000);
  assert.ok(socket().ofType("commit").length >= 10);
  await billing.close();
  assert.deepEqual(reader.offsets(), range(0, 200));
});

Deno.test("commitAll commits what was given, not what waits", async () => {
  const { world, consumer } = await consumerWorld();
  await world.publish(10);
  const billing = consumer();
  const iterator = billing[Symbol.asyncIterator]();
  for (let index = 0; index < 3; index++) {
    const result = watch(iterator.next());
    await world.until(() => result.code === "done", "a message");
  }
  const all = watch(billing.commitAll());
  await world.until(() => all.code === "done", "the commit");
  assert.equal(await committed(world), 3);
  await billing.close();
});

Deno.test("a nacked message comes again with its attempt, and its commit does not turn the offset back", async () => {
  const { world, consumer, errors, socket } = await consumerWorld();
  await world.publish(5);
  const billing = consumer();
  const reader = new Reader(billing);
  reader.onMessage = (message) => {
    if (message.offset === 1 && message.attempt < 3) {
      billing.nack(message, { reason: "not yet", delayMs: 100 });
    }
  };
  await world.until(() => reader.messages.length === 5, "messages");
  await billingCommit();
  assert.equal(await committed(world), 5);
  await world.until(() => reader.messages.length === 7, "redeliveries");
  assert.deepEqual(reader.messages.slice(5).map(({ offset, attempt }) => [offset, attempt]), [
    [1, 2],
    [1, 3],
  ]);
  const settled = watch(billing.commit(reader.messages[6]!));
  await world.calm();
  assert.equal(settled.code, "done");
  assert.deepEqual(socket().ofType("commit").at(-1).offsets, [{
    topic: "orders",
    partition: 0,
    offset: 5,
    settles: [1],
  }]);
  assert.equal(await committed(world), 5);
  assert.deepEqual(errors, []);
  await billing.close();

  async function billingCommit() {
    const all = watch(billing.commitAll());
    await world.until(() => all.code === "done", "the commit");
  }
});

Deno.test("auto-commit settles redeliveries as well, so that the window does not fill with them", async () => {
  const { world, consumer, errors } = await consumerWorld();
  await world.publish(60);
  const billing = consumer({ autoCommit: true, maxInFlight: 8, autoCommitIntervalMs: 200 });
  const reader = new Reader(billing);
  reader.onMessage = (message) => {
    if (message.attempt === 1) billing.nack(message, { delayMs: 1_000 });
  };
  await world.until(() => reader.messages.length === 120, "every message twice");
  assert.deepEqual(
    reader.messages.filter(({ attempt }) => attempt === 2).map(({ offset }) => offset)
      .toSorted((a, b) => a - b),
    range(0, 60),
  );
  assert.deepEqual(errors, []);
  await billing.close();
});

Deno.test("a nack that the broker refuses goes to the listener", async () => {
  const { world, consumer } = await consumerWorld();
  await world.publish(2);
  const faults: WaybillError[] = [];
  const billing = consumer({ onError: (error) => faults.push(error) });
  const reader = new Reader(billing);
  await world.until(() => reader.messages.length === 2, "messages");
  const all = watch(billing.commitAll());
  await world.until(() => all.code === "done", "the commit");
  billing.nack(reader.messages[0]!);
  await world.calm();
  assert.deepEqual(faults.map(({ code, details }) => [code, details.offset]), [[
    "INVALID_REQUEST",
    0,
  ]]);
  await billing.close();
});

Deno.test("with auto-commit, consumers that come and go lose no message and repeat none", async () => {
  const { world, consumer } = await consumerWorld({ partitions: 4 });
  const options = { autoCommit: true, autoCommitIntervalMs: 300 };
  const consumers = [consumer(options)];
  const readers = [new Reader(consumers[0]!)];
  for (let round = 0; round < 8; round++) {
    for (let partition = 0; partition < 4; partition++) await world.publish(25, { partition });
    if (round === 2 || round === 4) {
      consumers.push(consumer(options));
      readers.push(new Reader(consumers.at(-1)!));
    }
    if (round === 6) {
      const leaving = watch(consumers[0]!.close());
      await world.until(() => leaving.code === "done", "the first to leave");
    }
    await world.time.advance(700);
  }
  const all = () => readers.flatMap(({ places }) => places);
  await world.until(() => all().length >= 800, "every message");
  assert.equal(new Set(all()).size, 800);
  // The one that left may have held a message that it had not come back from.
  assert.ok(all().length <= 801, `${all().length} deliveries`);
  await Promise.all(consumers.map((one) => one.close()));
});
