// Tests of who is a member of a group and how long: instances, heartbeats, connections that break, pauses, draining.
// Invariant: a whole broker in memory, in virtual time.
import assert from "node:assert/strict";
import { consumes, range } from "./support/consuming_stream.ts";

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

consumes("a group that refuses a member is told and closed", {}, async (world) => {
  await world.consumer({ assignor: "range" });
  const other = world.connect({ assignor: "sticky" });
  await other.opened;
  await world.calm();
  assert.equal(other.last("error").code, "INCONSISTENT_ASSIGNOR");
  assert.equal(other.closeCode, 1008);
});

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
