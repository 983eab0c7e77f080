// Owns tests of a canary that is withdrawn: by itself, for what, who gets its partitions, who is told, until when.
// Refuses to own the limits of the verdict (canary_judge_test.ts) and what is counted (canary_counts_test.ts).
import assert from "node:assert/strict";
import { CanaryRun, FEW_MESSAGES, sidesOf, trial } from "./support/canary_run.ts";
import { GROUP } from "./support/group_run.ts";

const events = (run: CanaryRun, type: string) => run.journal.filter((event) => event.type === type);

Deno.test("a canary that nacks more than the rest is withdrawn by itself, and its partitions go back", () => {
  const run = trial();
  const { mine, theirs } = sidesOf(run);
  run.deliver(theirs, { count: 200, bad: 2 });
  run.deliver(mine, { count: 19, bad: 19 });
  assert.equal(run.canary().state, "running");
  assert.equal(run.canary().verdict.state, "undecided");
  run.told.length = 0;
  run.deliver(mine, { count: 1, bad: 1 });
  const [withdrawn] = events(run, "CanaryWithdrawn");
  assert.ok(withdrawn?.type === "CanaryWithdrawn");
  assert.equal(withdrawn.measure, "nacks");
  assert.deepEqual(withdrawn.canary, {
    answered: 20,
    nacked: 20,
    deadLettered: 0,
    lostSessions: 0,
  });
  assert.deepEqual(withdrawn.rest, { answered: 200, nacked: 2, deadLettered: 0, lostSessions: 0 });
  assert.deepEqual(run.toldTo("c").filter(({ type }) => type === "withdrawn"), [{
    type: "withdrawn",
    version: "v2",
    reason: "nacks: 100% (20 of 20) of the canary's messages, 1% (2 of 200) of the rest's",
  }]);
  assert.deepEqual(run.toldTo("a").filter(({ type }) => type === "withdrawn"), []);
  run.settle();
  assert.deepEqual(run.of("v2"), []);
  assert.equal(run.of("v1").length, 8);
  const canary = run.canary();
  assert.deepEqual([canary.state, canary.changedBy], ["withdrawn", "system:canary-judge"]);
  assert.equal(canary.canary.nackRate, 1);
  assert.equal(canary.rest.nackRate, 0.01);
  assert.deepEqual(canary.partitions, []);
  // It stays a member, and is told why with every sign of life.
  assert.equal(run.heartbeat("c").withdrawn?.version, "v2");
  assert.equal(run.heartbeat("a").withdrawn, undefined);
  // What it nacked waits for the others: nothing is lost.
  assert.equal(run.waiting().length, 22);
});

Deno.test("a canary whose messages die is withdrawn for its dead letters, where both nack as much", () => {
  const run = trial();
  run.setPolicy({ maxAttempts: 2 });
  const { mine, theirs } = sidesOf(run);
  const rules = { rules: { ...FEW_MESSAGES, margin: 0.1 } };
  run.set(25, rules);
  run.deliver(theirs, { count: 100, bad: 50 });
  run.deliver(mine, { count: 100, bad: 50 });
  assert.equal(run.canary().verdict.state, "ok");
  const again = (i: number) => run.nackOf(mine, 2 + 2 * i, { attempt: 2 });
  run.nackAll(Array.from({ length: 9 }, (_, i) => again(i)), "c");
  assert.equal(run.canary().state, "running");
  run.nackAll([again(9)], "c");
  const [withdrawn] = events(run, "CanaryWithdrawn");
  assert.ok(withdrawn?.type === "CanaryWithdrawn");
  assert.equal(withdrawn.measure, "dead letters");
  assert.equal(withdrawn.canary.deadLettered, 10);
});

Deno.test("a withdrawn version gets nothing, whoever joins, until the canary is removed", () => {
  const run = withdrawn();
  run.told.length = 0;
  run.join("e", { version: "v2" });
  assert.equal(run.toldTo("e").filter(({ type }) => type === "withdrawn").length, 1);
  run.settle();
  run.crash();
  for (const memberId of ["a", "b", "c", "e"]) run.heartbeat(memberId);
  assert.equal(run.toldTo("c").filter(({ type }) => type === "withdrawn").length, 1);
  run.settle();
  assert.deepEqual(run.of("v2"), []);
  assert.equal(run.canary().state, "withdrawn");
  assert.equal(run.canary().canary.answered, 20);
  run.remove();
  run.settle();
  assert.equal(run.of("v2").length, 4);
  assert.equal(run.refusal({ type: "DescribeCanary", group: GROUP }), "UNKNOWN_CANARY");
  assert.equal(run.describe().canary, null);
});

function withdrawn(): CanaryRun {
  const run = trial();
  const { mine, theirs } = sidesOf(run);
  run.deliver(theirs, { count: 100 });
  run.deliver(mine, { count: 20, bad: 20 });
  assert.equal(run.canary().state, "withdrawn");
  run.settle();
  return run;
}

Deno.test("a withdrawn version that is set again begins anew, without what was held against it", () => {
  const run = withdrawn();
  const { canary } = run.set(50);
  assert.deepEqual([canary.state, canary.canary.answered], ["running", 0]);
  run.settle();
  assert.equal(run.of("v2").length, 4);
});

Deno.test("when nobody else is left the canary has everything, and is kept although it is worse, until somebody is", () => {
  const run = trial();
  const { mine, theirs } = sidesOf(run);
  run.deliver(theirs, { count: 100 });
  run.leave("a");
  run.leave("b");
  run.settle();
  assert.equal(run.of("v2").length, 8);
  run.deliver(mine, { count: 50, bad: 50 });
  const canary = run.canary();
  assert.deepEqual([canary.state, canary.verdict.state], ["running", "worse"]);
  assert.match(canary.note ?? "", /has everything, and is kept although it is worse/);
  run.join("d", { version: "v1" });
  assert.equal(run.canary().state, "withdrawn");
  run.settle();
  assert.equal(run.of("v1").length, 8);
});

Deno.test("when only members of a withdrawn version are left, nobody reads, and the state says so", () => {
  const run = withdrawn();
  run.leave("a");
  run.leave("b");
  run.settle();
  assert.deepEqual(run.of("v2"), []);
  assert.equal(run.describe().state, "stable");
  assert.match(run.canary().note ?? "", /nobody reads until another version joins/);
  run.remove();
  run.settle();
  assert.equal(run.of("v2").length, 8);
});

Deno.test("a topic that only a withdrawn version reads waits, is told of, and is there again afterwards", () => {
  const run = new CanaryRun();
  run.counts = { orders: 8, fresh: 2 };
  run.fleet({ a: "v1" });
  run.fleet({ c: "v2" }, { topics: ["orders", "fresh"] });
  run.set(25);
  run.settle();
  assert.equal(run.readable("fresh").c?.length, 2);
  run.deliver(run.of("v1")[0]!, { count: 1 });
  run.deliver(run.of("v1")[0]!, { count: 100 });
  const mine = run.readable().c![0]!;
  run.deliver(mine, { count: 20, bad: 20 });
  run.settle();
  assert.equal(run.canary().state, "withdrawn");
  assert.deepEqual(run.readable("fresh").c, []);
  assert.match(run.canary().note ?? "", /topics that nobody else subscribes to: 1/);
  run.remove();
  run.settle();
  assert.equal(run.readable("fresh").c?.length, 2);
});
