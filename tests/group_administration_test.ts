// Owns the rules of pausing, resuming, deleting and describing a group.
// Refuses to own what members do. Invariant: given a group, when an operator acts, then.
import assert from "node:assert/strict";
import { phaseOf, summarizeGroup, topicsOfGroup } from "../actors/group/describe.ts";
import { initialGroup, isGroupGone } from "../actors/group/state.ts";
import type { GroupCommand } from "../actors/group/types.ts";
import { GROUP, GroupRun } from "./support/group_run.ts";

const pause = (reason: string): GroupCommand => ({
  type: "Pause",
  group: GROUP,
  reason,
  principal: "op",
});
const resume: GroupCommand = { type: "Resume", group: GROUP, principal: "op" };
const remove: GroupCommand = { type: "DeleteGroup", group: GROUP };

Deno.test("group that nobody has used is unknown", () => {
  const run = new GroupRun();
  for (const command of [pause("r"), resume, remove] as const) {
    assert.equal(run.refusal(command), "UNKNOWN_GROUP", command.type);
  }
  assert.equal(run.refusal({ type: "Describe", group: GROUP }), "UNKNOWN_GROUP");
  for (const type of ["Heartbeat", "Leave"] as const) {
    assert.equal(run.refusal({ type, group: GROUP, memberId: "a" }), "UNKNOWN_MEMBER", type);
  }
  run.tick();
  run.changePartitions({ orders: 9 });
  run.disconnect("a");
  assert.deepEqual(run.state, initialGroup(GROUP));
  assert.ok(isGroupGone(run.state));
});

Deno.test("pause and resume are told to every member and kept with reason and time", () => {
  const run = new GroupRun();
  run.start("a", "b");
  run.execute(pause("upgrade"));
  assert.deepEqual(run.describe().paused, { reason: "upgrade", since: run.wall });
  assert.deepEqual(run.told.map(({ memberId, notification }) => [memberId, notification]), [
    ["a", { type: "paused", reason: "upgrade" }],
    ["b", { type: "paused", reason: "upgrade" }],
  ]);
  assert.equal(run.describe().state, "stable", "members stay members");
  run.told.length = 0;
  run.execute(resume);
  assert.equal(run.describe().paused, null);
  assert.deepEqual(run.toldTo("b"), [{ type: "resumed" }]);
});

Deno.test("pause of a paused group changes its reason at most, resume of a running one nothing", () => {
  const run = new GroupRun();
  run.start("a");
  const since = run.wall;
  run.execute(pause("one"));
  run.advance(1_000);
  const events = run.journal.length;
  run.execute(pause("one"));
  assert.equal(run.journal.length, events);
  run.execute(pause("two"));
  assert.deepEqual(run.describe().paused, { reason: "two", since });
  run.execute(resume);
  const resumed = run.journal.length;
  run.execute(resume);
  assert.equal(run.journal.length, resumed);
});

Deno.test("paused group still lets members come and go and assigns them", () => {
  const run = new GroupRun();
  run.start("a");
  run.execute(pause("r"));
  run.join("b");
  run.advance(100);
  run.release("a", "orders", 1, 3);
  assert.deepEqual(run.readable(), { a: [0, 2], b: [1, 3] });
});

Deno.test("group with members is not deleted", () => {
  const run = new GroupRun();
  run.start("a");
  assert.equal(run.refusal(remove), "GROUP_NOT_EMPTY");
  run.leave("a");
  assert.equal(run.refusal(remove), null);
});

Deno.test("deleted group is as if it had never been", () => {
  const run = new GroupRun();
  run.start("a");
  run.commit([["orders", 0, 5]]);
  run.execute(pause("r"));
  run.leave("a");
  run.execute(remove);
  assert.deepEqual(run.state, initialGroup(GROUP));
  assert.equal(run.refusal({ type: "Describe", group: GROUP }), "UNKNOWN_GROUP");
  assert.equal(run.refusal(remove), "UNKNOWN_GROUP");
  assert.equal(run.commit([["orders", 0, 1]]).results[0]!.previous, null);
});

Deno.test("group is described with members by id, what they hold, and what they give up", () => {
  const run = new GroupRun();
  run.start("b");
  run.join("a", { clientId: "svc", instanceId: "one" });
  run.advance(100);
  const { members, state, assignor, groupId } = run.describe();
  assert.deepEqual([state, assignor, groupId], ["preparing", "sticky", GROUP]);
  assert.deepEqual(members[0], {
    memberId: "a",
    clientId: "svc",
    instanceId: "one",
    topics: ["orders"],
    sessionTimeoutMs: 30_000,
    transport: "websocket",
    joinedAt: run.wall - 100,
    assignment: [],
    revoking: [],
    sessionEndsAt: run.wall - 100 + 30_000,
  });
  run.execute({ type: "Heartbeat", group: GROUP, memberId: "a" });
  assert.equal(run.describe().members[0]!.sessionEndsAt, run.wall + 30_000);
  assert.equal(members[1]!.memberId, "b");
  assert.equal(members[1]!.assignment.length, 2);
  assert.equal(members[1]!.revoking.length, 2);
  assert.deepEqual(summarizeGroup(run.state), {
    groupId: GROUP,
    state: "preparing",
    generation: 2,
    members: 2,
  });
});

Deno.test("heartbeat answers the generation and what the member may read", () => {
  const run = new GroupRun();
  run.start("a");
  run.join("b");
  run.advance(100);
  assert.deepEqual(run.heartbeat("a"), {
    generation: 2,
    assignment: [{ topic: "orders", partition: 0 }, { topic: "orders", partition: 2 }],
    paused: null,
  });
});

Deno.test("topics of a group are those of its members and of its offsets", () => {
  const run = new GroupRun();
  run.join("a", { topics: ["users", "orders", "users"] });
  run.commit([["events", 0, 1], ["orders", 0, 1]]);
  assert.deepEqual(topicsOfGroup(run.state), ["events", "orders", "users"]);
});

Deno.test("group is empty, then preparing, then stable", () => {
  const run = new GroupRun();
  const phases = [phaseOf(run.state)];
  run.join("a");
  phases.push(phaseOf(run.state));
  run.advance(500);
  phases.push(phaseOf(run.state));
  assert.deepEqual(phases, ["empty", "preparing", "stable"]);
});
