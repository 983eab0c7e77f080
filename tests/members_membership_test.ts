// Owns tests of who is a member among those that poll over HTTP, and what the group says to them: starts, restarts, pauses.
// Refuses to own leases and single polls (members_polling_test.ts). Invariant: virtual time, without sockets.
import assert from "node:assert/strict";
import { BrokerError } from "../storage/broker_error.ts";
import type { Answer } from "./support/api_app.ts";
import { pollingAgain, polls } from "./support/polling_world.ts";

polls("members start where they ask to when nothing is committed", {}, async (world) => {
  await world.publish(2);
  const earliest = await world.join();
  assert.deepEqual(await earliest.offsets(), [0, 1]);
  await world.ask("DELETE", earliest.path);
  const latest = await world.join({ autoOffsetReset: "latest" });
  await world.publish(1);
  assert.deepEqual(await latest.offsets(), [2]);
});

polls(
  "a member that waits in a long poll is not silent, one that does not poll is removed",
  {},
  async (world) => {
    const waiting = await world.join({ sessionTimeoutMs: 3_000 });
    assert.equal((await waiting.poll({ waitMs: 10_000 })).status, 200);
    assert.equal((await waiting.poll()).status, 200);
    await world.time.advance(6_000);
    const gone = await waiting.poll();
    assert.deepEqual([gone.status, gone.body.code], [404, "UNKNOWN_MEMBER"]);
    assert.equal(world.consuming.counts().members, 0);
  },
);

polls("partitions that move are given up by the next poll", { partitions: 2 }, async (world) => {
  await world.publish(2, 0);
  await world.publish(2, 1);
  const first = await world.join();
  assert.equal((await first.poll()).body.messages.length, 4);
  const second = await world.join();
  assert.deepEqual(second.joined.assignment, [], "both are still with the first");
  const { body } = await first.poll();
  assert.equal(body.assignment.length, 1);
  assert.equal(body.messages.length, 2, "the rest of its lease again");
  assert.equal(body.messages[0].partition, body.assignment[0].partition);
  const taken = await second.poll({ waitMs: 1_000 });
  assert.equal(taken.body.assignment.length, 1);
  const offsets = (await second.poll()).body.messages.map(({ offset }: Answer["body"]) => offset);
  assert.deepEqual(offsets, [0, 1]);
  const mine = body.assignment[0].partition;
  assert.equal(
    (await world.commit(2, { partition: 1 - mine, memberId: first.memberId })).status,
    409,
  );
});

polls("a member that leaves is one no more", {}, async (world) => {
  const member = await world.join();
  assert.equal((await world.ask("DELETE", member.path)).status, 204);
  assert.equal((await world.ask("DELETE", member.path)).status, 404);
  assert.equal((await member.poll()).status, 404);
  assert.equal(world.consuming.counts().members, 0);
});

polls("a static member that joins again replaces the one before", {}, async (world) => {
  const first = await world.join({ instanceId: "one" });
  const second = await world.join({ instanceId: "one" });
  assert.equal(second.joined.generation, first.joined.generation, "no rebalance");
  assert.equal((await first.poll()).body.code, "UNKNOWN_MEMBER");
  assert.equal((await second.poll()).status, 200);
});

polls(
  "after a restart of the edge a known member goes on at its committed offsets",
  {},
  async (world) => {
    await world.publish(6);
    const member = await world.join();
    assert.deepEqual(await member.offsets({ maxMessages: 4 }), [0, 1, 2, 3]);
    await world.commit(2, { memberId: member.memberId });
    const poll = pollingAgain(world, member);
    const first = await poll({ leaseToken: member.token, maxMessages: 2 });
    assert.deepEqual(first.messages.map(({ offset }: Answer["body"]) => offset), [2, 3]);
    const lost = await poll({ leaseToken: member.token });
    assert.deepEqual(lost, first);
    assert.equal((await poll({ leaseToken: "latest.other" })).code, "STALE_LEASE");
  },
);

polls(
  "a paused group gives nothing out, and what an operator moved is where it goes on",
  {},
  async (world) => {
    await world.publish(4);
    const member = await world.join();
    assert.deepEqual(await member.offsets(), [0, 1, 2, 3]);
    await world.commit(4, { memberId: member.memberId });
    await world.ask("POST", "/api/groups/billing:pause", { body: { reason: "repair" } });
    await world.publish(1);
    assert.deepEqual(await member.offsets({ waitMs: 500 }), []);
    assert.deepEqual((await member.poll()).body.paused, { reason: "repair" });
    const moved = { groupId: "billing", offsets: [{ topic: "orders", partition: 0, offset: 1 }] };
    await world.ask("POST", "/api/offsets:commit", {
      body: { ...moved, allowRewind: true, reason: "again" },
    });
    await world.ask("POST", "/api/groups/billing:resume");
    assert.deepEqual(await member.offsets({ waitMs: 500 }), [1, 2, 3, 4]);
    assert.equal((await member.poll()).body.paused, undefined);
  },
);

polls("a paused group gives nothing out after a restart of the edge either", {}, async (world) => {
  await world.publish(3);
  const member = await world.join();
  await world.ask("POST", "/api/groups/billing:pause", { body: { reason: "repair" } });
  const poll = pollingAgain(world, member);
  const paused = await poll({ leaseToken: member.token, maxMessages: 2 });
  assert.deepEqual([paused.messages, paused.paused], [[], { reason: "repair" }]);
  const offsets = [{ topic: "orders", partition: 0, offset: 1 }];
  await world.ask("POST", "/api/offsets:commit", { body: { groupId: "billing", offsets } });
  await world.ask("POST", "/api/groups/billing:resume");
  const resumed = await poll({ leaseToken: paused.leaseToken, waitMs: 500 });
  assert.deepEqual(resumed.messages.map(({ offset }: Answer["body"]) => offset), [1, 2]);
  assert.equal(resumed.paused, undefined);
});

polls("as many members as there may be join at the same time, and no more", {
  limits: { maxMembers: 2 },
}, async (world) => {
  const joins = Array.from(
    { length: 5 },
    () => world.ask("POST", "/api/groups/billing/members", { body: { topics: ["orders"] } }),
  );
  const statuses = (await Promise.all(joins)).map(({ status }) => status);
  assert.deepEqual(statuses.sort(), [200, 200, 503, 503, 503]);
  const again = await world.ask("POST", "/api/groups/billing/members", {
    body: { topics: ["orders"] },
  });
  assert.equal(again.status, 503);
});

polls("a join that was refused leaves its place to another", {
  limits: { maxMembers: 1 },
}, async (world) => {
  const path = "/api/groups/billing/members";
  const refused = await world.ask("POST", path, { body: { topics: ["none"] } });
  assert.equal(refused.status, 404);
  const held = world.api.broker.group;
  world.api.broker.group = () => Promise.reject(new BrokerError("ACTOR_DOWN", "down"));
  assert.equal((await world.ask("POST", path, { body: { topics: ["orders"] } })).status, 503);
  world.api.broker.group = held;
  await world.join();
});
