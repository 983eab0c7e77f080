// Owns the tests of the offset ledger's routes: history, snapshots, rollback, reset, and the story of a mistaken commit.
// Refuses to own the group's decisions (group_ledger_test.ts) and the index (ledger_index_test.ts).
import assert from "node:assert/strict";
import { type ApiUnderTest, FORMATS } from "./support/api_app.ts";
import { commit, joined, withMessages } from "./support/billing_group.ts";

const GROUP = "/api/groups/billing";

async function committed(api: ApiUnderTest): Promise<number[]> {
  const { body } = await api.ask("GET", GROUP);
  return body.offsets.map(({ offset }: { offset: number }) => offset);
}

function move(api: ApiUnderTest, what: "rollback" | "reset", body: Record<string, unknown>) {
  return api.ask("POST", `${GROUP}/offsets:${what}`, { body: { reason: "repair", ...body } });
}

Deno.test("a mistaken commit is found in the ledger and rolled back in two calls, its cost known before", async () => {
  const api = await withMessages([100, 100]);
  const generation = await joined(api, "m1");
  await commit(api, [40, 30], { memberId: "m1", generation });
  await api.time.advance(60_000);
  // Somebody skips 60 messages of partition 0 by mistake.
  await commit(api, [100], { reason: "typo" });
  await api.time.advance(1_000);
  await api.ask("POST", `${GROUP}:pause`, { body: { reason: "messages were skipped" } });

  const found = await api.ask("GET", `${GROUP}/offsets/history?topic=orders&partition=0`);
  const [mistake, before] = found.body.history;
  assert.deepEqual(
    [mistake.previous, mistake.offset, mistake.principal, mistake.memberId, mistake.reason],
    [40, 100, "local-admin", null, "typo"],
  );
  assert.deepEqual([before.previous, before.offset, before.memberId, before.generation], [
    null,
    40,
    "m1",
    generation,
  ]);

  const to = { time: mistake.at - 1 };
  const dry = await move(api, "rollback", { to, dryRun: true });
  assert.equal(dry.status, 200);
  assert.deepEqual(dry.body, {
    dryRun: true,
    changes: [{ topic: "orders", partition: 0, from: 100, to: 40, redeliver: 60 }],
    totalRedeliver: 60,
    blockedBy: null,
  });
  assert.deepEqual(await committed(api), [100, 30], "a dry run changes nothing");
  const real = await move(api, "rollback", { to, reason: "typo of local-admin" });
  assert.deepEqual(real.body, { ...dry.body, dryRun: false });
  assert.deepEqual(await committed(api), [40, 30]);

  const { body: { history } } = await api.ask("GET", `${GROUP}/offsets/history?action=rollback`);
  assert.deepEqual(history, [{
    at: api.time.now(),
    action: "rollback",
    topic: "orders",
    partition: 0,
    previous: 100,
    offset: 40,
    principal: "local-admin",
    memberId: null,
    generation,
    reason: "typo of local-admin",
    cause: `time ${new Date(mistake.at - 1).toISOString()}`,
  }]);
  await api.close();
});

for (const format of FORMATS) {
  Deno.test(`a snapshot is taken, listed, and rolled back to (${format})`, async () => {
    const api = await withMessages([50, 50]);
    await commit(api, [10, 20]);
    const taken = await api.ask("POST", `${GROUP}/offsets:snapshot`, { format });
    assert.equal(taken.status, 201);
    assert.deepEqual(taken.body.offsets, [
      { topic: "orders", partition: 0, offset: 10 },
      { topic: "orders", partition: 1, offset: 20 },
    ]);
    assert.equal(taken.body.automatic, false);
    await commit(api, [50, 50]);
    const listed = await api.ask("GET", `${GROUP}/offsets/snapshots`, { format });
    assert.deepEqual(listed.body, { snapshots: [taken.body] });
    const to = { snapshotId: taken.body.snapshotId };
    const answer = await api.ask("POST", `${GROUP}/offsets:rollback`, {
      format,
      body: { to, topic: "orders", partition: 1, reason: "one of them" },
    });
    assert.deepEqual(answer.body.changes, [
      { topic: "orders", partition: 1, from: 50, to: 20, redeliver: 30 },
    ]);
    assert.deepEqual(await committed(api), [50, 20]);
    assert.deepEqual((await move(api, "rollback", { to })).body.totalRedeliver, 40);
    assert.deepEqual((await move(api, "rollback", { to })).body.changes, [], "nothing is left");
    await api.close();
  });
}

Deno.test("changed offsets get a snapshot after a minute, unchanged ones none", async () => {
  const api = await withMessages([50]);
  await commit(api, [10]);
  await api.time.advance(59_000);
  assert.equal((await api.ask("GET", `${GROUP}/offsets/snapshots`)).body.snapshots.length, 0);
  await api.time.advance(2_000);
  await api.time.advance(300_000);
  await commit(api, [20]);
  await api.time.advance(61_000);
  const { snapshots } = (await api.ask("GET", `${GROUP}/offsets/snapshots`)).body;
  assert.deepEqual(
    snapshots.map((one: { automatic: boolean; principal: null; offsets: { offset: number }[] }) => [
      one.automatic,
      one.principal,
      one.offsets[0]!.offset,
    ]),
    [[true, null, 20], [true, null, 10]],
  );
  await api.close();
});

Deno.test("a rollback to a time finds what was committed then, also across many snapshots", async () => {
  const api = await withMessages([500, 500]);
  const times: { at: number; offsets: number[] }[] = [];
  for (let step = 1; step <= 20; step++) {
    await commit(api, [step * 20, 400 - step]);
    await api.time.advance(100);
    times.push({ at: api.time.now(), offsets: [step * 20, 400 - step] });
    await api.time.advance(step % 3 === 0 ? 90_000 : 10_000);
    if (step < 20) {
      await commit(api, [], {
        offsets: [{ topic: "orders", partition: 1, offset: 400 - step - 1 }],
        allowRewind: true,
        reason: "backwards",
      });
    }
  }
  const { snapshots } = (await api.ask("GET", `${GROUP}/offsets/snapshots`)).body;
  assert.ok(snapshots.length > 3);
  for (const { at, offsets } of [...times].reverse()) {
    await move(api, "rollback", { to: { time: at } });
    assert.deepEqual(await committed(api), offsets, new Date(at).toISOString());
  }
  await api.close();
});

Deno.test("what had no offset then goes to the log start", async () => {
  const api = await withMessages([50, 50]);
  await commit(api, [10]);
  const { body: { snapshotId } } = await api.ask("POST", `${GROUP}/offsets:snapshot`);
  await commit(api, [20, 30]);
  const answer = await move(api, "rollback", { to: { snapshotId } });
  assert.deepEqual(answer.body.changes, [
    { topic: "orders", partition: 0, from: 20, to: 10, redeliver: 10 },
    { topic: "orders", partition: 1, from: 30, to: 0, redeliver: 30 },
  ]);
  await api.close();
});

Deno.test("a topic that was made anew since is not taken for the one that had its name", async () => {
  const api = await withMessages([50]);
  await api.ask("POST", "/api/topics", { body: { name: "other" } });
  await commit(api, [30]);
  const { body: { snapshotId } } = await api.ask("POST", `${GROUP}/offsets:snapshot`);
  await api.time.advance(1_000);
  await api.ask("DELETE", "/api/topics/orders");
  await api.time.advance(1_000);
  const remade = await api.ask("POST", "/api/topics", { body: { name: "orders" } });
  assert.equal(remade.status, 201);
  const messages = Array.from({ length: 40 }, () => ({ value: "new", partition: 0 }));
  await api.ask("POST", "/api/messages:publish", { body: { topic: "orders", messages } });
  await commit(api, [40]);
  const { body } = await api.ask("GET", `${GROUP}/offsets/history`);
  assert.deepEqual(body.history.map(({ action }: { action: string }) => action), [
    "commit",
    "dropped",
    "commit",
  ]);
  const answer = await move(api, "rollback", { to: { snapshotId } });
  assert.deepEqual(answer.body.changes, [
    { topic: "orders", partition: 0, from: 40, to: 0, redeliver: 40 },
  ]);
  await api.close();
});

Deno.test("offsets are reset in every form of the contract", async (test) => {
  const api = await withMessages([100, 100]);
  const published = api.time.now();
  await api.time.advance(10_000);
  await api.ask("POST", "/api/messages:publish", {
    body: { topic: "orders", messages: [{ value: "late", partition: 0 }] },
  });
  await commit(api, [50, 60]);
  const cases: [string | number, number[], number][] = [
    [7, [7, 7], 96],
    ["8", [8, 8], 94],
    ["earliest", [0, 0], 110],
    ["latest", [101, 100], 0],
    [`@${published + 1}`, [100, 100], 0],
    [`@${new Date(published).toISOString()}`, [0, 0], 110],
    ["+10", [60, 70], 0],
    ["-10", [40, 50], 20],
    ["-1000", [0, 0], 110],
    ["+1000", [101, 100], 0],
  ];
  for (const [to, expected, redeliver] of cases) {
    await test.step(String(to), async () => {
      const dry = await move(api, "reset", { topic: "orders", to, dryRun: true });
      assert.deepEqual(dry.body.totalRedeliver, redeliver);
      assert.deepEqual(await committed(api), [50, 60]);
      const real = await move(api, "reset", { topic: "orders", to });
      assert.deepEqual(real.body, { ...dry.body, dryRun: false });
      assert.deepEqual(await committed(api), expected);
      await commit(api, [50, 60], { allowRewind: true, reason: "next case" });
    });
  }
  await test.step("one partition", async () => {
    const one = await move(api, "reset", { topic: "orders", partition: 1, to: 0 });
    assert.deepEqual(one.body.changes.length, 1);
    assert.deepEqual(await committed(api), [50, 0]);
  });
  await api.close();
});

Deno.test("moves that must not be are refused with the contract's codes", async (test) => {
  const api = await withMessages([10]);
  const good = { topic: "orders", to: 1 };
  assert.equal((await move(api, "reset", good)).body.code, "UNKNOWN_GROUP");
  assert.equal((await api.ask("GET", `${GROUP}/offsets/history`)).body.code, "UNKNOWN_GROUP");
  assert.equal((await api.ask("GET", `${GROUP}/offsets/snapshots`)).body.code, "UNKNOWN_GROUP");
  assert.equal((await api.ask("POST", `${GROUP}/offsets:snapshot`)).body.code, "UNKNOWN_GROUP");
  await commit(api, [5]);
  const cases: [string, "rollback" | "reset", object, number, string][] = [
    ["unknown topic", "reset", { ...good, topic: "x" }, 404, "UNKNOWN_TOPIC"],
    ["unknown partition", "reset", { ...good, partition: 1 }, 404, "UNKNOWN_PARTITION"],
    ["beyond the end", "reset", { ...good, to: 11 }, 400, "OFFSET_OUT_OF_RANGE"],
    ["negative", "reset", { ...good, to: -1 }, 400, "INVALID_REQUEST"],
    ["a fraction", "reset", { ...good, to: 1.5 }, 400, "INVALID_REQUEST"],
    ["no place", "reset", { ...good, to: "+-1" }, 400, "INVALID_REQUEST"],
    ["no reason", "reset", { ...good, reason: undefined }, 400, "INVALID_REQUEST"],
    ["unknown snapshot", "rollback", { to: { snapshotId: "s9-9" } }, 404, "UNKNOWN_SNAPSHOT"],
    ["before the group", "rollback", { to: { time: 1 } }, 400, "INVALID_REQUEST"],
    ["both places", "rollback", { to: { time: 1, snapshotId: "x" } }, 400, "INVALID_REQUEST"],
    ["a partition alone", "rollback", { to: { time: 1 }, partition: 0 }, 400, "INVALID_REQUEST"],
  ];
  for (const [name, what, body, status, code] of cases) {
    await test.step(name, async () => {
      const answer = await move(api, what, body as Record<string, unknown>);
      assert.deepEqual([answer.status, answer.body.code], [status, code]);
    });
  }
  const internal = await api.ask("POST", "/api/groups/__x/offsets:snapshot");
  assert.equal(internal.body.code, "FORBIDDEN");
  const cursor = await api.ask("GET", `${GROUP}/offsets/history?cursor=abc`);
  assert.deepEqual([cursor.body.code, cursor.body.errors[0].path], ["INVALID_REQUEST", "cursor"]);
  await api.close();
});

Deno.test("offsets are not moved while members read, and are when the group is paused", async () => {
  const api = await withMessages([10]);
  const generation = await joined(api, "m1");
  await commit(api, [8], { memberId: "m1", generation });
  const refused = await move(api, "reset", { topic: "orders", to: 2 });
  assert.deepEqual([refused.status, refused.body.code], [409, "GROUP_NOT_EMPTY"]);
  const dry = await move(api, "reset", { topic: "orders", to: 2, dryRun: true });
  assert.deepEqual([dry.status, dry.body.totalRedeliver], [200, 6]);
  assert.equal(dry.body.blockedBy.code, "GROUP_NOT_EMPTY");
  assert.match(dry.body.blockedBy.detail, /pause it first/);
  const { body: { offsets } } = await api.ask("GET", GROUP);
  assert.equal(offsets[0].offset, 8, "a dry run moves nothing");
  await api.ask("POST", `${GROUP}:pause`, { body: { reason: "repair" } });
  const paused = await move(api, "reset", { topic: "orders", to: 2, dryRun: true });
  assert.equal(paused.body.blockedBy, null);
  assert.equal((await move(api, "reset", { topic: "orders", to: 2 })).body.totalRedeliver, 6);
  // The member has not heard of it: what it had read must not undo it.
  const late = await commit(api, [9], { memberId: "m1", generation });
  assert.deepEqual([late.status, late.body.code], [409, "GROUP_PAUSED"]);
  await api.ask("POST", `${GROUP}:resume`);
  assert.equal((await commit(api, [3], { memberId: "m1", generation })).status, 200);
  await api.close();
});

Deno.test("history is paged newest first, with commits that went back told as rewinds", async () => {
  const api = await withMessages([100, 100, 100]);
  for (let i = 1; i <= 10; i++) await commit(api, [i, i, i]);
  await commit(api, [4], { allowRewind: true, reason: "again" });
  const seen: string[] = [];
  let cursor = "";
  for (let pages = 0; pages < 20; pages++) {
    const { body } = await api.ask("GET", `${GROUP}/offsets/history?limit=4${cursor}`);
    for (const { partition, previous, offset, action } of body.history) {
      seen.push(`${partition}:${previous}>${offset} ${action}`);
    }
    if (body.nextCursor === undefined) break;
    cursor = `&cursor=${encodeURIComponent(body.nextCursor)}`;
  }
  assert.equal(seen.length, 31);
  assert.deepEqual(seen.slice(0, 4), [
    "0:10>4 rewind",
    "2:9>10 commit",
    "1:9>10 commit",
    "0:9>10 commit",
  ]);
  assert.equal(seen.at(-1), "0:null>1 commit");
  const rewinds = await api.ask("GET", `${GROUP}/offsets/history?action=rewind`);
  assert.deepEqual(rewinds.body.history.length, 1);
  assert.equal(rewinds.body.history[0].reason, "again");
  await api.close();
});

Deno.test("commits that were refused because they go back are told when asked for", async () => {
  const api = await withMessages([100]);
  await commit(api, [50]);
  assert.equal((await commit(api, [30])).body.code, "OFFSET_ROLLBACK");
  const all = (await api.ask("GET", `${GROUP}/offsets/history`)).body.history;
  assert.deepEqual(all.map(({ action }: { action: string }) => action), ["commit"]);
  const { history } = (await api.ask("GET", `${GROUP}/offsets/history?action=refused`)).body;
  assert.equal(history.length, 1);
  const { previous, offset, principal } = history[0];
  assert.deepEqual([previous, offset, principal], [50, 30, "local-admin"]);
  const past = { to: { time: api.time.now() }, dryRun: true };
  assert.deepEqual((await move(api, "rollback", past)).body.changes, [], "nothing changed by it");
  await api.close();
});

Deno.test("what is delivered again counts messages, not markers nor what was aborted", async () => {
  const api = await withMessages([3]);
  for (const how of ["abort", "commit"]) {
    const begun = await api.ask("POST", "/api/transactions", { body: { transactionalId: how } });
    const { transactionId } = begun.body;
    const messages = Array.from({ length: 4 }, (_, i) => ({ value: `${how} ${i}` }));
    const body = { topic: "orders", partition: 0, messages, transactionId };
    assert.equal((await api.ask("POST", "/api/messages:publish", { body })).status, 200);
    const ended = await api.ask("POST", `/api/transactions/${transactionId}:${how}`);
    assert.equal(ended.status, 200);
  }
  await api.time.advance(1_000);
  // 3 messages, 4 aborted, a marker, 4 committed, a marker.
  await commit(api, [13]);
  const all = await move(api, "reset", { topic: "orders", to: "earliest", dryRun: true });
  assert.deepEqual(all.body.changes, [
    { topic: "orders", partition: 0, from: 13, to: 0, redeliver: 7 },
  ]);
  const some = await move(api, "reset", { topic: "orders", to: 9 });
  assert.equal(some.body.totalRedeliver, 3);
  const { messages } = (await api.ask(
    "GET",
    "/api/topics/orders/partitions/0/messages?offset=9",
  )).body;
  assert.equal(messages.length, 3);
  const body = { transactionalId: "open" };
  const { transactionId } = (await api.ask("POST", "/api/transactions", { body })).body;
  const publish = { topic: "orders", partition: 0, messages: [{ value: "maybe" }], transactionId };
  await api.ask("POST", "/api/messages:publish", { body: publish });
  await commit(api, [14]);
  const dry = await move(api, "reset", { topic: "orders", to: "earliest", dryRun: true });
  assert.equal(dry.body.totalRedeliver, 7, "what is open is not delivered");
  await api.close();
});

Deno.test("history outlives the group, and tells who deleted it", async () => {
  const api = await withMessages([10]);
  await commit(api, [8]);
  await api.ask("DELETE", GROUP);
  const { body } = await api.ask("GET", `${GROUP}/offsets/history`);
  const { action, previous, offset, principal } = body.history[0];
  assert.deepEqual([action, previous, offset, principal], ["deleted", 8, null, "local-admin"]);
  assert.equal(body.history.length, 2);
  await api.close();
});
