// Owns the consumer's promises to an application: messages, commits, nacks, pauses, revocations, reconnects, the end.
import assert from "node:assert/strict";
import fc from "fast-check";
import { WaybillError } from "../api/client/errors.ts";
import { consumerWorld, Reader } from "./support/client_stream.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";
import { watch } from "./support/client_transport.ts";
import type { VirtualClock } from "./support/virtual_time.ts";
import type { TopicPartition } from "../actors/broker.ts";
import type { StreamWorld } from "./support/stream_fakes.ts";

async function committed(world: StreamWorld, partition = 0): Promise<number | null> {
  const group = await world.broker.group({ type: "Describe", group: "billing" });
  return group.offsets.find((at) => at.partition === partition)?.offset ?? null;
}

/** Lets time pass in steps that leave the broker its turns. */
async function pass(world: StreamWorld, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 25) {
    await world.time.advance(Math.min(25, left));
    for (let turn = 0; turn < 5; turn++) await world.time.advance(0);
  }
}

const range = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, index) => from + index);

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
  assert.deepEqual(socket().ofType("commit").at(-1).offsets[0].offset, 2);
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

Deno.test("after a lost connection the same member goes on, without a message twice or missing", async () => {
  const { world, consumer, socket, line, errors } = await consumerWorld();
  await world.publish(20);
  const connected: boolean[] = [];
  const revoked: unknown[] = [];
  const billing = consumer({
    onConnected: ({ resumed }) => connected.push(resumed),
    onRevoked: (partitions) => void revoked.push(partitions),
  });
  const reader = new Reader(billing);
  await world.until(() => reader.messages.length === 20, "the first");
  const member = billing.memberId;
  const before = watch(billing.commit(reader.messages[4]!));
  await world.until(() => before.code === "done", "a commit");
  socket().cut();
  const during = watch(billing.commit(reader.messages[9]!));
  await world.publish(10);
  await world.until(() => reader.messages.length === 30, "the rest");
  await world.until(() => during.code === "done", "the commit that waited");
  assert.deepEqual(reader.offsets(), range(0, 30));
  assert.equal(line.sockets.length, 2);
  assert.match(socket().url, new RegExp(`memberId=${member}`));
  assert.equal(billing.memberId, member);
  assert.deepEqual([connected, revoked, errors], [[false, true], [], ["NETWORK_ERROR"]]);
  assert.equal(await committed(world), 10);
  await billing.close();
});

Deno.test("messages that wait in the consumer survive a lost connection", async () => {
  const { world, consumer, socket } = await consumerWorld();
  await world.publish(20);
  const billing = consumer();
  const iterator = billing[Symbol.asyncIterator]();
  const seen: number[] = [];
  const next = async () => {
    const result = watch(iterator.next());
    await world.until(() => result.code !== "pending", "a message");
    seen.push(result.value!.value.offset);
  };
  for (let index = 0; index < 5; index++) await next();
  socket().cut();
  for (let index = 0; index < 5; index++) await next();
  await world.until(() => socket().readyState === 1, "the new connection");
  await world.calm();
  for (let index = 0; index < 10; index++) await next();
  assert.deepEqual(seen, range(0, 20));
  await billing.close();
});

Deno.test("a message nacked before the connection was lost comes again after it", async () => {
  const { world, consumer, socket, errors } = await consumerWorld();
  await world.publish(4);
  const billing = consumer();
  const reader = new Reader(billing);
  reader.onMessage = (message) => {
    if (message.offset === 2 && message.attempt === 1) billing.nack(message, { delayMs: 60_000 });
  };
  await world.until(() => reader.messages.length === 4, "messages");
  await world.calm();
  socket().cut();
  await world.calm();
  await world.time.advance(60_000);
  await world.until(() => reader.messages.length === 5, "it again");
  assert.deepEqual([reader.messages[4]!.offset, reader.messages[4]!.attempt], [2, 2]);
  const all = watch(billing.commitAll());
  await world.until(() => all.code === "done", "the commit");
  await world.time.advance(70_000);
  assert.equal(reader.messages.length, 5);
  assert.deepEqual(errors, ["NETWORK_ERROR"]);
  await billing.close();
});

Deno.test("a nack without a connection waits for the next one", async () => {
  const { world, consumer, socket, errors } = await consumerWorld();
  await world.publish(3);
  const billing = consumer();
  const reader = new Reader(billing);
  await world.until(() => reader.messages.length === 3, "messages");
  socket().cut();
  billing.nack(reader.messages[1]!, { delayMs: 500 });
  await world.until(() => reader.messages.length === 4, "it again");
  assert.deepEqual([reader.messages[3]!.offset, reader.messages[3]!.attempt], [1, 2]);
  assert.deepEqual(errors, ["NETWORK_ERROR"]);
  await billing.close();
});

Deno.test("a commit made as soon as the connection is back waits until its partition is", async () => {
  let time: VirtualClock | null = null;
  const { world, consumer, socket } = await consumerWorld({
    // The broker takes its time to find out where a partition goes on.
    wrap: (broker) =>
      new Proxy(broker, {
        get(target, name) {
          if (name !== "partitionInfo") {
            const member = Reflect.get(target, name, target);
            return typeof member === "function" ? member.bind(target) : member;
          }
          return async (at: TopicPartition) => {
            await new Promise<void>((resolve) => time!.after(100, resolve));
            return await target.partitionInfo(at);
          };
        },
      }),
  });
  time = world.time;
  await world.publish(4);
  const commits: ReturnType<typeof watch>[] = [];
  const billing = consumer({
    onConnected: ({ resumed }) => {
      if (resumed) commits.push(watch(billing.commit(reader.messages[2]!)));
    },
  });
  const reader = new Reader(billing);
  await world.until(() => reader.messages.length === 4, "messages");
  socket().cut();
  await world.until(() => commits.length === 1 && commits[0]!.code !== "pending", "its end");
  assert.equal(commits[0]!.code, "done");
  assert.equal(await committed(world), 3);
  await billing.close();
});

Deno.test("a member that was away too long starts anew, and is told that it lost its partitions", async () => {
  const { world, consumer, socket, line } = await consumerWorld();
  await world.publish(6);
  const lost: boolean[] = [];
  const billing = consumer({
    onRevoked: (_, why) => void lost.push(why.lost),
    sessionTimeoutMs: 6_000,
    backoff: { baseMs: 100, maxMs: 400 },
  });
  const reader = new Reader(billing);
  await world.until(() => reader.messages.length === 6, "messages");
  const first = watch(billing.commit(reader.messages[2]!));
  await world.until(() => first.code === "done", "a commit");
  line.refuseConnections = true;
  socket().cut();
  const never = watch(billing.commit(reader.messages[5]!));
  await pass(world, 40_000);
  line.refuseConnections = false;
  await world.until(() => reader.messages.length === 9, "redelivery from the commit on");
  assert.deepEqual(reader.offsets(), [0, 1, 2, 3, 4, 5, 3, 4, 5]);
  assert.deepEqual(lost, [true]);
  assert.ok(["NOT_ASSIGNED", "TIMEOUT"].includes(never.code), never.code);
  await assert.rejects(billing.commit(reader.messages[5]!), { code: "NOT_ASSIGNED" });
  assert.throws(() => billing.nack(reader.messages[5]!), { code: "NOT_ASSIGNED" });
  await billing.close();
});

Deno.test("attempts to connect come with growing waits, and a silent broker is left", async () => {
  const { world, consumer, socket, line, errors } = await consumerWorld();
  const billing = consumer({ backoff: { baseMs: 100, maxMs: 1_000 }, sessionTimeoutMs: 6_000 });
  const reader = new Reader(billing);
  await world.publish(1);
  await world.until(() => reader.messages.length === 1, "a message");
  const heartbeats = () => socket().ofType("heartbeat").length;
  await pass(world, 10_500);
  assert.ok(heartbeats() >= 5 && heartbeats() <= 6, `${heartbeats()} heartbeats`);
  assert.equal(line.sockets.length, 1);
  socket().silent = true;
  await pass(world, 10_000);
  assert.ok(line.sockets.length >= 2, "a silent line is given up");
  assert.ok(errors.includes("TIMEOUT"));
  line.refuseConnections = true;
  const before = line.sockets.length;
  socket().cut();
  await pass(world, 10_000);
  const attempts = line.sockets.length - before;
  assert.ok(attempts >= 10 && attempts <= 25, `${attempts} attempts in 10 s`);
  line.refuseConnections = false;
  await world.publish(1);
  await world.until(() => reader.messages.length === 2, "the next message");
  await billing.close();
});

Deno.test("a refusal for good ends the iterator with the broker's own words", async () => {
  const { world, consumer, line } = await consumerWorld();
  line.refuseConnections = true;
  line.http = new WaybillError("FORBIDDEN", "not yours", { retryable: false, status: 403 });
  const billing = consumer();
  const reader = new Reader(billing);
  await world.until(() => reader.error !== null, "the error");
  assert.equal(reader.error!.code, "FORBIDDEN");
  assert.equal(line.sockets.length, 1);
  await billing.close();
});

Deno.test("a join that the group refuses ends the iterator", async () => {
  const { world, consumer } = await consumerWorld();
  const first = consumer({ assignor: "range" });
  const second = consumer({ assignor: "sticky" });
  new Reader(first);
  await world.until(() => first.assignment.length === 1, "the first");
  const reader = new Reader(second);
  await world.until(() => reader.error !== null, "the error");
  assert.equal(reader.error!.code, "INCONSISTENT_ASSIGNOR");
  await Promise.all([first.close(), second.close()]);
});

Deno.test("a consumer that another connection replaces does not fight for its place", async () => {
  const { world, consumer, socket, line } = await consumerWorld();
  const billing = consumer();
  const reader = new Reader(billing);
  await world.until(() => billing.assignment.length === 1, "the assignment");
  const intruder = world.connect({ memberId: billing.memberId! });
  await world.until(() => reader.error !== null, "the error");
  assert.equal(reader.error!.code, "REPLACED");
  assert.equal(line.sockets.length, 1);
  assert.equal(socket().readyState, 3);
  await intruder.gone();
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

Deno.test("however often connections break, a member that comes back in time misses nothing and repeats nothing", async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 2 ** 31 }), async (seed) => {
      const chance = seededRandomness(seed);
      const { world, consumer, socket, line, errors } = await consumerWorld({ partitions: 3 });
      const nacked = new Set<string>();
      const billing = consumer({
        autoCommit: chance.fraction() < 0.5,
        autoCommitIntervalMs: 50,
        maxInFlight: 5 + chance.integer(40),
        // The group keeps a place for 2 s.
        backoff: { baseMs: 20, maxMs: 200 },
      });
      const reader = new Reader(billing);
      reader.onMessage = (message) => {
        const place = `${message.partition}/${message.offset}`;
        const draw = chance.fraction();
        if (message.attempt === 1 && draw < 0.05) {
          nacked.add(place);
          billing.nack(message, { delayMs: chance.integer(50) });
        } else if (draw < 0.5) billing.commit(message).catch(() => {});
      };
      let published = 0;
      for (let round = 0; round < 12; round++) {
        const count = 1 + chance.integer(20);
        published += count;
        await world.publish(count, { partition: chance.integer(3) });
        if (chance.fraction() < 0.6) socket()?.cut();
        line.refuseConnections = chance.fraction() < 0.3;
        await pass(world, chance.integer(400));
        line.refuseConnections = false;
      }
      const firsts = () => reader.messages.filter(({ attempt }) => attempt === 1);
      // What fills the window has to be settled by somebody.
      for (let turn = 0; turn < 60 && (turn < 10 || firsts().length < published); turn++) {
        billing.commitAll().catch(() => {});
        await pass(world, 100);
      }
      const places = firsts().map(({ partition, offset }) => `${partition}/${offset}`);
      assert.equal(new Set(places).size, places.length, "no message twice");
      assert.equal(places.length, published, "no message missing");
      for (const partition of [0, 1, 2]) {
        const offsets = firsts().filter((one) => one.partition === partition).map(({ offset }) =>
          offset
        );
        assert.deepEqual(offsets, range(0, offsets.length));
      }
      const allowed = new Set(["NETWORK_ERROR", "NACK_FORGOTTEN", "NOT_ASSIGNED"]);
      assert.deepEqual(errors.filter((code) => !allowed.has(code)), []);
      const again = new Set(
        reader.messages.filter(({ attempt }) => attempt > 1).map(({ partition, offset }) =>
          `${partition}/${offset}`
        ),
      );
      const forgotten = errors.filter((code) => code === "NACK_FORGOTTEN").length;
      const missing = [...nacked].filter((place) => !again.has(place));
      assert.ok(missing.length <= forgotten, `${missing} never came again, ${forgotten} forgotten`);
      const closing = watch(billing.close());
      await world.until(() => closing.code === "done", "the end");
    }),
    { numRuns: 15 },
  );
});
