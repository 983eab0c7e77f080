// Owns tests of how executions of runbooks go: order, modes, time-outs, undoing, and what a restart leaves.
// Refuses to own what any runbook does, and who may begin (runbook_beginnings_test.ts).
// Invariant: virtual time, a real broker and a real journal in memory.
import assert from "node:assert/strict";
import type { Execution, StepResult } from "../actors/runbook/types.ts";
import { done, runbookScene, toyRunbook } from "./support/runbook_scene.ts";
import { ACT, CHECK, code, VERIFY } from "./support/runbook_steps.ts";

const states = ({ steps }: Execution) => steps.map(({ state }) => state);

Deno.test("an execution carries its steps out in order and ends verified, with its time and what was lost", async () => {
  const did: string[] = [];
  const steps = [
    { ...CHECK, run: () => done("found it", { facts: { found: 7 } }) },
    {
      ...ACT,
      run: ({ facts }: { facts: Record<string, unknown> }) =>
        done(`did ${facts.found}`, { rpo: { ms: 3_000, messages: 0 } }),
    },
    VERIFY,
  ];
  const scene = await runbookScene([toyRunbook("mend", steps, { did })]);
  const { executionId } = await scene.execute("mend");
  const execution = await scene.settled(executionId);
  assert.equal(execution.outcome, "verified");
  assert.deepEqual(did, ["run look", "run act", "run see"]);
  assert.deepEqual(states(execution), ["done", "done", "done"]);
  assert.equal(execution.steps[1]!.detail, "did 7");
  assert.deepEqual(execution.rpo, { ms: 3_000, messages: 0 });
  assert.ok(execution.rtoMs !== null && execution.rtoMs <= 1_000);
  await scene.close();
});

Deno.test("a verification looks again until it holds, and is too late exactly when its time is over", async () => {
  for (const [holdsAfterMs, outcome] of [[9_000, "verified"], [11_000, "partial"]] as const) {
    const run = ({ stepStartedAt }: { stepStartedAt: number }): StepResult =>
      scene.time.now() - stepStartedAt >= holdsAfterMs
        ? done("it helped")
        : { outcome: "again", detail: "not yet" };
    const scene = await runbookScene([
      toyRunbook("mend", [ACT, { ...VERIFY, timeoutMs: 10_000, run }]),
    ]);
    const { executionId } = await scene.execute("mend");
    const execution = await scene.settled(executionId);
    assert.equal(execution.state, outcome);
    if (outcome === "partial") {
      assert.match(
        execution.outcome!,
        /^partial: manual intervention required: see: not done within 10 s: not yet/,
      );
      // What was done stays: it may be what helps.
      assert.deepEqual(states(execution), ["done", "failed"]);
      assert.equal(execution.rtoMs, null);
    } else {
      assert.ok(execution.rtoMs! >= 9_000 && execution.rtoMs! <= 10_000);
    }
    await scene.close();
  }
});

Deno.test("where there is nothing to repair an execution is aborted, and nothing was done", async () => {
  const did: string[] = [];
  const look = { ...CHECK, run: (): StepResult => ({ outcome: "nothing", detail: "all is well" }) };
  const scene = await runbookScene([toyRunbook("mend", [look, ACT], { did })]);
  const { executionId } = await scene.execute("mend");
  const execution = await scene.settled(executionId);
  assert.equal(execution.outcome, "aborted: nothing to repair: all is well");
  assert.deepEqual(did, ["run look"]);
  await scene.close();
});

Deno.test("an action that fails is taken back with those before it, last first", async () => {
  const did: string[] = [];
  const fails = () => Promise.reject(new Error("no luck"));
  const second = { ...ACT, name: "act more", run: fails };
  const scene = await runbookScene([toyRunbook("mend", [CHECK, ACT, second, VERIFY], { did })]);
  const { executionId } = await scene.execute("mend");
  const execution = await scene.settled(executionId);
  assert.equal(execution.state, "aborted");
  assert.deepEqual(did, ["run look", "run act", "run act more", "undo act more", "undo act"]);
  assert.deepEqual(states(execution), ["done", "undone", "undone", "pending"]);
  await scene.close();
});

Deno.test("an action that cannot be taken back leaves the rest to somebody", async () => {
  const { undo: _, ...forGood } = ACT;
  const fails = { ...ACT, name: "act more", run: () => Promise.reject(new Error("no luck")) };
  const scene = await runbookScene([toyRunbook("mend", [forGood, fails])]);
  const { executionId } = await scene.execute("mend");
  const execution = await scene.settled(executionId);
  assert.equal(execution.state, "partial");
  assert.match(
    execution.outcome!,
    /^partial: manual intervention required: .*not taken back: act$/,
  );
  await scene.close();
});

Deno.test("an action that hangs is told to stop when its time is over, and is taken back", async () => {
  let stopped = false;
  const hang = {
    ...ACT,
    timeoutMs: 5_000,
    run: ({ signal }: { signal: AbortSignal }) =>
      new Promise<StepResult>((_, reject) => {
        signal.addEventListener("abort", () => {
          stopped = true;
          reject(new Error("stopped"));
        });
      }),
  };
  const scene = await runbookScene([toyRunbook("mend", [hang])]);
  const { executionId } = await scene.execute("mend");
  await scene.time.advance(4_900);
  assert.equal((await scene.broker.runbooks.execution(executionId)).state, "running");
  const execution = await scene.settled(executionId);
  assert.equal(execution.state, "aborted");
  assert.equal(execution.steps[0]!.error?.code, "TIMED_OUT");
  assert.ok(stopped);
  await scene.close();
});

Deno.test("mode observe looks, does nothing, and says what it would do", async () => {
  const did: string[] = [];
  const act = { ...ACT, plan: () => Promise.resolve("would pause billing") };
  const scene = await runbookScene([toyRunbook("mend", [CHECK, act, VERIFY], { did })]);
  const { executionId } = await scene.execute("mend", { mode: "observe" });
  const execution = await scene.settled(executionId);
  assert.deepEqual(did, ["run look"]);
  assert.deepEqual(states(execution), ["done", "skipped", "skipped"]);
  assert.equal(execution.steps[1]!.detail, "would pause billing");
  assert.equal(execution.outcome, "partial: observed, nothing was changed");
  await scene.close();
});

Deno.test("mode approve looks, and acts only once somebody has approved", async () => {
  const did: string[] = [];
  const second = { ...ACT, name: "act more" };
  const scene = await runbookScene([toyRunbook("mend", [CHECK, ACT, second, VERIFY], { did })]);
  const { executionId } = await scene.execute("mend", { mode: "approve" });
  await scene.time.advance(600_000);
  assert.equal((await scene.settled(executionId)).state, "waiting");
  assert.deepEqual(did, ["run look"]);
  const order = { executionId, principal: "grace", reason: null };
  await scene.broker.runbooks.approve(order);
  const execution = await scene.settled(executionId);
  assert.equal(execution.state, "verified");
  assert.equal(execution.approvedBy, "grace");
  assert.deepEqual(did, ["run look", "run act", "run act more", "run see"]);
  await assert.rejects(scene.broker.runbooks.approve(order), code("INVALID_EXECUTION_STATE"));
  await scene.close();
});

Deno.test("an approval of a step lets that one go on and no other, also when it is sent twice", async () => {
  const step = (name: string) => ({ ...ACT, name, kind: "approval" as const });
  const scene = await runbookScene([toyRunbook("mend", [step("first"), step("second"), ACT])]);
  const { executionId } = await scene.execute("mend", { mode: "approve" });
  await scene.settled(executionId);
  const { runbooks } = scene.broker;
  const order = { executionId, principal: "grace", reason: null };
  const early = runbooks.approve({ ...order, step: "second" });
  await assert.rejects(early, code("INVALID_EXECUTION_STATE"));
  await runbooks.approve({ ...order, step: "first" });
  await assert.rejects(
    runbooks.approve({ ...order, step: "first" }),
    /waits for approval of step second, not of first/,
  );
  const waiting = await scene.settled(executionId);
  assert.deepEqual(states(waiting), ["done", "waiting", "pending"]);
  assert.deepEqual(waiting.steps.map(({ approvedBy }) => approvedBy), [
    "grace",
    undefined,
    undefined,
  ]);
  await runbooks.approve({ ...order, step: "second" });
  assert.equal((await scene.settled(executionId)).state, "verified");
  await scene.close();
});

Deno.test("who is never approved is aborted after half an hour, and nothing was done", async () => {
  const did: string[] = [];
  const scene = await runbookScene([toyRunbook("mend", [CHECK, ACT], { did })]);
  const { executionId } = await scene.execute("mend", { mode: "approve" });
  await scene.time.advance(29 * 60_000);
  assert.equal((await scene.settled(executionId)).state, "waiting");
  await scene.time.advance(2 * 60_000);
  const execution = await scene.broker.runbooks.execution(executionId);
  assert.equal(execution.state, "aborted");
  assert.deepEqual(did, ["run look"]);
  await scene.close();
});

Deno.test("an approval step waits also in mode auto, unless it is given by itself", async () => {
  let isGiven = false;
  const ask = {
    name: "confirm",
    kind: "approval" as const,
    timeoutMs: 3_600_000,
    run: (): StepResult =>
      isGiven ? done("the old version runs") : { outcome: "again", detail: "2 members of 3" },
  };
  const scene = await runbookScene([toyRunbook("mend", [ACT, ask, VERIFY])]);
  const first = await scene.execute("mend");
  const waiting = await scene.settled(first.executionId);
  assert.equal(waiting.state, "waiting");
  await scene.time.advance(2_000);
  const told = await scene.broker.runbooks.execution(first.executionId);
  assert.equal(told.steps[1]!.detail, "2 members of 3");
  isGiven = true;
  await scene.time.advance(2_000);
  const ended = await scene.settled(first.executionId);
  assert.equal(ended.state, "verified");
  assert.equal(ended.steps[1]!.detail, "the old version runs");
  await scene.close();
});

Deno.test("who aborts stops the step under way, and what was done is taken back", async () => {
  const did: string[] = [];
  const slow = {
    ...VERIFY,
    timeoutMs: 60_000,
    run: (): StepResult => ({ outcome: "again", detail: "…" }),
  };
  const scene = await runbookScene([toyRunbook("mend", [ACT, slow], { did })]);
  const { executionId } = await scene.execute("mend");
  await scene.time.advance(5_000);
  await scene.broker.runbooks.abort({ executionId, principal: "grace", reason: "wrong group" });
  const execution = await scene.settled(executionId);
  assert.equal(
    execution.outcome,
    "aborted: by grace: wrong group; what was done was taken back",
  );
  assert.equal(did.at(-1), "undo act");
  await scene.close();
});

Deno.test("after a restart an execution goes on at its step, which is carried out once more", async () => {
  const did: string[] = [];
  let isLate = true;
  const hang = {
    ...ACT,
    name: "act more",
    timeoutMs: 60_000,
    run: ({ signal }: { signal: AbortSignal }) =>
      isLate
        ? new Promise<StepResult>((_, reject) =>
          signal.addEventListener("abort", () => reject(new Error("stopped")))
        )
        : done("now"),
  };
  const scene = await runbookScene([toyRunbook("mend", [CHECK, ACT, hang, VERIFY], { did })]);
  const { executionId } = await scene.execute("mend");
  await scene.time.advance(1_000);
  isLate = false;
  await scene.restart();
  const execution = await scene.settled(executionId);
  assert.equal(execution.state, "verified");
  assert.deepEqual(did, ["run look", "run act", "run act more", "run act more", "run see"]);
  await scene.close();
});

Deno.test("what waits for approval still waits after a restart, and what is held stays held", async () => {
  const scene = await runbookScene([toyRunbook("mend", [CHECK, ACT])]);
  const { executionId } = await scene.execute("mend", { mode: "approve" });
  assert.equal((await scene.settled(executionId)).state, "waiting");
  const broker = await scene.restart();
  await scene.time.advance(1_000);
  assert.equal((await scene.settled(executionId)).state, "waiting");
  await assert.rejects(scene.execute("mend"), code("RUNBOOK_BUSY"));
  await broker.runbooks.approve({ executionId, principal: "grace", reason: null });
  assert.equal((await scene.settled(executionId)).state, "verified");
  await scene.close();
});

Deno.test("what can pass is tried again within the step's time, and each action is audited", async () => {
  const { BrokerError } = await import("../storage/broker_error.ts");
  let left = 3;
  const act = {
    ...ACT,
    run: () => {
      if (left-- > 0) throw new BrokerError("OVERLOADED", "too much just now");
      return done("done at last");
    },
  };
  const scene = await runbookScene([toyRunbook("mend", [act])]);
  const { executionId } = await scene.execute("mend");
  assert.equal((await scene.settled(executionId)).state, "verified");
  const { entries } = await scene.broker.audit.query({ order: "newest", at: null, limit: 10 });
  assert.equal(entries[0]!.action, "runbook.action");
  assert.equal(entries[0]!.actor, "runbook:mend");
  assert.equal(entries[0]!.outcome, "success");
  await scene.close();
});
