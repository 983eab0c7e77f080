// Owns tests of the life of a canary in its group: set, counted, withdrawn by itself, promoted, removed, restarted.
// Refuses to own the limits of the verdict (canary_judge_test.ts) and the choice of partitions (canary_split_test.ts).
import assert from "node:assert/strict";
import { encodeGroupState } from "../actors/group/state.ts";
import { CanaryRun, FEW_MESSAGES, SESSION_MS } from "./support/canary_run.ts";
import { GROUP, replay } from "./support/group_run.ts";

/** Two members of v1 and one of v2, eight partitions, a quarter of them the canary's; all have committed once. */
function trial(percent = 25): CanaryRun {
  const run = new CanaryRun();
  run.counts = { orders: 8 };
  run.fleet({ a: "v1", b: "v1", c: "v2" });
  for (let partition = 0; partition < 8; partition++) run.deliver(partition, { count: 1 });
  run.set(percent);
  run.settle();
  return run;
}

/** One partition of each side. */
function sidesOf(run: CanaryRun): { mine: number; theirs: number } {
  return { mine: run.of("v2")[0]!, theirs: run.of("v1")[0]! };
}

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
