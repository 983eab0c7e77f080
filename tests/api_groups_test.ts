// Owns the tests of group routes: commits, descriptions, rebalances, lag, pause, deletion.
// Refuses to own the decisions of a group (group_*_test.ts) and joining over HTTP or WebSocket.
import assert from "node:assert/strict";
import { FORMATS } from "./support/api_app.ts";
import { commit, joined, publish, withMessages } from "./support/billing_group.ts";

for (const format of FORMATS) {
  Deno.test(`a commit tells what was committed before (${format})`, async () => {
    const api = await withMessages([10]);
    const body = {
      groupId: "billing",
      offsets: [{ topic: "orders", partition: 0, offset: 4, metadata: "héllo" }],
    };
    const first = await api.ask("POST", "/api/offsets:commit", { body, format });
    assert.equal(first.status, 200);
    assert.deepEqual(first.body, {
      groupId: "billing",
      results: [{ topic: "orders", partition: 0, offset: 4, previous: null }],
    });
    assert.equal((await commit(api, [10])).body.results[0].previous, 4);
    const group = await api.ask("GET", "/api/groups/billing", { format });
    assert.deepEqual(group.body.offsets, [
      { topic: "orders", partition: 0, offset: 10, metadata: null, committedAt: api.time.now() },
    ]);
    await api.close();
  });
}

Deno.test("commits that must not be are refused with the contract's codes", async () => {
  const api = await withMessages([10]);
  await commit(api, [5]);
  const beyond = await commit(api, [11]);
  assert.deepEqual([beyond.status, beyond.body.code], [400, "OFFSET_OUT_OF_RANGE"]);
  const back = await commit(api, [4]);
  assert.deepEqual([back.status, back.body.code], [409, "OFFSET_ROLLBACK"]);
  const unexplained = await commit(api, [4], { allowRewind: true });
  assert.deepEqual([unexplained.status, unexplained.body.code], [409, "OFFSET_ROLLBACK"]);
  const explained = await commit(api, [4], { allowRewind: true, reason: "reprocess" });
  assert.deepEqual([explained.status, explained.body.results[0].previous], [200, 5]);
  const stranger = await commit(api, [6], { memberId: "nobody", generation: 1 });
  assert.deepEqual([stranger.status, stranger.body.code], [404, "UNKNOWN_MEMBER"]);
  await joined(api, "m1");
  const { generation } = (await api.ask("GET", "/api/groups/billing")).body;
  const stale = await commit(api, [6], { memberId: "m1", generation: generation - 1 });
  assert.deepEqual([stale.status, stale.body.code], [409, "STALE_GENERATION"]);
  const current = await commit(api, [6], { memberId: "m1", generation });
  assert.equal(current.status, 200);
  await api.close();
});

Deno.test("a commit is refused as a whole for anything wrong in it", async (test) => {
  const api = await withMessages([10]);
  const entry = { topic: "orders", partition: 0, offset: 1 };
  const cases: [string, object, number, string][] = [
    ["no offsets", { offsets: [] }, 400, "INVALID_REQUEST"],
    ["unknown topic", { offsets: [entry, { ...entry, topic: "x" }] }, 404, "UNKNOWN_TOPIC"],
    [
      "unknown partition",
      { offsets: [entry, { ...entry, partition: 1 }] },
      404,
      "UNKNOWN_PARTITION",
    ],
    ["a partition twice", { offsets: [entry, entry] }, 400, "INVALID_REQUEST"],
    ["a negative offset", { offsets: [{ ...entry, offset: -1 }] }, 400, "INVALID_REQUEST"],
    ["a fraction", { offsets: [{ ...entry, offset: 1.5 }] }, 400, "INVALID_REQUEST"],
    ["beyond 2^53 - 1", { offsets: [{ ...entry, offset: 2 ** 53 }] }, 400, "INVALID_REQUEST"],
    ["a bad group", { groupId: "../x", offsets: [entry] }, 400, "INVALID_REQUEST"],
    ["an internal group", { groupId: "__x", offsets: [entry] }, 403, "FORBIDDEN"],
    [
      "long metadata",
      { offsets: [{ ...entry, metadata: "x".repeat(4_097) }] },
      400,
      "INVALID_REQUEST",
    ],
    ["an unknown key", { offsets: [{ ...entry, ofset: 1 }] }, 400, "INVALID_REQUEST"],
    ["an empty reason", { offsets: [entry], reason: "" }, 400, "INVALID_REQUEST"],
  ];
  for (const [name, change, status, code] of cases) {
    await test.step(name, async () => {
      const body = { groupId: "billing", ...change };
      const answer = await api.ask("POST", "/api/offsets:commit", { body });
      assert.deepEqual([answer.status, answer.body.code], [status, code]);
    });
  }
  assert.equal((await api.ask("GET", "/api/groups/billing")).body.code, "UNKNOWN_GROUP");
  await api.close();
});

Deno.test("a group with a member is described with members and assignment, and listed", async () => {
  const api = await withMessages([0, 0]);
  await joined(api, "m1");
  const { body } = await api.ask("GET", "/api/groups/billing");
  const assignment = [0, 1].map((partition) => ({ topic: "orders", partition }));
  assert.equal(body.state, "stable");
  assert.equal(body.paused, null);
  assert.deepEqual(body.members[0].assignment, assignment);
  assert.deepEqual(body.assignment, assignment.map((at) => ({ ...at, memberId: "m1" })));
  assert.equal("rebalances" in body, false);
  const list = await api.ask("GET", "/api/groups");
  assert.deepEqual(list.body, {
    groups: [{ groupId: "billing", state: "stable", generation: body.generation, members: 1 }],
  });
  const { rebalances } = (await api.ask("GET", "/api/groups/billing/rebalances")).body;
  assert.equal(rebalances[0].generation, body.generation);
  assert.match(rebalances[0].cause, /m1/);
  assert.equal(rebalances[0].moved.length, 2);
  await api.close();
});

Deno.test("groups are found by a part of their name", async () => {
  const api = await withMessages([1]);
  for (const groupId of ["billing", "Billing-audit", "mail"]) {
    const offsets = [{ topic: "orders", partition: 0, offset: 1 }];
    await api.ask("POST", "/api/offsets:commit", { body: { groupId, offsets } });
  }
  const names = async (search: string) =>
    (await api.ask("GET", `/api/groups?search=${search}`)).body.groups
      .map(({ groupId }: { groupId: string }) => groupId);
  assert.deepEqual(await names("BILL"), ["Billing-audit", "billing"]);
  assert.deepEqual(await names("none"), []);
  await api.close();
});

Deno.test("rebalances are told newest first, page by page", async () => {
  const api = await withMessages([0, 0, 0, 0]);
  for (const member of ["m1", "m2", "m3"]) await joined(api, member);
  const all = (await api.ask("GET", "/api/groups/billing/rebalances")).body.rebalances;
  const generations = all.map((rebalance: { generation: number }) => rebalance.generation);
  assert.deepEqual(generations, [...generations].sort((a, b) => b - a));
  assert.ok(generations.length >= 3);
  const seen: number[] = [];
  let query = "limit=1";
  for (let page = 0; page < generations.length; page++) {
    const { body } = await api.ask("GET", `/api/groups/billing/rebalances?${query}`);
    seen.push(body.rebalances[0].generation);
    query = `limit=1&cursor=${body.nextCursor}`;
  }
  assert.deepEqual(seen, generations);
  await api.close();
});

Deno.test("a group is paused with a reason and resumed", async () => {
  const api = await withMessages([1]);
  await commit(api, [1]);
  const paused = await api.ask("POST", "/api/groups/billing:pause", { body: { reason: "deploy" } });
  assert.equal(paused.status, 200);
  assert.deepEqual(paused.body.paused, { reason: "deploy", since: api.time.now() });
  const resumed = await api.ask("POST", "/api/groups/billing:resume");
  assert.equal(resumed.body.paused, null);
  const silent = await api.ask("POST", "/api/groups/billing:pause", { body: {} });
  assert.deepEqual([silent.status, silent.body.errors[0].path], [400, "reason"]);
  await api.close();
});

Deno.test("only an empty group can be deleted", async () => {
  const api = await withMessages([1]);
  await commit(api, [1]);
  await joined(api, "m1");
  const busy = await api.ask("DELETE", "/api/groups/billing");
  assert.deepEqual([busy.status, busy.body.code], [409, "GROUP_NOT_EMPTY"]);
  await api.broker.group({ type: "Leave", group: "billing", memberId: "m1" });
  assert.equal((await api.ask("DELETE", "/api/groups/billing")).status, 204);
  assert.deepEqual((await api.ask("GET", "/api/groups")).body.groups, []);
  await api.close();
});

Deno.test("every route of a group that is not there says so, of a bad name too", async (test) => {
  const api = await withMessages([0]);
  const routes: [string, string, object?][] = [
    ["GET", ""],
    ["GET", "/rebalances"],
    ["GET", "/lag"],
    ["DELETE", ""],
    ["POST", ":pause", { reason: "x" }],
    ["POST", ":resume"],
  ];
  for (const [method, suffix, body] of routes) {
    await test.step(`${method} ${suffix}`, async () => {
      const unknown = await api.ask(method, `/api/groups/nobody${suffix}`, { body });
      assert.deepEqual([unknown.status, unknown.body.code], [404, "UNKNOWN_GROUP"]);
      const bad = await api.ask(method, `/api/groups/%2e%2e%2fx${suffix}`, { body });
      assert.deepEqual([bad.status, bad.body.errors?.[0].path], [400, "group"]);
    });
  }
  await api.close();
});

Deno.test("lag counts from the committed offset, or from the log start, and tells the age of what waits", async () => {
  const api = await withMessages([10, 0]);
  await commit(api, [4]);
  await api.time.advance(7_500);
  const { body } = await api.ask("GET", "/api/groups/billing/lag");
  assert.deepEqual(body, {
    groupId: "billing",
    state: "empty",
    totalLag: 6,
    partitions: [
      {
        topic: "orders",
        partition: 0,
        committedOffset: 4,
        highWatermark: 10,
        lag: 6,
        lagSeconds: 7.5,
        memberId: null,
        status: "unassigned",
      },
      {
        topic: "orders",
        partition: 1,
        committedOffset: null,
        highWatermark: 0,
        lag: 0,
        lagSeconds: 0,
        memberId: null,
        status: "unassigned",
      },
    ],
  });
  await api.close();
});

Deno.test("the status of a member's partition follows its progress", async () => {
  const api = await withMessages([10]);
  await joined(api, "m1");
  const lag = async () => (await api.ask("GET", "/api/groups/billing/lag")).body.partitions[0];
  assert.deepEqual([(await lag()).memberId, (await lag()).status], ["m1", "ok"]);
  await api.time.advance(6_000);
  assert.equal((await lag()).status, "lagging");
  await commit(api, [9]);
  await api.time.advance(59_000);
  assert.equal((await lag()).status, "lagging");
  await api.time.advance(2_000);
  assert.equal((await lag()).status, "stalled");
  await commit(api, [10]);
  assert.deepEqual([(await lag()).lag, (await lag()).status], [0, "idle"]);
  await publish(api, 1);
  await commit(api, [11]);
  assert.equal((await lag()).status, "ok");
  await api.close();
});

Deno.test("the age of what waits is that of the first message that is not committed past", async () => {
  const api = await withMessages([0]);
  const now = api.time.now();
  const messages = [9_000, 6_000, 3_000].map((ageMs) => ({ value: "x", timestamp: now - ageMs }));
  await api.ask("POST", "/api/messages:publish", { body: { topic: "orders", messages } });
  for (const [offset, lagSeconds] of [[0, 9], [1, 6], [2, 3], [3, 0]] as const) {
    await commit(api, [offset]);
    const { body } = await api.ask("GET", "/api/groups/billing/lag");
    assert.equal(body.partitions[0].lagSeconds, lagSeconds);
  }
  await api.close();
});

Deno.test("a partition that has just come to its member is not stalled by the age of its messages", async () => {
  const api = await withMessages([0, 0]);
  await joined(api, "m1");
  await joined(api, "m2");
  await publish(api, 10);
  await api.time.advance(120_000);
  const lag = async () => (await api.ask("GET", "/api/groups/billing/lag")).body.partitions[0];
  const { memberId, status } = await lag();
  assert.equal(status, "stalled");
  await api.broker.group({ type: "Leave", group: "billing", memberId });
  await api.time.advance(10_000);
  const after = await lag();
  assert.notEqual(after.memberId, memberId);
  assert.equal(after.status, "lagging");
  await api.close();
});

Deno.test("a group whose members have left without a commit still tells what there is to read", async () => {
  const api = await withMessages([10, 0]);
  await joined(api, "m1");
  await api.broker.group({ type: "Leave", group: "billing", memberId: "m1" });
  const { body } = await api.ask("GET", "/api/groups/billing/lag");
  assert.deepEqual([body.state, body.totalLag], ["empty", 10]);
  const partitions = body.partitions as { topic: string; partition: number; status: string }[];
  assert.deepEqual(
    partitions.map(({ topic, partition, status }) => [topic, partition, status]),
    [["orders", 0, "unassigned"], ["orders", 1, "unassigned"]],
  );
  await api.ask("DELETE", "/api/topics/orders");
  const none = await api.ask("GET", "/api/groups/billing/lag");
  assert.deepEqual(none.body.partitions, [], "it has no topics at all");
  await api.close();
});
