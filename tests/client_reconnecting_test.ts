// Owns the consumer's promises when connections are lost, refused or replaced.
import assert from "node:assert/strict";
import fc from "fast-check";
import { WaybillError } from "../api/client/errors.ts";
import { consumerWorld, Reader } from "./support/client_stream.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";
import { watch } from "./support/client_transport.ts";
import { withMembers } from "./support/with_members.ts";
import type { VirtualClock } from "./support/virtual_time.ts";
import type { TopicPartition } from "../actors/broker.ts";
import { committed, pass, range } from "./support/consumer_scene.ts";

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
      withMembers(broker, {
        partitionInfo: async (at: TopicPartition) => {
          await new Promise<void>((resolve) => time!.after(100, resolve));
          return await broker.partitionInfo(at);
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
