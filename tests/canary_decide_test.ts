// Owns tests of the life of a canary in its group: set, changed, promoted, removed, restarted, with members that change sides.
// Refuses to own its withdrawal (canary_withdrawal_test.ts) and the choice of partitions (canary_split_test.ts).
import assert from "node:assert/strict";
import { encodeGroupState } from "../actors/group/state.ts";
import { CanaryRun, FEW_MESSAGES, sidesOf, trial } from "./support/canary_run.ts";
import { GROUP, replay } from "./support/group_run.ts";

const events = (run: CanaryRun, type: string) => run.journal.filter((event) => event.type === type);

Deno.test("a canary gets its share and keeps it while members come and go, also over a restart", () => {
  const run = trial();
  const lane = run.of("v2");
  assert.equal(lane.length, 2);
  assert.equal(run.of("v1").length, 6);
  run.join("d", { version: "v1" });
  run.settle();
  assert.deepEqual(run.of("v2"), lane);
  run.leave("a");
  run.settle();
  assert.deepEqual(run.of("v2"), lane);
  run.crash();
  run.heartbeat("b");
  assert.deepEqual(run.of("v2"), lane);
  assert.equal(run.canary().percent, 25);
});

Deno.test("a rebalance tells that a canary was the cause, and only the partitions it gets move", () => {
  const run = new CanaryRun();
  run.counts = { orders: 8 };
  run.fleet({ a: "v1", b: "v1", c: "v2" });
  const before = run.describe().rebalances.length;
  const { moved, dryRun } = run.set(100);
  assert.equal(dryRun, false);
  run.settle();
  const { rebalances } = run.describe();
  assert.equal(rebalances.length, before + 1);
  assert.equal(rebalances.at(-1)!.cause, "canary v2 set to 100%");
  const inOrder = (moves: typeof moved) => moves.map((move) => JSON.stringify(move)).sort();
  assert.deepEqual(
    inOrder(rebalances.at(-1)!.moved.map(({ topic, partition, from, to }) => ({
      topic,
      partition,
      from,
      to,
    }))),
    inOrder(moved),
  );
  assert.ok(moved.every(({ to }) => to === "c"));
});

Deno.test("a dry run answers what the change would do, and changes nothing", () => {
  const run = new CanaryRun();
  run.counts = { orders: 8 };
  run.fleet({ a: "v1", c: "v2" });
  const before = JSON.stringify(run.state);
  const would = run.set(25, { dryRun: true });
  assert.equal(JSON.stringify(run.state), before);
  assert.equal(events(run, "CanarySet").length, 0);
  const does = run.set(25);
  assert.deepEqual({ ...does, dryRun: true }, would);
  assert.equal(would.canary.partitions.length, 2);
  run.settle();
  assert.deepEqual(run.canary().partitions, would.canary.partitions);
});

Deno.test("what concerns nobody moves nothing: a canary without members, other rules, the same percentage", () => {
  const run = new CanaryRun();
  run.counts = { orders: 8 };
  run.fleet({ a: "v1", b: "v1" });
  const { generation } = run.describe();
  const { canary } = run.set(10);
  assert.match(canary.note ?? "", /no member has version v2/);
  run.set(50);
  run.remove();
  run.set(10);
  run.settle();
  assert.equal(run.describe().generation, generation);
  run.join("c", { version: "v2" });
  run.settle();
  assert.equal(run.of("v2").length, 1);
  run.set(10, { rules: { ...FEW_MESSAGES, factor: 3 } });
  run.settle();
  assert.equal(run.describe().generation, generation + 1);
});

Deno.test("the same version set again while it runs keeps what was observed, another one does not", () => {
  const run = trial();
  const { mine, theirs } = sidesOf(run);
  run.deliver(theirs, { count: 100 });
  run.deliver(mine, { count: 10, bad: 10 });
  const { since } = run.canary();
  run.advance(10);
  assert.equal(run.set(50).canary.canary.answered, 10);
  assert.equal(run.canary().since, since);
  assert.equal(run.set(50, { version: "v3" }).canary.canary.answered, 0);
});

Deno.test("a percentage that changes while the canary runs adds partitions to it, or takes some back", () => {
  const run = trial();
  const few = run.of("v2");
  run.set(75);
  run.settle();
  const many = run.of("v2");
  assert.equal(many.length, 6);
  assert.ok(few.every((partition) => many.includes(partition)));
  run.set(25);
  run.settle();
  assert.deepEqual(run.of("v2"), few);
  run.set(0);
  run.settle();
  assert.deepEqual(run.of("v2"), []);
});

Deno.test("a canary that was promoted shares evenly with all others, and cannot be promoted again", () => {
  const run = trial();
  const { mine } = sidesOf(run);
  run.deliver(mine, { count: 30 });
  const promoted = run.promote();
  assert.deepEqual([promoted.state, promoted.canary.answered], ["promoted", 30]);
  run.settle();
  assert.equal(run.of("v2").length, 3 - Number(run.of("v1").length === 6));
  assert.deepEqual(Object.values(run.readable()).map(({ length }) => length).sort(), [2, 3, 3]);
  const promote = { type: "PromoteCanary", group: GROUP, reason: null, principal: "op" } as const;
  assert.equal(run.refusal(promote), "INVALID_CANARY_STATE");
  // Nothing is counted, and nothing withdrawn any more.
  run.deliver(run.of("v2")[0]!, { count: 100, bad: 100 });
  assert.equal(run.canary().state, "promoted");
});

Deno.test("when the only member of the canary goes the others have everything, and it has its share when it is back", () => {
  const run = trial();
  const lane = run.of("v2");
  run.leave("c");
  run.settle();
  assert.equal(run.of("v1").length, 8);
  assert.match(run.canary().note ?? "", /no member has version v2: the others have everything/);
  run.join("c2", { version: "v2" });
  run.settle();
  assert.deepEqual(run.of("v2"), lane);
  assert.equal(run.canary().note, null);
});

Deno.test("a single partition cannot be shared: the canary has none below 100 percent, and is told so", () => {
  const run = new CanaryRun();
  run.counts = { orders: 1 };
  run.fleet({ a: "v1", c: "v2" });
  const { canary } = run.set(99);
  assert.match(canary.note ?? "", /a single partition cannot be shared/);
  run.settle();
  assert.deepEqual(run.of("v1"), [0]);
  run.set(100);
  run.settle();
  assert.deepEqual(run.of("v2"), [0]);
});

Deno.test("a member that comes back with another version changes sides, a static one under a new id too", () => {
  const run = new CanaryRun();
  run.counts = { orders: 8 };
  run.fleet({ a: "v1" });
  run.join("s", { version: "v1", instanceId: "pod-0" });
  run.settle();
  run.set(25);
  assert.equal(run.of("v2").length, 0);
  run.join("s2", { version: "v2", instanceId: "pod-0" });
  assert.match(run.state.causes?.listed.join() ?? "", /version of s2 is now v2/);
  run.settle();
  assert.equal(run.of("v2").length, 2);
  run.join("x", { version: "v1", memberId: "s2", instanceId: "pod-0" });
  run.settle();
  assert.equal(run.of("v1").length, 8);
  // A restart of the same version is no news.
  const { generation } = run.describe();
  run.join("s3", { version: "v1", instanceId: "pod-0" });
  run.settle();
  assert.equal(run.describe().generation, generation);
  // One that does not say its version has none.
  run.join("y", { memberId: "s3", instanceId: "pod-0" });
  assert.equal(
    run.describe().members.find(({ memberId }) => memberId === "s3")?.version,
    undefined,
  );
});

Deno.test("without a canary a new version alone moves nothing", () => {
  const run = new CanaryRun();
  run.fleet({ a: "v1", b: "v1" });
  const { generation } = run.describe();
  run.join("x", { memberId: "a", version: "v2" });
  run.settle();
  assert.equal(run.describe().generation, generation);
  assert.equal(run.describe().members[0]!.version, "v2");
});

Deno.test("a group that is paused keeps its canary, and goes on with it", () => {
  const run = trial();
  run.execute({ type: "Pause", group: GROUP, reason: "r", principal: "op" });
  run.set(50);
  run.settle();
  assert.equal(run.of("v2").length, 4);
  run.execute({ type: "Resume", group: GROUP, principal: "op" });
  assert.equal(run.canary().percent, 50);
});

Deno.test("commands that cannot be are refused, and change nothing", () => {
  const run = new CanaryRun();
  const about = { group: GROUP, reason: null, principal: "op" };
  assert.equal(run.refusal(run.setCommand(10)), "UNKNOWN_GROUP");
  assert.equal(run.refusal({ type: "DescribeCanary", group: GROUP }), "UNKNOWN_GROUP");
  run.fleet({ a: "v1" });
  const before = run.journal.length;
  for (const percent of [-1, 100.5, NaN]) {
    assert.equal(run.refusal(run.setCommand(percent)), "INVALID_REQUEST");
  }
  for (
    const rules of [
      { windowMs: 0 },
      { minObservations: 0 },
      { factor: 0.9 },
      { margin: -0.1 },
      { margin: 1.1 },
      { maxLostSessions: -1 },
    ]
  ) {
    const command = run.setCommand(10, { rules: { ...FEW_MESSAGES, ...rules } });
    assert.equal(run.refusal(command), "INVALID_REQUEST");
  }
  assert.equal(run.refusal({ type: "RemoveCanary", ...about }), "UNKNOWN_CANARY");
  assert.equal(run.refusal({ type: "PromoteCanary", ...about }), "UNKNOWN_CANARY");
  assert.equal(run.journal.length, before);
});

Deno.test("a canary and its counts are in the journal, and in the state that retention writes down", () => {
  const run = trial();
  const { mine, theirs } = sidesOf(run);
  run.deliver(theirs, { count: 100, bad: 1 });
  run.deliver(mine, { count: 10, bad: 3, commit: false });
  const before = JSON.parse(JSON.stringify(encodeGroupState(run.state)));
  assert.deepEqual(JSON.parse(JSON.stringify(encodeGroupState(replay(run.journal)))), before);
  run.execute({ type: "RecordState", group: GROUP });
  const recorded = run.journal.findIndex(({ type }) => type === "StateRecorded");
  const after = encodeGroupState(replay(run.journal.slice(recorded)));
  assert.deepEqual(JSON.parse(JSON.stringify(after)), before);
  run.execute({ type: "Leave", group: GROUP, memberId: "a" });
  run.execute({ type: "Leave", group: GROUP, memberId: "b" });
  run.execute({ type: "Leave", group: GROUP, memberId: "c" });
  assert.equal(run.canary().percent, 25);
});
