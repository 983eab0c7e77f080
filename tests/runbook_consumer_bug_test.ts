// Owns tests of what the runbooks that move offsets back do to a broker: a real one, in memory and in virtual time.
// Refuses to own how executions go (runbook_executions_test.ts). Invariant: each is judged by the broker's state, not its word.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { encodeBatch } from "../storage/format/encode.ts";
import { TOPIC_CONFIG } from "./support/memory_broker.ts";
import { scene } from "./support/shipped_runbooks.ts";

Deno.test("consumer bug: the group goes back to the snapshot from before the deploy, and catches up again", async () => {
  const { broker, time, publish, join, commit, committed, paused, run, settled, close } =
    await scene();
  await publish(100);
  await commit(40);
  const { snapshotId } = await broker.group({
    type: "SnapshotOffsets",
    group: "billing",
    principal: "ada",
  });
  await time.advance(30_000);
  // The bad version joins, and does away with the rest.
  await join("bad");
  await time.advance(10_000);
  await commit(100);
  // Newer, and of no use: the bad version has been at work.
  await broker.group({ type: "SnapshotOffsets", group: "billing", principal: "ada" });
  const executionId = await run("consumer-bug");
  const waiting = await settled(executionId);
  assert.equal(waiting.state, "waiting", waiting.outcome ?? "");
  assert.equal(waiting.facts.place, `snapshot ${snapshotId}`);
  assert.ok(await paused());
  assert.equal(await committed(), 100);
  await broker.group({ type: "Leave", group: "billing", memberId: "bad" });
  await join("good");
  await time.advance(2_000);
  for (let turn = 0; turn < 100 && await paused(); turn++) await time.advance(100);
  assert.equal(await committed(), 40);
  await commit(90);
  const execution = await settled(executionId);
  assert.equal(execution.outcome, "verified");
  assert.equal(execution.facts.redelivered, 60);
  assert.equal(execution.rpo!.messages, 0);
  assert.ok(execution.rpo!.ms <= execution.targets.rpoMs!, String(execution.rpo!.ms));
  assert.ok(execution.rtoMs! < execution.targets.rtoMs!);
  await close();
});

Deno.test("consumer bug: who is asked to approve is told what comes of it, and where the consumers are", async () => {
  const { broker, time, publish, join, commit, paused, run, settled, close } = await scene();
  await publish(100);
  await commit(40);
  await broker.group({ type: "SnapshotOffsets", group: "billing", principal: "ada" });
  // Nothing is committed for ten minutes: none of that time is lost.
  await time.advance(600_000);
  await join("bad", "v2");
  await time.advance(1_000);
  await commit(100);
  const executionId = await run("consumer-bug", { mode: "approve" });
  await settled(executionId);
  await time.advance(2_000);
  const asked = await broker.runbooks.execution(executionId);
  assert.deepEqual([asked.state, asked.steps[2]!.name], ["waiting", "pause"]);
  assert.match(
    asked.steps[2]!.detail!,
    /^waits until somebody approves it; .*60\d s before the deploy, and nothing was committed in between; 60 messages are delivered again, 0 are no longer there; would pause group billing$/,
  );
  assert.equal(await paused(), false);
  await broker.runbooks.approve({ executionId, principal: "ada", reason: null });
  await time.advance(2_000);
  const confirm = (await broker.runbooks.execution(executionId)).steps[3]!;
  assert.deepEqual([confirm.name, confirm.state], ["confirm", "waiting"]);
  assert.match(
    confirm.detail!,
    /Confirm that the version of before the bug is back: 1 of 1 members of before are still there$/,
  );
  await broker.group({ type: "Leave", group: "billing", memberId: "bad" });
  await time.advance(2_000);
  assert.match(
    (await broker.runbooks.execution(executionId)).steps[3]!.detail!,
    /: the members of before are gone, no other has come$/,
  );
  await broker.runbooks.approve({ executionId, principal: "ada", reason: null });
  await time.advance(2_000);
  const { steps, rpo, facts } = await broker.runbooks.execution(executionId);
  assert.equal(steps[3]!.detail, "approved by ada");
  assert.deepEqual(rpo, { ms: 0, messages: 0 });
  assert.deepEqual(facts.before, [["orders", 0, 100]]);
  await broker.runbooks.abort({ executionId, principal: "ada", reason: null });
  await settled(executionId);
  await close();
});

Deno.test("consumer bug: a group of more offsets than an execution can note goes back, and forward again when it is undone", async () => {
  const { broker, time, join, run, settled, close } = await scene();
  const topic = "long-".repeat(40);
  const partitions = 200;
  await broker.createTopic({ name: topic, partitions, config: TOPIC_CONFIG });
  const all = Array.from({ length: partitions }, (_, partition) => ({ topic, partition }));
  for (const at of all) {
    const record = { key: null, value: new Uint8Array(1), headers: [], timestamp: time.now() };
    await broker.append(at, [encodeBatch([record, record], { crc32c })], { acks: "all" });
  }
  const commit = (offset: number) =>
    broker.group({
      type: "CommitOffsets",
      group: "billing",
      offsets: all.map((at) => ({ ...at, offset, endOffset: 2 })),
      allowRewind: true,
      reason: "a test",
      principal: "bob",
    });
  const offsets = async () => {
    const { offsets } = await broker.group({ type: "Describe", group: "billing" });
    return [...new Set(offsets.map(({ offset }) => offset))];
  };
  await commit(1);
  await broker.group({ type: "SnapshotOffsets", group: "billing", principal: "ada" });
  await time.advance(30_000);
  await join("bad");
  await time.advance(10_000);
  await commit(2);
  const executionId = await run("consumer-bug");
  const waiting = await settled(executionId);
  assert.equal(waiting.state, "waiting", waiting.outcome ?? "");
  await broker.runbooks.approve({ executionId, principal: "ada", reason: null, step: "confirm" });
  for (let turn = 0; turn < 100 && (await offsets())[0] === 2; turn++) await time.advance(100);
  assert.deepEqual(await offsets(), [1]);
  const { facts } = await broker.runbooks.execution(executionId);
  assert.equal(facts.redelivered, partitions);
  await broker.runbooks.abort({ executionId, principal: "ada", reason: "not that one" });
  assert.equal((await settled(executionId)).state, "aborted");
  assert.deepEqual(await offsets(), [2]);
  await close();
});

Deno.test("consumer bug: who aborts it has the group as it was", async () => {
  const { broker, time, publish, commit, committed, paused, run, settled, close } = await scene();
  await publish(100);
  await commit(40);
  await broker.group({ type: "SnapshotOffsets", group: "billing", principal: "ada" });
  await time.advance(1_000);
  await commit(100);
  const executionId = await run("consumer-bug");
  assert.equal((await settled(executionId)).state, "waiting");
  await broker.runbooks.abort({ executionId, principal: "ada", reason: null });
  const execution = await settled(executionId);
  assert.equal(execution.state, "aborted");
  assert.equal(await paused(), false);
  assert.equal(await committed(), 100);
  await close();
});

Deno.test("consumer bug: where there is no place to go back to, it says why and what to do", async () => {
  const { time, publish, join, commit, paused, run, settled, close } = await scene();
  await publish(10);
  await join("bad");
  await time.advance(10_000);
  const never = await settled(await run("consumer-bug"));
  assert.match(never.outcome!, /^partial: .* has never committed anything, so there is nothing/);
  const before = { deployedAt: `${time.now()}` };
  await time.advance(10_000);
  await commit(5);
  const late = await settled(await run("consumer-bug", { parameters: before }));
  assert.match(late.outcome!, /nothing is known of the offsets of group billing at 2026-01-01T/);
  assert.equal(await paused(), false);
  await close();
});

Deno.test("mistaken commit: a time in whole seconds means the change within that second", async () => {
  const { time, publish, commit, committed, run, settled, close } = await scene();
  await publish(100);
  await commit(30);
  await time.advance(60_427);
  await commit(100);
  const at = new Date(Math.floor(time.now() / 1_000) * 1_000).toISOString().replace(".000", "");
  await time.advance(60_000);
  await commit(90);
  const execution = await settled(await run("mistaken-commit", { parameters: { at } }));
  assert.equal(execution.outcome, "verified");
  assert.equal(await committed(), 30);
  await close();
});

Deno.test("mistaken commit: the offsets go back to what was there before it", async () => {
  const { time, publish, commit, committed, paused, run, settled, close } = await scene();
  await publish(100);
  await commit(30);
  await time.advance(60_000);
  await commit(100);
  const execution = await settled(await run("mistaken-commit"));
  assert.equal(execution.outcome, "verified");
  assert.equal(await committed(), 30);
  assert.equal(await paused(), false);
  await close();
});
