// Tests of consuming clients on a whole broker in memory, in virtual time: delivery, commits, redelivery, bounds.
import assert from "node:assert/strict";
import type { Broker } from "../actors/broker.ts";
import type { GroupCommand } from "../actors/group/types.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { STREAM_LIMITS } from "../api/stream/limits.ts";
import {
  type FakeClient,
  FakeSocket,
  STREAM_REQUEST,
  StreamWorld,
  type StreamWorldOptions,
} from "./support/stream_fakes.ts";

function consumes(
  name: string,
  options: StreamWorldOptions,
  test: (world: StreamWorld) => Promise<void>,
): void {
  Deno.test(name, async () => {
    const world = await StreamWorld.open(options);
    try {
      await test(world);
      assert.deepEqual(world.faults, []);
    } finally {
      await world.close();
    }
  });
}

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

consumes(
  "a consumer is welcomed, assigned, and given every message in order",
  {},
  async (world) => {
    await world.publish(3);
    const client = await world.consumer();
    await world.publish(4);
    assert.deepEqual(client.frames.slice(0, 2).map(({ type }) => type), ["welcome", "assigned"]);
    assert.deepEqual(client.last("assigned").partitions, [
      {
        topic: "orders",
        partition: 0,
        offset: 0,
        leaderEpoch: client.last("assigned").partitions[0].leaderEpoch,
      },
    ]);
    assert.deepEqual(client.offsets(), range(0, 7));
    assert.equal(client.messages()[0].value, "message 0");
    assert.equal(client.last("messages").highWatermark, 7);
  },
);

consumes(
  "without a committed offset a consumer starts where autoOffsetReset says",
  {},
  async (world) => {
    await world.publish(3);
    const latest = await world.consumer({ group: "late", autoOffsetReset: "latest" });
    const earliest = await world.consumer({ group: "early" });
    await world.publish(2);
    assert.deepEqual(latest.offsets(), [3, 4]);
    assert.deepEqual(earliest.offsets(), range(0, 5));
  },
);

consumes("a committed offset is where the next member starts", {}, async (world) => {
  await world.publish(5);
  const first = await world.consumer();
  await world.calm();
  first.commit(3, { id: "c1" });
  await world.calm();
  assert.deepEqual(first.last("committed"), {
    type: "committed",
    id: "c1",
    offsets: [{ topic: "orders", partition: 0, offset: 3 }],
  });
  first.send({ type: "leave" });
  await world.calm();
  assert.deepEqual(first.socket.closedWith, { code: 1000, reason: "left" });
  const second = await world.consumer();
  await world.calm();
  assert.deepEqual(second.offsets(), [3, 4]);
});

for (const format of ["json", "msgpack", "batch"] as const) {
  consumes(`no more than maxInFlight are in flight (${format})`, {}, async (world) => {
    await world.publish(25);
    const client = await world.consumer({ maxInFlight: 10, format });
    await world.time.advance(1_000);
    const delivered = () =>
      client.ofType("messages").map((frame) =>
        format === "batch" ? frame.nextOffset : frame.messages.at(-1).offset + 1
      ).at(-1);
    assert.equal(delivered(), 10);
    client.commit(4);
    await world.time.advance(1_000);
    assert.equal(delivered(), 14);
    client.commit(14);
    await world.time.advance(1_000);
    assert.equal(delivered(), 24);
    if (format !== "batch") return;
    const ranges = client.ofType("messages").map(({ offset, nextOffset }) => [offset, nextOffset]);
    assert.deepEqual(ranges, [[0, 10], [10, 14], [14, 24]]);
  });
}

consumes(
  "with batch, commits that come one by one do not send a large batch again for each",
  {},
  async (world) => {
    await world.publish(100);
    const client = await world.consumer({ maxInFlight: 50, format: "batch" });
    await world.calm();
    for (let offset = 1; offset <= 40; offset++) {
      client.commit(offset);
      await world.time.advance(1);
    }
    await world.time.advance(100);
    assert.equal(client.last("messages").nextOffset, 90);
    assert.ok(client.ofType("messages").length <= 5, `${client.ofType("messages").length} frames`);
  },
);

consumes("partitions are delivered in turn, each in order", { partitions: 3 }, async (world) => {
  for (const partition of [0, 1, 2]) await world.publish(20, { partition, bytes: 100 });
  const client = await world.consumer({ maxBatchBytes: 1_000 });
  await world.until(() => client.messages().length === 60, "all messages");
  for (const partition of [0, 1, 2]) assert.deepEqual(client.offsets(partition), range(0, 20));
  const turns = client.ofType("messages").map((frame) => frame.partition);
  assert.deepEqual(turns.slice(0, 6), [0, 1, 2, 0, 1, 2]);
});

consumes(
  "a nacked message comes again alone, with its attempt, and holds up no other",
  {},
  async (world) => {
    await world.publish(4);
    const client = await world.consumer();
    await world.calm();
    client.send({ type: "nack", topic: "orders", partition: 0, offset: 1 });
    await world.publish(1);
    assert.deepEqual(client.offsets(), range(0, 5));
    await world.time.advance(199);
    assert.equal(client.messages().length, 5);
    await world.time.advance(101);
    await world.calm();
    const again = client.last("messages").messages;
    assert.equal(again.length, 1);
    assert.equal(again[0].offset, 1);
    assert.equal(again[0].attempt, 2);
    client.send({ type: "nack", topic: "orders", partition: 0, offset: 1, delayMs: 10 });
    await world.time.advance(10);
    await world.calm();
    assert.equal(client.last("messages").messages[0].attempt, 3);
  },
);

consumes(
  "a redelivered message below the committed offset is settled by a commit right after it",
  {},
  async (world) => {
    await world.publish(3);
    const client = await world.consumer({ maxInFlight: 3 });
    await world.calm();
    client.send({ type: "nack", topic: "orders", partition: 0, offset: 0, delayMs: 5 });
    client.commit(3);
    await world.time.advance(5);
    await world.calm();
    assert.equal(client.last("messages").messages[0].attempt, 2);
    client.commit(1, { id: 2 });
    await world.calm();
    assert.deepEqual(client.last("committed"), {
      type: "committed",
      id: 2,
      offsets: [{ topic: "orders", partition: 0, offset: 3 }],
    });
    assert.deepEqual(client.ofType("error"), []);
    await world.publish(4);
    assert.deepEqual(client.offsets().slice(-3), [3, 4, 5], "nothing is left in flight");
  },
);

consumes("paused partitions rest until they are resumed", { partitions: 2 }, async (world) => {
  const client = await world.consumer();
  client.send({ type: "pause", partitions: [{ topic: "orders", partition: 0 }] });
  await world.publish(2);
  await world.publish(2, { partition: 1 });
  assert.deepEqual([client.offsets(0), client.offsets(1)], [[], [0, 1]]);
  client.send({ type: "resume", partitions: [{ topic: "orders", partition: 0 }] });
  await world.calm();
  assert.deepEqual(client.offsets(0), [0, 1]);
});

consumes("commits that come together are one command, and each is answered", {
  wrap: (broker) =>
    proxied(broker, {
      group: (command: GroupCommand) => {
        if (command.type === "CommitOffsets") {
          commands.push(command.offsets.map(({ offset }) => offset));
        }
        return broker.group(command);
      },
    }),
}, async (world) => {
  commands.length = 0;
  await world.publish(100);
  const client = await world.consumer();
  await world.calm();
  for (const offset of range(1, 51)) client.commit(offset, { id: offset });
  await world.calm();
  assert.deepEqual(client.ofType("committed").map(({ id }) => id), range(1, 51));
  assert.ok(commands.length <= 2, `${commands.length} commands`);
  // One that cannot be does not spoil those around it.
  for (const offset of [60, 20, 101, 70]) client.commit(offset, { id: `o${offset}` });
  await world.calm();
  const answers = client.frames.slice(-4).map(({ type, id, code }) => [type, id, code]);
  assert.deepEqual(answers, [
    ["committed", "o60", undefined],
    ["error", "o20", "OFFSET_ROLLBACK"],
    ["error", "o101", "OFFSET_OUT_OF_RANGE"],
    ["committed", "o70", undefined],
  ]);
});
const commands: number[][] = [];

consumes(
  "a commit of what is not assigned is refused and the session goes on",
  {},
  async (world) => {
    const client = await world.consumer();
    client.commit(1, { partition: 7, id: "x" });
    const error = client.last("error");
    assert.deepEqual([error.code, error.id, error.retryable], ["STALE_GENERATION", "x", false]);
    await world.publish(1);
    assert.deepEqual(client.offsets(), [0]);
  },
);

consumes("autoCommit commits what was delivered and flushed, and no more", {}, async (world) => {
  await world.publish(4);
  const client = await world.consumer({ autoCommit: true });
  const committed = async () =>
    (await world.broker.group({ type: "Describe", group: "billing" })).offsets.map(({ offset }) =>
      offset
    );
  await world.time.advance(2_000);
  assert.deepEqual(await committed(), [4]);
  client.socket.stuck = true;
  await world.publish(2);
  await world.time.advance(3_000);
  assert.deepEqual(await committed(), [4]);
  client.socket.read();
  await world.time.advance(2_000);
  assert.deepEqual(await committed(), [6]);
  assert.deepEqual(client.ofType("committed"), [], "nobody asked");
});

consumes("autoCommit does not count what a lost socket never sent", {}, async (world) => {
  await world.publish(4);
  const client = await world.consumer({ autoCommit: true });
  await world.time.advance(2_000);
  client.socket.stuck = true;
  await world.publish(2);
  client.socket.read();
  await client.gone();
  const { offsets } = await world.broker.group({ type: "Describe", group: "billing" });
  assert.deepEqual(offsets.map(({ offset }) => offset), [4]);
});

consumes(
  "of two members with one instanceId the older is closed and told not to come back",
  {},
  async (world) => {
    const older = await world.consumer({ instanceId: "one" });
    const newer = await world.consumer({ instanceId: "one" });
    assert.equal(older.closeCode, 4002);
    assert.equal(older.last("error").code, "UNKNOWN_MEMBER");
    await older.gone();
    await world.time.advance(5_000);
    assert.equal(newer.closeCode, null);
    assert.equal(
      newer.last("assigned").generation,
      older.last("assigned").generation,
      "no rebalance",
    );
  },
);

consumes("autoCommit looks seldom at a client that does not read", {}, async (world) => {
  const client = await world.consumer({ autoCommit: true, maxInFlight: 2 });
  let looks = 0;
  let unread = 1_000;
  const bufferedAmount = { get: () => (looks++, unread), set: () => {} };
  Object.defineProperty(client.socket, "bufferedAmount", bufferedAmount);
  await world.publish(100);
  await world.time.advance(5_000);
  looks = 0;
  await world.time.advance(10_000);
  assert.ok(looks < 100, `${looks} looks in 10 s`);
  unread = 0;
  await world.time.advance(3_000);
  assert.equal(client.messages().length, 100);
});

consumes("autoCommit does not wait for its beat when the window fills", {}, async (world) => {
  for (let batch = 0; batch < 20; batch++) await world.publish(10);
  const client = await world.consumer({ autoCommit: true, maxInFlight: 20 });
  await world.until(() => client.messages().length === 200, "all messages");
  assert.ok(world.time.monotonic() < 1_000, `took ${world.time.monotonic()} ms`);
});

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

consumes("the server's heartbeat comes every third of the session timeout", {}, async (world) => {
  const client = await world.consumer({ sessionTimeoutMs: 9_000 });
  await world.time.advance(3_600);
  assert.equal(client.ofType("heartbeat").length, 1);
  client.send({ type: "heartbeat" });
  await world.time.advance(3_000);
  assert.equal(client.ofType("heartbeat").length, 2);
});

consumes(
  "a silent member is removed and its socket closed, one that says anything stays",
  {},
  async (world) => {
    const silent = await world.consumer({ sessionTimeoutMs: 6_000, group: "silent" });
    const alive = await world.consumer({ sessionTimeoutMs: 6_000, group: "alive" });
    for (let second = 0; second < 10; second++) {
      alive.send(second % 2 === 0 ? { type: "heartbeat" } : "even nonsense");
      await world.time.advance(1_000);
    }
    await world.calm();
    assert.equal(silent.last("error").code, "UNKNOWN_MEMBER");
    assert.equal(silent.closeCode, 4001);
    assert.equal(alive.closeCode, null);
  },
);

consumes(
  "a connection that broke may be resumed by its memberId, without a rebalance",
  {},
  async (world) => {
    await world.publish(5);
    const first = await world.consumer();
    await world.calm();
    first.commit(2);
    await world.calm();
    const { generation } = first.last("assigned");
    await first.gone();
    await world.time.advance(1_000);
    const second = world.connect({ memberId: first.memberId });
    await world.until(() => second.last("assigned") !== undefined, "an assignment");
    await world.calm();
    assert.equal(second.last("welcome").resumed, true);
    assert.equal(second.memberId, first.memberId);
    assert.equal(second.last("assigned").generation, generation);
    assert.deepEqual(second.offsets(), [2, 3, 4], "what was not committed comes again");
    await world.time.advance(5_000);
    assert.equal(second.closeCode, null);
  },
);

consumes(
  "a member that comes back on another connection closes the one before",
  {},
  async (world) => {
    const first = await world.consumer();
    const second = await world.consumer({ memberId: first.memberId });
    assert.equal(first.closeCode, 4002);
    await first.gone();
    await world.time.advance(5_000);
    await world.publish(1);
    assert.deepEqual(second.offsets(), [0]);
    assert.equal(second.closeCode, null, "the lost socket is not held against the member");
  },
);

consumes("a member whose connection stays away loses its partitions to the others", {
  partitions: 2,
}, async (world) => {
  const first = world.connect();
  const second = world.connect();
  await world.until(
    () => [first, second].every((c) => c.last("assigned")?.partitions.length === 1),
    "a half each",
  );
  await first.gone();
  await world.until(() => second.last("assigned").partitions.length === 2, "all partitions");
});

consumes("a paused group rests, says so, and goes on where it was", {}, async (world) => {
  await world.publish(2);
  const client = await world.consumer();
  await world.calm();
  await world.broker.group({ type: "Pause", group: "billing", reason: "repair", principal: "p" });
  await world.publish(2);
  assert.equal(client.last("paused").reason, "repair");
  assert.deepEqual(client.offsets(), [0, 1]);
  const late = await world.consumer({ group: "billing", clientId: "late" });
  await world.calm();
  assert.equal(late.last("paused")?.reason, "repair");
  late.send({ type: "leave" });
  await world.calm();
  await world.broker.group({ type: "Resume", group: "billing", principal: "p" });
  await world.until(() => client.messages().length === 4, "the rest");
  assert.deepEqual(client.offsets(), range(0, 4));
  assert.equal(client.ofType("resumed").length, 1);
});

consumes(
  "what an operator moved while the group was paused is where delivery goes on",
  {},
  async (world) => {
    await world.publish(6);
    const client = await world.consumer();
    await world.calm();
    client.commit(6);
    await world.calm();
    await world.broker.group({ type: "Pause", group: "billing", reason: "repair", principal: "p" });
    const moved = { topic: "orders", partition: 0, offset: 2, endOffset: 6 };
    await world.broker.group({
      type: "CommitOffsets",
      group: "billing",
      offsets: [moved],
      allowRewind: true,
      reason: "again",
      principal: "p",
    });
    await world.broker.group({ type: "Resume", group: "billing", principal: "p" });
    await world.until(() => client.messages().length === 10, "the rest again");
    assert.deepEqual(client.offsets(), [...range(0, 6), ...range(2, 6)]);
    assert.equal(client.last("assigned").partitions[0].offset, 2);
  },
);

consumes(
  "a committed offset that retention has passed starts anew as autoOffsetReset says, and is told",
  {
    wrap: (broker) => withLogStart(broker, () => logStart),
  },
  async (world) => {
    logStart = 0;
    await world.publish(9);
    const first = await world.consumer();
    await world.calm();
    first.commit(2);
    first.send({ type: "leave" });
    await world.calm();
    logStart = 5;
    const second = await world.consumer();
    await world.calm();
    assert.deepEqual(second.offsets(), [5, 6, 7, 8]);
    assert.deepEqual(second.last("assigned").partitions[0].reset, {
      committed: 2,
      logStartOffset: 5,
      highWatermark: 9,
    });
    assert.deepEqual(second.ofType("error"), []);
  },
);
let logStart = 0;

consumes("a position that retention passes while reading starts anew", {
  wrap: (broker) => withLogStart(broker, () => logStart),
}, async (world) => {
  logStart = 0;
  await world.publish(9);
  const client = await world.consumer({ maxInFlight: 2 });
  await world.calm();
  logStart = 6;
  await world.time.advance(1_000);
  client.commit(2);
  await world.until(() => client.messages().length > 2, "more");
  client.commit(8);
  await world.until(() => client.messages().length === 5, "the end");
  assert.deepEqual(client.offsets(), [0, 1, 6, 7, 8]);
});

consumes("a partition that cannot be read is told once and read again when it can", {
  wrap: (broker) => withFault(broker, () => faulty),
}, async (world) => {
  faulty = false;
  const client = await world.consumer();
  await world.calm();
  faulty = true;
  await world.publish(2);
  await world.time.advance(5_000);
  const errors = client.ofType("error");
  assert.deepEqual(errors.map(({ code, partition }) => [code, partition]), [["STORAGE_FAILED", 0]]);
  faulty = false;
  await world.until(() => client.messages().length === 2, "the messages");
});
let faulty = false;

consumes("a damaged batch is told once, and nothing is skipped over it", {
  wrap: (broker) =>
    proxied(broker, {
      fetch: async (...args: Parameters<Broker["fetch"]>) => {
        const fetched = await broker.fetch(...args);
        const batches = fetched.batches.slice();
        if (batches.length > 80) batches.fill(0xff, 61, 80);
        return { ...fetched, batches };
      },
    }),
}, async (world) => {
  const client = await world.consumer();
  await world.publish(2);
  await world.time.advance(5_000);
  assert.deepEqual(client.ofType("error").map(({ code }) => code), ["CORRUPT_BATCH"]);
  assert.deepEqual(client.messages(), []);
});

consumes("a group that refuses a member is told and closed", {}, async (world) => {
  await world.consumer({ assignor: "range" });
  const other = world.connect({ assignor: "sticky" });
  await other.opened;
  await world.calm();
  assert.equal(other.last("error").code, "INCONSISTENT_ASSIGNOR");
  assert.equal(other.closeCode, 1008);
});

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

consumes("draining finishes commits, closes with 1012 and lets nobody in", {}, async (world) => {
  await world.publish(3);
  const asking = await world.consumer({ group: "asking" });
  const automatic = await world.consumer({ group: "automatic", autoCommit: true });
  await world.calm();
  asking.commit(2, { id: 1 });
  await world.hub.drain();
  for (const client of [asking, automatic]) assert.equal(client.closeCode, 1012);
  assert.equal(asking.last("committed").id, 1);
  const offsets = async (group: string) =>
    (await world.broker.group({ type: "Describe", group })).offsets.map(({ offset }) => offset);
  assert.deepEqual(await offsets("automatic"), [3]);
  assert.throws(() => world.connect(), { code: "SHUTTING_DOWN" });
});

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

/** A broker whose partitions seem to start at a later offset. */
function withLogStart(broker: Broker, start: () => number): Broker {
  return proxied(broker, {
    partitionInfo: async (at: { topic: string; partition: number }) => ({
      ...await broker.partitionInfo(at),
      logStartOffset: start(),
    }),
    fetch: (
      at: { topic: string; partition: number },
      offset: number,
      options: { maxBytes: number },
    ) => {
      if (offset >= start()) return broker.fetch(at, offset, options);
      return Promise.reject(
        new BrokerError("OFFSET_OUT_OF_RANGE", "gone", { logStartOffset: start() }),
      );
    },
  });
}

function withFault(broker: Broker, isFaulty: () => boolean): Broker {
  return proxied(broker, {
    fetch: (
      at: { topic: string; partition: number },
      offset: number,
      options: { maxBytes: number },
    ) =>
      isFaulty()
        ? Promise.reject(new BrokerError("STORAGE_FAILED", "the disk is gone"))
        : broker.fetch(at, offset, options),
  });
}

function proxied(broker: Broker, instead: Record<string, unknown>): Broker {
  return new Proxy(broker, {
    get: (target, name) => {
      if (typeof name === "string" && Object.hasOwn(instead, name)) return instead[name];
      const value = Reflect.get(target, name) as unknown;
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}
