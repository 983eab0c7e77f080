// Owns tests of what the runbook of dead-letter floods does to a broker: a real one, in memory and in virtual time.
// Refuses to own how executions go (runbook_executions_test.ts). Invariant: it is judged by the broker's state, not its word.
import assert from "node:assert/strict";
import { AT, scene } from "./support/shipped_runbooks.ts";

Deno.test("dead-letter flood: the group is stopped until it is mended, and gets its letters once more", async () => {
  const { broker, time, publish, join, paused, run, settled, close } = await scene();
  await publish(20);
  await join("bad");
  const nacks = Array.from({ length: 20 }, (_, offset) => ({
    ...AT,
    offset,
    code: "NON_RETRYABLE",
    reason: "cannot parse",
    fraction: 0,
    endOffset: 20,
  }));
  await broker.group({ type: "Nack", group: "billing", nacks, principal: "bob" });
  await time.advance(5_000);
  const executionId = await run("dead-letter-flood", { target: { type: "broker", name: "1" } });
  const waiting = await settled(executionId);
  assert.equal(waiting.state, "waiting", waiting.outcome ?? "");
  assert.match(
    waiting.steps[0]!.detail!,
    /^group billing makes letters in dlq.orders since \S+Z, 20 of the newest, such as: cannot parse/,
  );
  assert.ok(await paused());
  await broker.group({ type: "Leave", group: "billing", memberId: "bad" });
  await join("good");
  await time.advance(5_000);
  assert.equal(await paused(), false);
  const { retries: { waiting: again } } = await broker.group({
    type: "Describe",
    group: "billing",
  });
  assert.equal(again, 20);
  const retries = nacks.map(({ offset }) => ({ ...AT, offset }));
  await broker.group({ type: "ForgetRetries", group: "billing", retries });
  const execution = await settled(executionId);
  assert.equal(execution.outcome, "verified");
  await close();
});

Deno.test("dead-letter flood: all letters since it began are handed over, however long before the alert, and older ones are counted", async () => {
  const { broker, time, publish, join, run, settled, close } = await scene();
  await publish(400);
  await join("bad");
  const nack = async (from: number, to: number) => {
    const nacks = Array.from({ length: to - from }, (_, index) => ({
      ...AT,
      offset: from + index,
      code: "NON_RETRYABLE",
      fraction: 0,
      endOffset: 400,
    }));
    await broker.group({ type: "Nack", group: "billing", nacks, principal: "bob" });
  };
  // Some that came long before.
  await nack(0, 3);
  await time.advance(600_000);
  // The flood rises for two minutes and a half before the fault is noted.
  for (let slice = 0; slice < 15; slice++) {
    await nack(3 + slice * 20, 23 + slice * 20);
    await time.advance(10_000);
  }
  const executionId = await run("dead-letter-flood", { target: { type: "broker", name: "1" } });
  assert.equal((await settled(executionId)).state, "waiting");
  await broker.group({ type: "Leave", group: "billing", memberId: "bad" });
  await join("good");
  await time.advance(10_000);
  const { retries: { waiting } } = await broker.group({ type: "Describe", group: "billing" });
  assert.equal(waiting, 300);
  const retries = Array.from({ length: 400 }, (_, offset) => ({ ...AT, offset }));
  await broker.group({ type: "ForgetRetries", group: "billing", retries });
  const execution = await settled(executionId);
  assert.equal(execution.outcome, "verified");
  assert.equal(
    execution.steps.at(-1)!.detail,
    "300 letters handed over, 0 not done with yet, 0 new ones; " +
      "3 letters of before the flood are left as they were",
  );
  await close();
});

Deno.test("dead-letter flood: the same version that starts anew is not taken for mended, and letters that come back are not called done", async () => {
  const { broker, time, publish, join, paused, run, settled, close } = await scene();
  await publish(20);
  await join("bad", "v2");
  const nacks = Array.from({ length: 20 }, (_, offset) => ({
    ...AT,
    offset,
    code: "NON_RETRYABLE",
    fraction: 0,
    endOffset: 20,
  }));
  const nackAll = () => broker.group({ type: "Nack", group: "billing", nacks, principal: "bob" });
  await nackAll();
  await time.advance(5_000);
  const executionId = await run("dead-letter-flood");
  assert.equal((await settled(executionId)).state, "waiting");
  await broker.group({ type: "Leave", group: "billing", memberId: "bad" });
  await join("again", "v2");
  await time.advance(30_000);
  const waiting = await broker.runbooks.execution(executionId);
  assert.equal(
    waiting.steps[2]!.detail,
    "not all members say another version than v2; or until somebody approves it",
  );
  assert.ok(await paused());
  await broker.group({ type: "Leave", group: "billing", memberId: "again" });
  await join("other", "v3");
  await time.advance(10_000);
  assert.equal(await paused(), false);
  // They are as bad as the others.
  await broker.group({ type: "TakeRetries", group: "billing", memberId: "other", max: 100 });
  await nackAll();
  const execution = await settled(executionId);
  assert.equal(execution.state, "partial", JSON.stringify(execution.steps));
  assert.match(
    execution.outcome!,
    /20 letters handed over, 0 not done with yet, \d+ new ones: its/,
  );
  await close();
});
