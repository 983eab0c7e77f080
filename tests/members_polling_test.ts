// Owns tests of polls over HTTP: what they answer, when they end, what is refused; a whole broker in memory, in virtual time.
// Refuses to own who is a member (members_membership_test.ts). Invariant: without sockets.
import assert from "node:assert/strict";
import { type Answer, FORMATS } from "./support/api_app.ts";
import { settle } from "./support/virtual_time.ts";
import { polls } from "./support/polling_world.ts";

polls("a join answers with the assignment, and a poll with messages", {
  partitions: 2,
  initialRebalanceDelayMs: 500,
}, async (world) => {
  await world.publish(3);
  const member = await world.join();
  assert.equal(member.joined.generation, 1);
  assert.deepEqual(member.joined.assignment, [
    { topic: "orders", partition: 0 },
    { topic: "orders", partition: 1 },
  ]);
  const { body } = await member.poll();
  assert.deepEqual(body.messages.map(({ value }: { value: string }) => value), ["m0", "m1", "m2"]);
  assert.equal(body.generation, 1);
  assert.equal(body.assignment.length, 2);
});

for (const format of FORMATS) {
  polls(`an answer is the same in ${format}`, {}, async (world) => {
    await world.publish(2);
    const member = await world.join();
    const { body } = await member.poll({}, format);
    assert.deepEqual(body.messages.map(({ offset, value }: Answer["body"]) => [offset, value]), [
      [0, "m0"],
      [1, "m1"],
    ]);
  });
}

polls(
  "the same token returns the same messages until they are committed, then new ones",
  {},
  async (world) => {
    await world.publish(5);
    const member = await world.join();
    assert.deepEqual(await member.offsets({ maxMessages: 3 }), [0, 1, 2]);
    await world.publish(2);
    assert.deepEqual(await member.offsets({ maxMessages: 500 }), [0, 1, 2]);
    await world.commit(2, { memberId: member.memberId });
    assert.deepEqual(await member.offsets(), [0, 1, 2], "one is still uncommitted");
    await world.commit(3, { memberId: member.memberId });
    assert.deepEqual(await member.offsets(), [3, 4, 5, 6]);
  },
);

polls("an answer that was lost comes again with the token before it", {}, async (world) => {
  await world.publish(4);
  const member = await world.join();
  const before = member.token;
  const lost = await member.poll({ maxMessages: 2 });
  const again = await member.poll({ leaseToken: before, maxMessages: 500 });
  assert.deepEqual(again.body, lost.body);
  await world.commit(2, { memberId: member.memberId });
  assert.deepEqual(await member.offsets(), [2, 3]);
  const stale = await member.poll({ leaseToken: before });
  assert.deepEqual([stale.status, stale.body.code], [409, "STALE_LEASE"]);
});

polls("polls without a token go on, committed or not", {}, async (world) => {
  await world.publish(5);
  const member = await world.join();
  assert.deepEqual(await member.offsets({ leaseToken: undefined, maxMessages: 2 }), [0, 1]);
  assert.deepEqual(await member.offsets({ leaseToken: undefined, maxMessages: 2 }), [2, 3]);
  assert.deepEqual(await member.offsets({ leaseToken: undefined }), [4]);
  assert.deepEqual(await member.offsets({ leaseToken: undefined }), []);
});

polls("a long poll ends with data, with the assignment, or with its time", {}, async (world) => {
  const member = await world.join();
  const startedAt = world.time.monotonic();
  const { token } = member;
  assert.deepEqual(await member.offsets({ waitMs: 3_000 }), []);
  assert.equal(member.token, token, "an empty answer is no loss");
  assert.ok(world.time.monotonic() - startedAt >= 3_000);
  const withData = member.poll({ waitMs: 20_000 });
  for (let turn = 0; turn < 40; turn++) await settle();
  const dataAt = world.time.monotonic();
  await world.publish(1);
  assert.equal((await withData).body.messages.length, 1);
  assert.ok(world.time.monotonic() - dataAt < 1_000);
  await world.commit(1);
  const { generation } = (await member.poll()).body;
  const withChange = member.poll({ waitMs: 20_000 });
  const other = await world.join();
  const changed = await world.pass(withChange);
  assert.ok(changed.body.generation > generation);
  assert.equal(changed.body.assignment.length + other.joined.assignment.length, 1);
});

polls("a later poll ends the wait of an earlier one", {}, async (world) => {
  const member = await world.join();
  const first = member.poll({ waitMs: 30_000 });
  for (let turn = 0; turn < 40; turn++) await settle();
  const startedAt = world.time.monotonic();
  const second = member.poll({ waitMs: 0 });
  const answers = await world.pass(Promise.all([first, second]));
  assert.ok(world.time.monotonic() - startedAt < 1_000);
  assert.deepEqual(answers.map(({ status }) => status), [200, 200]);
});

polls("a caller that goes away ends its wait", {}, async (world) => {
  const member = await world.join();
  const abort = new AbortController();
  const request = new Request(`http://127.0.0.1:8080${member.path}:poll`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ waitMs: 30_000 }),
    signal: abort.signal,
  });
  const answer = Promise.resolve(world.api.app.fetch(request));
  for (let turn = 0; turn < 40; turn++) await settle();
  const startedAt = world.time.monotonic();
  abort.abort();
  await world.pass(answer);
  assert.ok(world.time.monotonic() - startedAt < 1_000);
});

polls(
  "answers are bounded by messages and by bytes",
  { limits: { maxBytes: 10 } },
  async (world) => {
    await world.publish(20);
    const member = await world.join();
    assert.deepEqual(await member.offsets(), [0, 1, 2, 3, 4]);
    await world.commit(5);
    assert.deepEqual(await member.offsets({ maxMessages: 1 }), [5]);
  },
);

polls("what is no join or poll is refused", { limits: { maxMembers: 1 } }, async (world) => {
  const join = (body: unknown) => world.ask("POST", "/api/groups/billing/members", { body });
  for (
    const body of [{}, { topics: [] }, { topics: ["a b"] }, {
      topics: ["orders"],
      sessionTimeoutMs: 1,
    }, {
      topics: ["orders"],
      assignor: "mine",
    }]
  ) assert.equal((await join(body)).body.code, "INVALID_REQUEST");
  assert.equal((await join({ topics: ["nothing"] })).body.code, "UNKNOWN_TOPIC");
  const inside = await world.ask("POST", "/api/groups/__in/members", {
    body: { topics: ["orders"] },
  });
  assert.equal(inside.body.code, "FORBIDDEN");
  const member = await world.join();
  assert.equal((await join({ topics: ["orders"] })).body.code, "OVERLOADED");
  for (
    const body of [
      { maxMessages: 0 },
      { maxMessages: 10_001 },
      { waitMs: 30_001 },
      { waitMs: -1 },
      { x: 1 },
    ]
  ) {
    assert.equal((await member.poll(body)).body.code, "INVALID_REQUEST", JSON.stringify(body));
  }
  const nobody = await world.ask("POST", "/api/groups/billing/members/nobody:poll", { body: {} });
  assert.deepEqual([nobody.status, nobody.body.code], [404, "UNKNOWN_MEMBER"]);
  const nowhere = await world.ask("POST", "/api/groups/none/members/nobody:poll", { body: {} });
  assert.equal(nowhere.body.code, "UNKNOWN_MEMBER");
});
