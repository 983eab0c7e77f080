// Owns tests of what is counted of a canary and of the rest: each message once, for whoever answered it, within the window.
// Refuses to own the limits of the verdict (canary_judge_test.ts) and what follows (canary_withdrawal_test.ts).
import assert from "node:assert/strict";
import { CanaryRun, FEW_MESSAGES, SESSION_MS, sidesOf, trial } from "./support/canary_run.ts";

Deno.test("a message counts once: as answered when it, or one behind it, is nacked, not again when it is committed past or retried", () => {
  const run = trial();
  const { mine } = sidesOf(run);
  run.nackAll([run.nackOf(mine, 4)], "c");
  assert.deepEqual(countsOf(run), [4, 1]);
  run.nackAll([run.nackOf(mine, 2)], "c");
  assert.deepEqual(countsOf(run), [4, 2]);
  run.nackAll([run.nackOf(mine, 4, { attempt: 2 })], "c");
  assert.deepEqual(countsOf(run), [4, 2]);
  run.commit([["orders", mine, 3]], { memberId: "c" });
  assert.deepEqual(countsOf(run), [4, 2]);
  run.nackAll([run.nackOf(mine, 5)], "c");
  assert.deepEqual(countsOf(run), [5, 3]);
  run.commit([["orders", mine, 11]], { memberId: "c" });
  assert.deepEqual(countsOf(run), [10, 3]);
  // Nacked after it was committed past: it was counted as answered then.
  run.nackAll([run.nackOf(mine, 9)], "c");
  assert.deepEqual(countsOf(run), [10, 4]);
  assert.equal(run.state.canary!.ahead.size, 0);
});

Deno.test("nacks do not make a version look worse than it is while its commits are still to come", () => {
  const run = trial();
  const { mine, theirs } = sidesOf(run);
  run.deliver(theirs, { count: 1_000, bad: 100 });
  run.deliver(mine, { count: 1_000, bad: 100, commit: false });
  const { canary, state } = run.canary();
  assert.deepEqual([state, canary.nackRate], ["running", 0.1]);
});

Deno.test("messages that are delivered again, to another member or since offsets went back, count again", () => {
  const run = trial(75);
  const mine = run.of("v2")[0]!;
  run.deliver(mine, { count: 10, bad: 1, commit: false });
  assert.deepEqual(countsOf(run), [10, 1]);
  run.set(0);
  run.settle();
  const owner = run.ownerOf(mine);
  run.commit([["orders", mine, 6]], { memberId: owner });
  assert.equal(run.canary().rest.answered, 5);
  run.commit([["orders", mine, 1]], { memberId: owner, allowRewind: true, reason: "again" });
  run.commit([["orders", mine, 9]], { memberId: owner });
  assert.equal(run.canary().rest.answered, 13);
});

function countsOf(run: CanaryRun): [number, number] {
  const { answered, nacked } = run.canary().canary;
  return [answered, nacked];
}

Deno.test("what a partition's first commit passes counts from the first nack there, since nobody knows where reading began", () => {
  const run = new CanaryRun();
  run.counts = { orders: 2 };
  run.fleet({ a: "v1", c: "v2" });
  run.set(50);
  run.settle();
  const [mine] = run.of("v2") as [number];
  const [theirs] = run.of("v1") as [number];
  run.commit([["orders", theirs, 500]], { memberId: "a" });
  assert.equal(run.canary().rest.answered, 0);
  run.nackAll([run.nackOf(mine, 900), run.nackOf(mine, 905)], "c");
  run.commit([["orders", mine, 910]], { memberId: "c" });
  assert.deepEqual(countsOf(run), [10, 2]);
});

Deno.test("commits of somebody who is no member count for nobody, nacks from outside for whoever reads the partition", () => {
  const run = trial();
  const { mine, theirs } = sidesOf(run);
  run.commit([["orders", mine, 100]]);
  assert.deepEqual(countsOf(run), [0, 0]);
  run.nackAll([run.nackOf(mine, 102)]);
  run.nackAll([run.nackOf(theirs, 200), run.nackOf(theirs, 201)]);
  assert.deepEqual(countsOf(run), [3, 1]);
  assert.equal(run.canary().rest.nacked, 2);
});

Deno.test("what began to fail before the canary was set, or changed, counts for nobody when it dies", () => {
  const run = trial();
  const { mine } = sidesOf(run);
  run.nackAll([run.nackOf(mine, 50)], "c");
  run.advance(1_000);
  run.set(30);
  run.nackAll([run.nackOf(mine, 50, { code: "NON_RETRYABLE" })], "c");
  assert.equal(run.canary().canary.deadLettered, 0);
  run.nackAll([run.nackOf(mine, 51, { code: "NON_RETRYABLE" })], "c");
  assert.equal(run.canary().canary.deadLettered, 1);
});

Deno.test("sessions that end without a leave are lost, a leave is none", () => {
  const run = new CanaryRun();
  run.counts = { orders: 8 };
  run.fleet({ a: "v1" });
  run.set(25);
  for (let crash = 1; crash <= 4; crash++) {
    run.join(`c${crash}`, { version: "v2" });
    run.disconnect(`c${crash}`);
    run.advance(run.settings.reconnectGraceMs);
    assert.equal(run.canary().canary.lostSessions, crash);
  }
  run.join("c5", { version: "v2" });
  run.leave("c5");
  assert.equal(run.canary().canary.lostSessions, 4);
  assert.equal(run.canary().state, "running");
  run.join("c6", { version: "v2" });
  run.disconnect("c6");
  run.advance(run.settings.reconnectGraceMs - 1);
  assert.equal(run.canary().state, "running");
  run.advance(1);
  const canary = run.canary();
  assert.deepEqual([canary.state, canary.verdict.measure], ["withdrawn", "lost sessions"]);
});

Deno.test("what lies further back than the window counts no more", () => {
  const run = trial();
  const { mine, theirs } = sidesOf(run);
  run.deliver(theirs, { count: 100 });
  run.deliver(mine, { count: 19, bad: 19 });
  const at = run.now;
  // Sessions are not what this is about.
  assert.ok(FEW_MESSAGES.windowMs < SESSION_MS);
  run.advance(FEW_MESSAGES.windowMs - 1);
  assert.equal(run.canary().canary.answered, 19);
  run.advance(at + FEW_MESSAGES.windowMs - run.now);
  assert.equal(run.canary().canary.answered, 0);
  assert.equal(run.canary().rest.answered, 0);
  assert.equal(run.canary().verdict.state, "undecided");
});
