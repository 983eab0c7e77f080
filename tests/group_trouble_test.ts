// Owns proof that a group's trouble is named by what explains it, and keeps since when.
// Refuses to own measuring. Invariant: one test for each kind, and for both sides of the time to recover.
import assert from "node:assert/strict";
import {
  type TroubleInput,
  TroubleMemory,
  troubleNow,
} from "../actors/measurement/group_trouble.ts";

const NOW = 1_000_000;
type Partition = TroubleInput["partitions"][number];

function partition(changed: Partial<Partition> = {}): Partition {
  return {
    topic: "orders",
    partition: 0,
    lag: 5,
    lagSeconds: 20,
    member: { memberId: "id-1", clientId: "m1", version: null },
    status: "lagging",
    committedAtMs: NOW - 90_000,
    ...changed,
  };
}

function input(changed: Partial<TroubleInput> = {}): TroubleInput {
  return {
    nowMs: NOW,
    members: 1,
    paused: null,
    membersChangedAtMs: NOW - 500_000,
    partitions: [partition()],
    ...changed,
  };
}

Deno.test("a group that has read all is in no trouble, paused or without members either", () => {
  const partitions = [partition({ lag: 0, lagSeconds: 0, status: "unassigned" })];
  assert.equal(troubleNow(input({ partitions })), null);
  assert.equal(troubleNow(input({ partitions, members: 0 })), null);
  assert.equal(troubleNow(input({ partitions, paused: { reason: "x", since: 1 } })), null);
});

Deno.test("a group that is behind a little is in no trouble", () => {
  assert.equal(troubleNow(input({ partitions: [partition({ status: "ok" })] })), null);
});

Deno.test("a lagging group is in trouble since its oldest message waits", () => {
  const partitions = [
    partition(),
    partition({ partition: 1, lagSeconds: 30 }),
    partition({ partition: 2, status: "ok", lagSeconds: 5 }),
  ];
  assert.deepEqual(troubleNow(input({ partitions })), {
    kind: "lagging",
    since: NOW - 30_000,
    why: "slow on 2 of 3 partitions: orders/0, orders/1",
  });
});

Deno.test("a stalled group is in trouble since its member could last have committed, and the member is named", () => {
  const stalled = { status: "stalled", lagSeconds: 200 } as const;
  const partitions = [0, 1, 2, 3, 4].map((number) => partition({ ...stalled, partition: number }));
  assert.deepEqual(troubleNow(input({ partitions: [partition(), ...partitions] })), {
    kind: "stalled",
    since: NOW - 90_000,
    why: "member m1 commits nothing on orders/0, orders/1, orders/2 and 2 more",
  });
  const quiet = [partition({ ...stalled, committedAtMs: NOW - 900_000 })];
  assert.equal(troubleNow(input({ partitions: quiet }))?.since, NOW - 200_000);
});

Deno.test("a pause explains all else, from when it began or messages came", () => {
  const paused = { reason: "bad deploy", since: NOW - 60_000 };
  const behind = [partition({ status: "stalled", lagSeconds: 200 })];
  const trouble = troubleNow(input({ paused, members: 0, partitions: behind }));
  assert.deepEqual(trouble, { kind: "paused", since: NOW - 60_000, why: "paused: bad deploy" });
  const later = [partition({ lagSeconds: 20 })];
  assert.equal(troubleNow(input({ paused, partitions: later }))?.since, NOW - 20_000);
});

Deno.test("messages that nobody reads are a trouble since the last member left or they came", () => {
  const left = [partition({ status: "unassigned", member: null, lagSeconds: 700 })];
  assert.deepEqual(troubleNow(input({ members: 0, partitions: left })), {
    kind: "no-members",
    since: NOW - 500_000,
    why: "no member reads it",
  });
  assert.deepEqual(troubleNow(input({ members: 1, partitions: left })), {
    kind: "unassigned",
    since: NOW - 500_000,
    why: "no member has orders/0",
  });
  const unknown = { members: 0, partitions: left, membersChangedAtMs: null };
  assert.equal(troubleNow(input(unknown))?.since, NOW - 700_000);
});

Deno.test("a trouble keeps since when across kinds and a recovery shorter than ten seconds", () => {
  const memory = new TroubleMemory();
  const well = { partitions: [partition({ lag: 0, lagSeconds: 0, status: "ok" })] };
  const at = (nowMs: number, changed: Partial<TroubleInput> = {}) =>
    memory.take("billing", input({ nowMs, ...changed }));
  assert.equal(at(NOW)?.since, NOW - 20_000);
  const paused = { reason: "x", since: NOW + 5_000 };
  assert.deepEqual(at(NOW + 6_000, { paused }), {
    kind: "paused",
    since: NOW - 20_000,
    why: "paused: x",
  });
  assert.equal(at(NOW + 15_999, well), null);
  assert.equal(at(NOW + 16_000)?.since, NOW - 20_000);
  assert.equal(at(NOW + 26_000, well), null);
  assert.equal(at(NOW + 27_000)?.since, NOW + 7_000);
  memory.forget("billing");
  assert.equal(at(NOW + 90_000)?.since, NOW + 70_000);
});

Deno.test("members that commit nothing are named as people know them, and counted where they have one name", () => {
  const why = (
    ...members: readonly [id: string, clientId: string | null, version: string | null][]
  ) =>
    troubleNow(input({
      partitions: members.map(([memberId, clientId, version], number) =>
        partition({
          ...{ status: "stalled", lagSeconds: 200, partition: number },
          member: { memberId, clientId, version },
        })
      ),
    }))!.why.replace(/ nothing on .*/, "");
  assert.equal(why(["x", "till", "2.0"]), "member till (version 2.0) commits");
  assert.equal(why(["x", "till", null], ["x", "till", null]), "member till commits");
  assert.equal(why(["x", "till", null], ["y", "till", null]), "2 members till commit");
  assert.equal(
    why(["x", "till-1", "1"], ["y", "till-2", "1"]),
    "members till-1 (version 1), till-2 (version 1) commit",
  );
  assert.equal(why(["x", "", "2.0"]), "member of version 2.0 commits");
  assert.equal(why(["x", null, null], ["y", null, null]), "members x, y commit");
});
