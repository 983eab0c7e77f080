// Owns the rules of joining a group: new members, members that come back, static members.
// Refuses to own rebalances (group_rebalance_test.ts). Invariant: given joins, when one more, then.
import assert from "node:assert/strict";
import { GROUP, GroupRun } from "./support/group_run.ts";

Deno.test("group waits for a fleet that starts together and assigns it once", () => {
  const run = new GroupRun();
  for (const memberId of ["a", "b", "c", "d"]) {
    assert.deepEqual(run.join(memberId), {
      memberId,
      generation: 0,
      assignment: [],
      resumed: false,
    });
    run.advance(400);
    assert.equal(run.describe().state, "preparing");
  }
  run.advance(99);
  assert.equal(run.state.generation, 0);
  run.advance(1);
  const { state, generation, rebalances } = run.describe();
  assert.deepEqual([state, generation, rebalances.length], ["stable", 1, 1]);
  assert.deepEqual(run.readable(), { a: [0], b: [1], c: [2], d: [3] });
  assert.equal(
    rebalances[0]!.cause,
    "member joined: a; member joined: b; member joined: c; and 1 more",
  );
});

Deno.test("group lets joins put the first assignment off up to a bound only", () => {
  const run = new GroupRun();
  for (let i = 0; i < 10; i++) {
    run.join(`m${i}`);
    run.advance(300);
    if (i < 9) assert.equal(run.state.generation, 0, `after ${run.now} ms`);
  }
  assert.equal(run.now, 3_000);
  assert.equal(run.state.generation, 1);
});

Deno.test("group takes the assignor of its first member and refuses another", () => {
  const run = new GroupRun();
  run.join("a", { assignor: "range" });
  assert.equal(
    run.refusal(run.joinCommand("b", { assignor: "sticky" })),
    "INCONSISTENT_ASSIGNOR",
  );
  assert.equal(run.refusal(run.joinCommand("b", { assignor: "range" })), null);
  assert.equal(run.refusal(run.joinCommand("c")), null);
  assert.equal(run.describe().assignor, "range");
  assert.deepEqual(run.describe().members.map(({ memberId }) => memberId), ["a", "b", "c"]);
});

Deno.test("group that is empty again forgets its assignor", () => {
  const run = new GroupRun();
  run.start("a");
  run.leave("a");
  run.join("b", { assignor: "roundrobin" });
  assert.equal(run.describe().assignor, "roundrobin");
  run.leave("b");
  run.join("c");
  assert.equal(run.describe().assignor, "sticky");
});

Deno.test("group lets no more members in than it may have", () => {
  const run = new GroupRun({ maxMembers: 2 });
  run.join("a");
  run.join("b");
  assert.equal(run.refusal(run.joinCommand("c")), "OVERLOADED");
  assert.equal(run.refusal(run.joinCommand("x", { memberId: "a" })), null);
  run.leave("a");
  assert.equal(run.refusal(run.joinCommand("c")), null);
});

Deno.test("group refuses a join that would give it more partitions than it may have", () => {
  const run = new GroupRun({ maxPartitionsPerGroup: 10 });
  run.counts = { orders: 6, users: 4, events: 1 };
  run.join("a", { topics: ["orders", "users"] });
  assert.equal(
    run.refusal(run.joinCommand("b", { topics: ["events"] })),
    "INVALID_REQUEST",
  );
  assert.equal(run.refusal(run.joinCommand("b", { topics: ["users"] })), null);
});

Deno.test("member that comes back by its memberId keeps what it had, without a rebalance", () => {
  const run = new GroupRun();
  run.start("a", "b");
  run.disconnect("a");
  run.advance(1_999);
  const events = run.journal.length;
  assert.deepEqual(run.join("unused", { memberId: "a" }), {
    memberId: "a",
    generation: 1,
    assignment: [{ topic: "orders", partition: 0 }, { topic: "orders", partition: 2 }],
    resumed: true,
  });
  assert.equal(run.journal.length, events, "nothing is journalled");
  run.advance(5_000);
  assert.deepEqual([run.describe().state, run.state.generation], ["stable", 1]);
  assert.deepEqual(run.told, []);
});

Deno.test("member that comes back too late is a new member", () => {
  const run = new GroupRun();
  run.start("a", "b");
  run.disconnect("a");
  run.advance(2_000);
  const reply = run.join("a2", { memberId: "a" });
  assert.deepEqual([reply.memberId, reply.resumed, reply.assignment], ["a2", false, []]);
});

Deno.test("member that comes back with other topics causes a rebalance", () => {
  const run = new GroupRun();
  run.counts = { orders: 2, users: 2 };
  run.start("a", "b");
  const reply = run.join("unused", { memberId: "a", topics: ["users"] });
  assert.deepEqual([reply.memberId, reply.resumed, reply.generation], ["a", true, 1]);
  run.advance(100);
  assert.equal(run.describe().rebalances.at(-1)!.cause, "subscription of a changed");
  assert.deepEqual(run.readable("users").a, [0, 1]);
  run.release("a", "orders", 0);
  assert.deepEqual(run.readable(), { a: [], b: [0, 1] });
});

Deno.test("join that is sent twice joins once", () => {
  const run = new GroupRun();
  run.join("a");
  const again = run.join("a");
  assert.deepEqual([again.memberId, again.resumed], ["a", true]);
  assert.equal(run.state.members.size, 1);
});

Deno.test("static member that comes back gets a new memberId and all it had, without a rebalance", () => {
  const run = new GroupRun();
  run.join("a", { instanceId: "one", assignor: "range" });
  run.join("b", { instanceId: "two" });
  run.advance(500);
  run.told.length = 0;
  run.commit([["orders", 0, 7]], { memberId: "a", generation: 1 });
  run.disconnect("a");
  run.advance(20_000);
  run.heartbeat("b");
  run.advance(9_999);
  const reply = run.join("zz", { instanceId: "one" });
  assert.deepEqual(reply, {
    memberId: "zz",
    generation: 1,
    assignment: [{ topic: "orders", partition: 0 }, { topic: "orders", partition: 1 }],
    resumed: true,
  });
  run.advance(10_000);
  assert.equal(run.state.generation, 1);
  assert.deepEqual(run.toldTo("b"), []);
  run.commit([["orders", 0, 8]], { memberId: "zz", generation: 1 });
  // Its place in the order of members is its instance's, so a later rebalance moves nothing either.
  run.join("d", { topics: ["nothing"] });
  run.advance(100);
  assert.equal(run.state.generation, 2);
  assert.deepEqual(run.readable(), { b: [2, 3], d: [], zz: [0, 1] });
});

Deno.test("static member that came back is remembered for what it had by the next rebalance", () => {
  const run = new GroupRun();
  run.join("m", { instanceId: "one" });
  run.join("n", { instanceId: "two" });
  run.advance(500);
  const before = run.readable();
  // Dealt anew, the partitions would go round by memberId.
  run.join("z", { instanceId: "one" });
  run.join("y", { instanceId: "two" });
  run.changePartitions({ orders: 5 });
  run.advance(100);
  assert.deepEqual(run.describe().rebalances.at(-1)!.moved, [
    { topic: "orders", partition: 4, from: null, to: "z" },
  ]);
  assert.deepEqual(run.readable(), { z: [...before.m!, 4], y: before.n });
});

Deno.test("static member that joins while its former self is connected fences it", () => {
  const run = new GroupRun();
  run.join("a", { instanceId: "one" });
  run.advance(500);
  run.told.length = 0;
  run.join("a2", { instanceId: "one" });
  assert.deepEqual(run.toldTo("a"), [{
    type: "removed",
    reason: "replaced by a member with the same instanceId one",
  }]);
  const stale = run.commitCommand([["orders", 0, 1]], { memberId: "a", generation: 1 });
  assert.equal(run.refusal(stale), "UNKNOWN_MEMBER");
  assert.equal(
    run.refusal({ type: "Heartbeat", group: GROUP, memberId: "a" }),
    "UNKNOWN_MEMBER",
  );
  // The fenced one's socket closes now; that is not the new one's.
  run.disconnect("a");
  run.commit([["orders", 0, 1]], { memberId: "a2", generation: 1 });
  assert.deepEqual(run.readable(), { a2: [0, 1, 2, 3] });
  run.advance(29_999);
  assert.equal(run.state.members.size, 1);
});

Deno.test("static member takes over what was being given up by and to its former self", () => {
  const run = new GroupRun();
  run.join("a", { instanceId: "one" });
  run.advance(500);
  run.join("b", { instanceId: "two" });
  run.advance(100);
  run.told.length = 0;
  const partitions = run.describe().members[0]!.revoking;
  assert.equal(partitions.length, 2);
  run.join("a2", { instanceId: "one" });
  run.join("b2", { instanceId: "two" });
  assert.deepEqual(run.toldTo("a2"), [{ type: "revoked", generation: 2, partitions }]);
  run.execute({ type: "Released", group: GROUP, memberId: "a2", partitions });
  assert.deepEqual(run.toldTo("b2"), [{ type: "assigned", generation: 2, partitions }]);
  assert.equal(run.describe().state, "stable");
});

Deno.test("join under a memberId with another instanceId is not that member's", () => {
  const run = new GroupRun();
  run.join("a");
  const reply = run.join("b", { memberId: "a", instanceId: "one" });
  assert.deepEqual([reply.memberId, reply.resumed], ["b", false]);
  assert.equal(run.state.members.size, 2);
});

Deno.test("member of a paused group is told so when it joins", () => {
  const run = new GroupRun();
  run.start("a");
  run.execute({ type: "Pause", group: GROUP, reason: "upgrade", principal: "op" });
  run.told.length = 0;
  run.join("b");
  assert.deepEqual(run.toldTo("b"), [{ type: "paused", reason: "upgrade" }]);
});

Deno.test("join that was made before a topic grew does not shrink it", () => {
  const run = new GroupRun();
  run.start("a");
  run.changePartitions({ orders: 8 });
  run.join("b", { partitionCounts: { orders: 4 } });
  run.advance(100);
  run.release("a", "orders", ...run.describe().members[0]!.revoking.map((at) => at.partition));
  const { a, b } = run.readable();
  assert.deepEqual([...a!, ...b!].sort(), [0, 1, 2, 3, 4, 5, 6, 7]);
});

Deno.test("join that knows more partitions than the group leads to their assignment", () => {
  const run = new GroupRun();
  run.start("a");
  run.join("x", { memberId: "a", partitionCounts: { orders: 6 } });
  run.advance(100);
  assert.deepEqual(run.readable(), { a: [0, 1, 2, 3, 4, 5] });
  assert.equal(run.describe().rebalances.at(-1)!.cause, "partitions of orders changed");
});

Deno.test("topics with the names of object members are topics like any other", () => {
  const run = new GroupRun();
  run.counts = JSON.parse('{"__proto__":2,"constructor":1}');
  run.join("a", { topics: ["__proto__", "constructor", "toString", "hasOwnProperty"] });
  run.advance(500);
  assert.deepEqual(run.describe().members[0]!.assignment, [
    { topic: "__proto__", partition: 0 },
    { topic: "__proto__", partition: 1 },
    { topic: "constructor", partition: 0 },
  ]);
  run.commit([["__proto__", 1, 5], ["constructor", 0, 6]], { memberId: "a" });
  assert.deepEqual(run.describe().offsets.map(({ topic, offset }) => [topic, offset]), [
    ["__proto__", 5],
    ["constructor", 6],
  ]);
});
