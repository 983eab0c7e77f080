// Tests of how much one consuming client, and all together, may cost: frames, buffers, connections, timers.
// Invariant: a whole broker in memory, in virtual time.
import assert from "node:assert/strict";
import { STREAM_LIMITS } from "../api/stream/limits.ts";
import { type FakeClient, FakeSocket, STREAM_REQUEST } from "./support/stream_fakes.ts";
import { consumes, range } from "./support/consuming_stream.ts";

consumes(
  "bad frames are told, and closed after a few in a row",
  { limits: { maxBadFrames: 3 } },
  async (world) => {
    const client = await world.consumer();
    client.send("nonsense");
    client.send({ type: "heartbeat" });
    client.send({ type: "commit" });
    client.send({ type: "dance" });
    assert.equal(client.closeCode, null);
    assert.equal(client.last("error").code, "INVALID_REQUEST");
    client.sendBytes(new Uint8Array([0xc1]));
    assert.equal(client.closeCode, 1008);
  },
);

consumes("frames that come before welcome are together no larger than one may be", {
  limits: { maxFrameBytes: 1_000 },
}, async (world) => {
  const client = world.connect();
  for (let id = 0; id < 20; id++) client.commit(0, { id, partition: 9 });
  const refused = client.ofType("error");
  assert.ok(refused.every(({ code }) => code === "OVERLOADED"));
  assert.ok(refused.length > 0 && refused.length < 10, `${refused.length} of 20 refused`);
  await world.calm();
  assert.equal(client.ofType("error").length, 20, "the others are answered once it has joined");
  assert.equal(client.closeCode, null);
});

consumes(
  "a frame that is too large closes with 1009",
  { limits: { maxFrameBytes: 100 } },
  async (world) => {
    const client = await world.consumer();
    client.send(`{"type":"heartbeat","x":"${"y".repeat(200)}"}`);
    assert.equal(client.closeCode, 1009);
  },
);

consumes("a client that does not read is delivered no more than the bound, and costs no more", {
  limits: { maxBufferedBytes: 10_000 },
}, async (world) => {
  const client = await world.consumer({ maxInFlight: 100_000, maxBatchBytes: 2_000 });
  client.socket.stuck = true;
  for (let batch = 0; batch < 20; batch++) await world.publish(10, { bytes: 500 });
  await world.time.advance(10_000);
  assert.ok(client.socket.bufferedAmount < 14_000, `${client.socket.bufferedAmount} bytes`);
  const before = client.messages().length;
  client.socket.read();
  await world.time.advance(1_000);
  assert.ok(client.messages().length > before);
  client.socket.stuck = false;
  client.socket.read();
  await world.until(() => client.messages().length === 200, "the rest");
  assert.deepEqual(client.offsets(), range(0, 200));
});

consumes("while all sockets together are full only those that read are served", {
  limits: { maxTotalBufferedBytes: 5_000 },
}, async (world) => {
  const stuck = await world.consumer({ group: "stuck", maxBatchBytes: 1_000 });
  const reading = await world.consumer({ group: "reading", maxBatchBytes: 1_000 });
  stuck.socket.stuck = true;
  for (let batch = 0; batch < 10; batch++) await world.publish(4, { bytes: 500 });
  await world.time.advance(1_000);
  assert.ok(stuck.socket.bufferedAmount < 8_000, `${stuck.socket.bufferedAmount} bytes`);
  assert.equal(reading.messages().length, 40);
  assert.equal(world.hub.bufferedBytes, stuck.socket.bufferedAmount);
  await stuck.gone();
  assert.equal(world.hub.bufferedBytes, 0);
});

consumes("many that do not read at all take a small turn each once all sockets together are full", {
  limits: { maxTotalBufferedBytes: 50_000, tightTurnBytes: 2_000 },
}, async (world) => {
  for (let batch = 0; batch < 40; batch++) await world.publish(2, { bytes: 500 });
  const clients = Array.from({ length: 20 }, (_, i) => {
    const client = world.connect({ group: `g${i}`, maxBatchBytes: 100_000 });
    client.socket.stuck = true;
    return client;
  });
  await world.time.advance(5_000);
  assert.ok(clients.every(({ socket }) => socket.bufferedAmount > 0));
  const largest = 100_000;
  const bound = 50_000 + largest + clients.length * 4_000;
  assert.ok(world.hub.bufferedBytes < bound, `${world.hub.bufferedBytes} bytes`);
  for (const { socket } of clients) {
    socket.stuck = false;
    socket.read();
  }
  await world.until(() => clients.every((client) => client.messages().length === 80), "the rest");
});

consumes(
  "however many do not read, all sockets together buffer no more than their bound, and later all goes on",
  {
    limits: { maxTotalBufferedBytes: 5_000, tightTurnBytes: 2_000, maxBufferedAtAllBytes: 20_000 },
  },
  async (world) => {
    const clients: FakeClient[] = [];
    for (let i = 0; i < 40; i++) {
      clients.push(await world.consumer({ group: `g${i}`, maxBatchBytes: 1_000 }));
    }
    for (const { socket } of clients) socket.stuck = true;
    for (let batch = 0; batch < 10; batch++) await world.publish(2, { bytes: 500 });
    await world.time.advance(5_000);
    assert.ok(world.hub.bufferedBytes > 15_000, "they took a frame each");
    assert.ok(world.hub.bufferedBytes < 23_000, `${world.hub.bufferedBytes} bytes`);
    for (const { socket } of clients) {
      socket.stuck = false;
      socket.read();
    }
    await world.until(() => clients.every((client) => client.messages().length === 20), "the rest");
  },
);

consumes("a client that makes the server talk and does not read is closed", {
  limits: { maxUnreadBytes: 2_000 },
}, async (world) => {
  const client = await world.consumer();
  client.socket.stuck = true;
  for (let id = 0; id < 40; id++) client.commit(0, { id, partition: 9 });
  assert.equal(client.closeCode, 1008);
  assert.ok(client.socket.bufferedAmount < 3_000);
});

consumes(
  "once all sockets together are full, who makes the server talk and does not read is closed sooner",
  {
    limits: { maxUnreadBytes: 200_000, maxTotalBufferedBytes: 5_000, maxTightUnreadBytes: 2_000 },
  },
  async (world) => {
    const stuck = await world.consumer({ group: "stuck" });
    const reading = await world.consumer({ group: "reading" });
    const talk = (client: FakeClient, count: number) => {
      for (let id = 0; id < count; id++) client.commit(0, { id, partition: 9 });
    };
    stuck.socket.stuck = true;
    talk(stuck, 10);
    assert.ok(stuck.socket.bufferedAmount > 1_000 && stuck.socket.bufferedAmount < 2_000);
    stuck.socket.read();
    await world.publish(20, { bytes: 500 });
    assert.ok(world.hub.bufferedBytes > 5_000);
    talk(stuck, 5);
    assert.equal(stuck.closeCode, null);
    talk(reading, 100);
    assert.equal(reading.closeCode, null);
    talk(stuck, 100);
    assert.equal(stuck.closeCode, 1008);
    assert.ok(stuck.socket.bufferedAmount < 20_000, `${stuck.socket.bufferedAmount} bytes`);
  },
);

consumes("a broker takes in no more connections than its bound, counted until they are gone", {
  limits: { maxSessions: 2 },
}, async (world) => {
  const first = await world.consumer();
  await world.consumer();
  assert.throws(() => world.connect(), { code: "OVERLOADED" });
  first.send({ type: "leave" });
  await world.calm();
  assert.throws(() => world.connect(), { code: "OVERLOADED" });
  await first.gone();
  await world.consumer();
});

consumes(
  "a socket that never opens is counted no longer than it may take, and lets nobody in after that",
  {
    limits: { maxSessions: 1 },
  },
  async (world) => {
    const socket = new FakeSocket();
    const { connection } = world.hub.accept(STREAM_REQUEST, socket);
    await world.time.advance(STREAM_LIMITS.openTimeoutMs - 1_000);
    assert.equal(world.hub.size, 1);
    await world.time.advance(2_000);
    assert.equal(world.hub.size, 0);
    await connection.open();
    assert.equal(socket.closedWith?.code, 1013);
    assert.deepEqual((await world.broker.groups()).length, 0, "nobody has joined");
    const client = await world.consumer();
    await world.time.advance(2 * STREAM_LIMITS.openTimeoutMs);
    assert.equal(client.closeCode, null);
    assert.equal(world.hub.size, 1);
  },
);

consumes(
  "idle connections cost no timers beyond the common beat",
  { partitions: 4 },
  async (world) => {
    const clients: FakeClient[] = [];
    for (let count = 0; count < 50; count++) {
      clients.push(
        world.connect({ group: `g${count % 5}` }),
      );
    }
    await world.until(
      () => clients.every((client) => client.last("assigned") !== undefined),
      "assignments",
    );
    await world.time.advance(1_000);
    // The beat of the hub, a wait for data per partition, and what the broker has of its own (Deadlines per group shard).
    assert.ok(world.time.pendingTimers < 20, `${world.time.pendingTimers} timers`);
  },
);
