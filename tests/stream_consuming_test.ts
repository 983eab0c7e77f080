// Tests of consuming clients on a whole broker in memory, in virtual time: delivery in order, redelivery, what is read anew.
// Refuses to own commits (stream_committing_test.ts), bounds (stream_bounds_test.ts) and who stays (stream_members_test.ts).
import assert from "node:assert/strict";
import type { Broker } from "../actors/broker.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { consumes, range } from "./support/consuming_stream.ts";
import { withMembers } from "./support/with_members.ts";

let logStart = 0;

let faulty = false;

/** A broker whose partitions seem to start at a later offset. */
function withLogStart(broker: Broker, start: () => number): Broker {
  return withMembers(broker, {
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
  return withMembers(broker, {
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

consumes("a damaged batch is told once, and nothing is skipped over it", {
  wrap: (broker) =>
    withMembers(broker, {
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
