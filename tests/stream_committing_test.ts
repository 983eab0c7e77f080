// Tests of what consuming clients commit on a whole broker in memory, in virtual time.
import assert from "node:assert/strict";
import type { GroupCommand } from "../actors/group/types.ts";
import { consumes, range } from "./support/consuming_stream.ts";
import { withMembers } from "./support/with_members.ts";

const commands: number[][] = [];

consumes("commits that come together are one command, and each is answered", {
  wrap: (broker) =>
    withMembers(broker, {
      group: <C extends GroupCommand>(command: C) => {
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
