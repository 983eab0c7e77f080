// Owns the rules of rebalances: what moves, who is told what, and that nothing ever has two owners.
// Refuses to own which partitions an assignor picks (group_assignors_test.ts).
// Invariant: given members with partitions, when something changes, then.
import assert from "node:assert/strict";
import { GROUP, GroupRun } from "./support/group_run.ts";

const partitions = (topic: string, ...numbers: number[]) =>
  numbers.map((partition) => ({ topic, partition }));

Deno.test("first assignment tells every member what it has and in which generation", () => {
  const run = new GroupRun();
  run.join("a");
  run.join("b");
  run.advance(500);
  assert.deepEqual(run.told, [
    {
      memberId: "a",
      notification: { type: "assigned", generation: 1, partitions: partitions("orders", 0, 2) },
    },
    {
      memberId: "b",
      notification: { type: "assigned", generation: 1, partitions: partitions("orders", 1, 3) },
    },
  ]);
  assert.deepEqual(run.describe().rebalances, [{
    generation: 1,
    at: run.wall,
    cause: "member joined: a; member joined: b",
    members: 2,
    moved: [
      { topic: "orders", partition: 0, from: null, to: "a" },
      { topic: "orders", partition: 2, from: null, to: "a" },
      { topic: "orders", partition: 1, from: null, to: "b" },
      { topic: "orders", partition: 3, from: null, to: "b" },
    ],
  }]);
});

Deno.test("partition that moves stays with its owner until it is released, then goes to the next", () => {
  const run = new GroupRun();
  run.start("a");
  run.join("b");
  run.advance(100);
  assert.deepEqual(run.told, [
    {
      memberId: "a",
      notification: { type: "revoked", generation: 2, partitions: partitions("orders", 1, 3) },
    },
    {
      memberId: "a",
      notification: { type: "assigned", generation: 2, partitions: partitions("orders", 0, 2) },
    },
    { memberId: "b", notification: { type: "assigned", generation: 2, partitions: [] } },
  ]);
  assert.deepEqual(run.readable(), { a: [0, 2], b: [] });
  assert.deepEqual(run.describe().members[0]!.revoking, partitions("orders", 1, 3));
  assert.equal(run.describe().state, "preparing");
  run.told.length = 0;
  run.release("a", "orders", 3);
  assert.deepEqual(run.told, [
    {
      memberId: "b",
      notification: { type: "assigned", generation: 2, partitions: partitions("orders", 3) },
    },
  ]);
  run.release("a", "orders", 1);
  assert.deepEqual(run.readable(), { a: [0, 2], b: [1, 3] });
  assert.equal(run.describe().state, "stable");
  assert.equal(run.state.generation, 2);
});

Deno.test("partition that is not released goes to its next owner when the grace is over", () => {
  const run = new GroupRun();
  run.start("a");
  run.join("b");
  run.advance(100);
  run.release("a", "orders", 1);
  run.advance(2_999);
  assert.deepEqual(run.readable(), { a: [0, 2], b: [1] });
  run.told.length = 0;
  run.advance(1);
  assert.deepEqual(run.readable(), { a: [0, 2], b: [1, 3] });
  assert.deepEqual(run.told, [{
    memberId: "b",
    notification: { type: "assigned", generation: 2, partitions: partitions("orders", 1, 3) },
  }]);
  assert.deepEqual(run.journal.at(-1), {
    type: "PartitionsHandedOver",
    v: 1,
    at: run.wall,
    from: "a",
    reason: "timed out",
    handed: [{ to: "b", partitions: [{ topic: "orders", partitions: [3] }] }],
  });
});

Deno.test("partition goes to its next owner at once when the one that gives it up leaves", () => {
  const run = new GroupRun();
  run.start("a");
  run.join("b");
  run.advance(100);
  run.told.length = 0;
  run.leave("a");
  assert.deepEqual(run.readable(), { b: [1, 3] });
  assert.deepEqual(run.toldTo("b"), [
    { type: "assigned", generation: 2, partitions: partitions("orders", 1, 3) },
  ]);
  run.advance(100);
  assert.deepEqual(run.readable(), { b: [0, 1, 2, 3] });
  assert.deepEqual(run.describe().rebalances.at(-1)!.moved, [
    { topic: "orders", partition: 0, from: "a", to: "b" },
    { topic: "orders", partition: 2, from: "a", to: "b" },
  ]);
});

Deno.test("partition on its way to a member that leaves comes back to its owner, after its release", () => {
  const run = new GroupRun();
  run.start("a");
  run.join("b");
  run.advance(100);
  run.leave("b");
  run.advance(100);
  assert.equal(run.state.generation, 3);
  // What was told is not taken back: a release may be under way.
  assert.deepEqual(run.describe().members[0]!.revoking, partitions("orders", 1, 3));
  run.told.length = 0;
  run.release("a", "orders", 1, 3);
  assert.deepEqual(run.toldTo("a"), [
    { type: "assigned", generation: 3, partitions: partitions("orders", 0, 1, 2, 3) },
  ]);
});

Deno.test("partition on its way to a member that leaves can go to a third", () => {
  const run = new GroupRun();
  run.start("a");
  run.join("b");
  run.advance(100);
  run.join("c");
  run.leave("b");
  run.advance(100);
  assert.equal(run.state.generation, 3);
  run.told.length = 0;
  run.release("a", "orders", 1, 3);
  assert.deepEqual(run.readable(), { a: [0, 2], c: [1, 3] });
  assert.deepEqual(run.told.map(({ memberId }) => memberId), ["c"]);
});

Deno.test("release when nobody is to have the partition leaves it free until the next rebalance", () => {
  const run = new GroupRun();
  run.start("a");
  run.join("b");
  run.advance(100);
  run.leave("b");
  run.release("a", "orders", 1, 3);
  assert.deepEqual(run.readable(), { a: [0, 2] });
  const released = run.journal.at(-1)!;
  assert.ok(released.type === "PartitionsHandedOver");
  assert.deepEqual(released.handed.map(({ to }) => to), [null]);
  run.advance(100);
  assert.deepEqual(run.readable(), { a: [0, 1, 2, 3] });
});

Deno.test("each revocation has its own grace, whatever is told later", () => {
  const run = new GroupRun();
  run.counts = { orders: 6 };
  run.start("a");
  run.join("b");
  run.advance(100);
  assert.deepEqual(run.readable(), { a: [0, 2, 4], b: [] });
  run.advance(2_000);
  run.join("c");
  run.advance(100);
  // Told in generation 2: 1, 3, 5, of which one is c's by now; told in generation 3: one of 0, 2, 4.
  run.advance(900);
  const handed = Object.values(run.readable()).flat().length;
  assert.equal(handed, 5, "all that was told first has changed hands");
  assert.equal(run.describe().members[0]!.revoking.length, 1);
  run.advance(2_099);
  assert.equal(run.describe().members[0]!.revoking.length, 1);
  run.advance(1);
  assert.equal(run.describe().members[0]!.revoking.length, 0);
  assert.deepEqual(Object.values(run.readable()).map((has) => has.length), [2, 2, 2]);
});

Deno.test("joins and departures of a live group shortly after each other make one rebalance", () => {
  const run = new GroupRun();
  run.start("a", "b");
  run.join("c");
  run.advance(60);
  run.leave("b");
  run.advance(39);
  assert.equal(run.state.generation, 1);
  run.advance(1);
  assert.equal(run.state.generation, 2);
  assert.equal(run.describe().rebalances.at(-1)!.cause, "member joined: c; member left: b");
  run.advance(1_000);
  assert.equal(run.state.generation, 2);
});

Deno.test("members that a join does not concern are not told to give anything up", () => {
  const run = new GroupRun();
  run.counts = { orders: 6, users: 4 };
  run.join("a");
  run.join("b");
  run.join("u", { topics: ["users"] });
  run.advance(500);
  run.told.length = 0;
  run.join("v", { topics: ["users"] });
  run.advance(100);
  for (const memberId of ["a", "b"]) {
    assert.deepEqual(run.toldTo(memberId).map(({ type }) => type), ["assigned"]);
  }
  assert.deepEqual(run.toldTo("u").map(({ type }) => type), ["revoked", "assigned"]);
});

Deno.test("release of what was not to be given up changes nothing", () => {
  const run = new GroupRun();
  run.start("a");
  const events = run.journal.length;
  run.release("a", "orders", 0, 3, 77);
  run.release("a", "nothing", 0);
  assert.equal(run.journal.length, events);
  assert.deepEqual(run.readable(), { a: [0, 1, 2, 3] });
  const stranger = { group: GROUP, memberId: "x", partitions: partitions("orders", 0) };
  assert.equal(run.refusal({ type: "Released", ...stranger }), "UNKNOWN_MEMBER");
});

Deno.test("group that loses its last member is empty, and its history says what became free", () => {
  const run = new GroupRun();
  run.start("a");
  run.leave("a");
  const { state, generation, rebalances, members } = run.describe();
  assert.deepEqual([state, generation, members.length], ["empty", 2, 0]);
  assert.deepEqual(rebalances.at(-1), {
    generation: 2,
    at: run.wall,
    cause: "member left: a",
    members: 0,
    moved: [0, 1, 2, 3].map((partition) => ({ topic: "orders", partition, from: "a", to: null })),
  });
  run.advance(10_000);
  assert.equal(run.state.generation, 2);
});

Deno.test("group whose only members leave before their first assignment is empty without a rebalance", () => {
  const run = new GroupRun();
  run.join("a");
  run.leave("a");
  run.advance(10_000);
  assert.deepEqual([run.describe().state, run.state.generation], ["empty", 0]);
  run.join("b");
  run.advance(499);
  assert.equal(run.state.generation, 0, "the wait starts anew");
  run.advance(1);
  assert.equal(run.state.generation, 1);
});

Deno.test("topic that grows gives its new partitions to members without taking any", () => {
  const run = new GroupRun();
  run.start("a", "b");
  run.changePartitions({ orders: 6 });
  assert.equal(run.describe().state, "preparing");
  run.advance(100);
  assert.deepEqual(run.readable(), { a: [0, 2, 4], b: [1, 3, 5] });
  assert.equal(run.describe().rebalances.at(-1)!.cause, "partitions of orders changed");
  assert.ok(run.told.every(({ notification }) => notification.type === "assigned"));
});

Deno.test("topic that comes into being is assigned to those who wait for it", () => {
  const run = new GroupRun();
  run.counts = {};
  run.start("a");
  assert.deepEqual([run.readable(), run.state.generation], [{ a: [] }, 1]);
  run.changePartitions({ orders: 2 });
  run.advance(100);
  assert.deepEqual(run.readable(), { a: [0, 1] });
});

Deno.test("topic that is deleted is taken from its members at once, with its offsets", () => {
  const run = new GroupRun();
  run.counts = { orders: 2, users: 2 };
  run.join("a", { topics: ["orders", "users"] });
  run.advance(500);
  run.commit([["orders", 0, 5], ["users", 1, 6]], { memberId: "a" });
  run.told.length = 0;
  run.changePartitions({ users: 2 });
  assert.deepEqual(run.toldTo("a"), [
    { type: "revoked", generation: 1, partitions: partitions("orders", 0, 1) },
  ]);
  assert.deepEqual([run.readable("orders"), run.readable("users")], [{ a: [] }, { a: [0, 1] }]);
  assert.deepEqual(run.describe().offsets.map(({ topic }) => topic), ["users"]);
  run.advance(100);
  assert.deepEqual([run.state.generation, run.describe().state], [2, "stable"]);
});

Deno.test("topic that is deleted while a partition of it changes hands leaves nothing outstanding", () => {
  const run = new GroupRun();
  run.start("a");
  run.join("b");
  run.advance(100);
  run.changePartitions({});
  run.advance(100);
  assert.deepEqual([run.readable(), run.describe().state], [{ a: [], b: [] }, "stable"]);
  run.release("a", "orders", 1, 3);
  assert.deepEqual(run.readable(), { a: [], b: [] });
});

Deno.test("change of topics that the group does not use is no change", () => {
  const run = new GroupRun();
  run.start("a");
  run.commit([["other", 0, 3]]);
  const events = run.journal.length;
  run.changePartitions({ orders: 4, users: 9 });
  assert.equal(run.journal.length, events);
  assert.equal(run.describe().state, "stable");
  assert.equal(run.describe().offsets.length, 1, "nothing was said of the topic other");
});

Deno.test("change of topics drops offsets of the topics it speaks of, also without members", () => {
  const run = new GroupRun();
  run.commit([["gone", 0, 3], ["less", 1, 3], ["less", 7, 3], ["kept", 0, 3]]);
  run.changePartitions({ less: 2 }, ["gone", "less"]);
  assert.deepEqual(
    run.describe().offsets.map(({ topic, partition }) => `${topic}/${partition}`),
    ["kept/0", "less/1"],
  );
  assert.deepEqual(run.journal.at(-1), {
    type: "OffsetsDropped",
    v: 1,
    at: run.wall,
    dropped: [{ topic: "gone", fromPartition: 0 }, { topic: "less", fromPartition: 2 }],
    offsets: [
      { topic: "gone", offsets: [[0, 3]] },
      { topic: "less", offsets: [[7, 3]] },
    ],
  });
});

Deno.test("history keeps as many rebalances as it may, the latest ones", () => {
  const run = new GroupRun({ maxRebalancesKept: 3 });
  run.start("a");
  for (const memberId of ["b", "c", "d", "e"]) {
    run.join(memberId);
    run.advance(100);
  }
  const { rebalances, generation } = run.describe();
  assert.equal(generation, 5);
  assert.deepEqual(rebalances.map((rebalance) => rebalance.generation), [3, 4, 5]);
});

Deno.test("history keeps as many moves as it may, and the latest rebalance in any case", () => {
  const run = new GroupRun({ maxMovesKept: 4 });
  run.counts = { orders: 6 };
  run.start("a");
  assert.equal(run.describe().rebalances[0]!.moved.length, 6);
  run.join("b");
  run.advance(100);
  run.join("c", { topics: ["none"] });
  run.advance(100);
  assert.deepEqual(
    run.describe().rebalances.map(({ generation, moved }) => [generation, moved.length]),
    [[2, 3], [3, 0]],
  );
});

Deno.test("topic that shrinks between being left and being subscribed to again is known as it is", () => {
  const run = new GroupRun();
  run.counts = { orders: 4, users: 1 };
  run.start("a");
  run.join("x", { memberId: "a", topics: ["users"] });
  run.changePartitions({ users: 1 });
  run.join("x", { memberId: "a", topics: ["orders", "users"] });
  run.advance(100);
  assert.deepEqual([run.readable("orders"), run.readable("users")], [{ a: [] }, { a: [0] }]);
});

Deno.test("further joins neither hasten nor put off the rebalance of a live group", () => {
  const run = new GroupRun({ initialRebalanceDelayMs: 0 });
  run.start("a");
  run.join("b");
  run.advance(50);
  run.join("c");
  run.advance(49);
  assert.equal(run.state.generation, 1);
  run.advance(1);
  assert.equal(run.state.generation, 2);
});
