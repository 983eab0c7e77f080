// Owns the rules of sessions: who is removed when, what keeps a member in, and what a restart of the broker does.
// Refuses to own what follows from a removal (group_rebalance_test.ts). Invariant: given members, when time passes, then.
import assert from "node:assert/strict";
import { groupDeadline } from "../actors/group/state.ts";
import { GROUP, GroupRun, replay } from "./support/group_run.ts";

const memberIds = (run: GroupRun) => run.describe().members.map(({ memberId }) => memberId);

Deno.test("member that is silent for its session timeout is removed and the others get its partitions", () => {
  const run = new GroupRun();
  run.start("a", "b");
  run.advance(20_000);
  run.heartbeat("b");
  run.advance(9_499);
  assert.deepEqual(memberIds(run), ["a", "b"]);
  run.told.length = 0;
  run.advance(1);
  assert.deepEqual(memberIds(run), ["b"]);
  assert.deepEqual(run.toldTo("a"), [{ type: "removed", reason: "timed out" }]);
  run.advance(100);
  assert.deepEqual(run.readable(), { b: [0, 1, 2, 3] });
  assert.equal(run.describe().rebalances.at(-1)!.cause, "member timed out: a");
  assert.equal(
    run.refusal({ type: "Heartbeat", group: GROUP, memberId: "a" }),
    "UNKNOWN_MEMBER",
  );
});

Deno.test("every command of a member keeps it in the group", () => {
  const run = new GroupRun();
  run.start("a");
  run.heartbeat("a");
  const commands: (() => void)[] = [
    () => run.heartbeat("a"),
    () => run.commit([["orders", 0, 1]], { memberId: "a" }),
    () => run.commit([["orders", 0, 1]], { memberId: "a" }),
    () => run.release("a", "orders", 1),
    () => void run.join("x", { memberId: "a" }),
  ];
  for (const command of commands) {
    run.advance(29_999);
    command();
    assert.deepEqual(memberIds(run), ["a"]);
  }
  run.advance(30_000);
  assert.deepEqual(memberIds(run), []);
});

Deno.test("refused commands do not keep a member in the group", () => {
  const run = new GroupRun();
  run.start("a");
  run.advance(20_000);
  const stale = run.commitCommand([["orders", 0, 1]], { memberId: "a", generation: 9 });
  assert.equal(run.refusal(stale), "STALE_GENERATION");
  run.advance(9_500);
  assert.deepEqual(memberIds(run), []);
});

Deno.test("dynamic member whose socket is gone is removed after the reconnect grace", () => {
  const run = new GroupRun();
  run.start("a", "b");
  run.disconnect("a");
  run.advance(1_999);
  assert.deepEqual(memberIds(run), ["a", "b"]);
  run.advance(1);
  assert.deepEqual(memberIds(run), ["b"]);
  run.advance(100);
  assert.equal(run.describe().rebalances.at(-1)!.cause, "member disconnected: a");
});

Deno.test("static member whose socket is gone has its session timeout to come back", () => {
  const run = new GroupRun();
  run.join("a", { instanceId: "one", sessionTimeoutMs: 8_000 });
  run.advance(500);
  run.disconnect("a");
  run.advance(7_999);
  assert.deepEqual(memberIds(run), ["a"]);
  run.advance(1);
  assert.deepEqual(memberIds(run), []);
  assert.equal(run.describe().rebalances.at(-1)!.cause, "member timed out: a");
});

Deno.test("member over HTTP has no socket to lose", () => {
  const run = new GroupRun();
  run.join("a", { transport: "http", sessionTimeoutMs: 10_000 });
  run.disconnect("a");
  run.advance(9_999);
  assert.deepEqual(memberIds(run), ["a"]);
  run.advance(1);
  assert.deepEqual(memberIds(run), []);
});

Deno.test("socket of an earlier session that closes late does not count against the member", () => {
  const run = new GroupRun();
  run.start("a");
  run.join("x", { memberId: "a" });
  run.disconnect("a");
  run.advance(29_999);
  assert.deepEqual(memberIds(run), ["a"]);
  run.heartbeat("a");
  run.disconnect("a");
  run.advance(2_000);
  assert.deepEqual(memberIds(run), []);
});

Deno.test("socket of somebody who is no member any more may close", () => {
  const run = new GroupRun();
  run.start("a");
  run.disconnect("stranger");
  assert.equal(
    run.refusal({ type: "Leave", group: GROUP, memberId: "stranger" }),
    "UNKNOWN_MEMBER",
  );
  assert.deepEqual(memberIds(run), ["a"]);
});

Deno.test("members that end together make one rebalance", () => {
  const run = new GroupRun();
  run.start("a", "b", "c", "d");
  run.advance(29_000);
  run.heartbeat("d");
  run.advance(1_000);
  assert.deepEqual(memberIds(run), ["d"]);
  run.advance(100);
  assert.equal(run.state.generation, 2);
  assert.equal(
    run.describe().rebalances.at(-1)!.cause,
    "member timed out: a; member timed out: b; member timed out: c",
  );
});

Deno.test("group without members, and a stable one between deadlines, asks for no early Tick", () => {
  const run = new GroupRun();
  assert.equal(groupDeadline(run.state), null);
  run.start("a");
  assert.equal(groupDeadline(run.state), 30_000);
  run.advance(10_000);
  run.heartbeat("a");
  run.advance(20_000);
  assert.equal(
    groupDeadline(run.state),
    40_500,
    "after a look at the sessions, the exact deadline",
  );
  run.leave("a");
  assert.equal(groupDeadline(run.state), null);
});

Deno.test("Tick before anything is due changes nothing", () => {
  const run = new GroupRun();
  run.start("a");
  const before = run.state;
  run.tick();
  assert.equal(run.state, before);
});

Deno.test("restart starts every session anew: reconnect time for sockets, session timeout for the rest", () => {
  const run = new GroupRun();
  run.join("dynamic");
  run.join("fixed", { instanceId: "one", sessionTimeoutMs: 20_000 });
  run.join("http", { transport: "http", sessionTimeoutMs: 15_000 });
  run.advance(500);
  run.crash(60_000);
  const { generation } = run.state;
  run.advance(9_999);
  assert.deepEqual(memberIds(run), ["dynamic", "fixed", "http"]);
  run.advance(1);
  assert.deepEqual(memberIds(run), ["fixed", "http"]);
  run.advance(5_000);
  assert.deepEqual(memberIds(run), ["fixed"]);
  run.advance(5_000);
  assert.deepEqual(memberIds(run), []);
  assert.ok(run.state.generation > generation);
});

Deno.test("members that come back after a restart keep what they had, without a rebalance", () => {
  const run = new GroupRun();
  run.start("a", "b");
  run.commit([["orders", 0, 5]], { memberId: "a", generation: 1 });
  run.crash(5_000);
  for (const memberId of ["a", "b"]) {
    const reply = run.join(`${memberId}-new`, { memberId });
    assert.deepEqual([reply.memberId, reply.resumed, reply.assignment.length], [memberId, true, 2]);
  }
  run.advance(20_000);
  assert.equal(run.state.generation, 1);
  run.commit([["orders", 0, 6]], { memberId: "a", generation: 1 });
  assert.ok(!run.told.some(({ notification }) => notification.type === "revoked"));
});

Deno.test("restart gives what is being given up a fresh grace and tells it again", () => {
  const run = new GroupRun();
  run.start("a");
  run.join("b");
  run.advance(2_900);
  run.told.length = 0;
  run.crash();
  assert.deepEqual(run.toldTo("a").map(({ type }) => type), ["resumed", "revoked", "assigned"]);
  run.advance(2_999);
  assert.deepEqual(run.readable(), { a: [0, 2], b: [] });
  run.advance(1);
  assert.deepEqual(run.readable(), { a: [0, 2], b: [1, 3] });
});

Deno.test("restart schedules the rebalance that was on its way", () => {
  const run = new GroupRun();
  run.join("a");
  run.crash();
  run.advance(499);
  assert.equal(run.state.generation, 0);
  run.advance(1);
  assert.deepEqual(run.readable(), { a: [0, 1, 2, 3] });
  run.join("b");
  run.crash();
  run.advance(100);
  assert.equal(run.state.generation, 2);
});

Deno.test("restart tells members of a paused group so", () => {
  const run = new GroupRun();
  run.start("a");
  run.execute({ type: "Pause", group: GROUP, reason: "upgrade", principal: "op" });
  run.told.length = 0;
  run.crash();
  assert.deepEqual(run.toldTo("a")[0], { type: "paused", reason: "upgrade" });
});

Deno.test("restart ends what a departure of the last member left half done", () => {
  const run = new GroupRun();
  run.start("a");
  run.leave("a");
  assert.equal(run.journal.at(-1)!.type, "Rebalanced");
  run.journal.pop();
  run.crash();
  assert.deepEqual([run.describe().state, run.state.generation], ["empty", 2]);
  assert.deepEqual(replay(run.journal).target, run.state.target);
});
