// Owns tests of what the shipped runbooks do to a broker: a real one, in memory and in virtual time.
// Refuses to own how executions go (runbook_executions_test.ts). Invariant: each is judged by the broker's state, not its word.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { KNOWN_THRESHOLDS } from "../actors/threshold/defaults.ts";
import type { ExecutionRequest } from "../actors/runbook/types.ts";
import { allRunbooks } from "../ops/runbooks/install.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { TOPIC_CONFIG } from "./support/memory_broker.ts";
import { runbookScene } from "./support/runbook_scene.ts";

const AT = { topic: "orders", partition: 0 };

async function scene() {
  const made = await runbookScene(allRunbooks);
  const { broker, time } = made;
  await broker.createTopic({ name: "orders", partitions: 1, config: TOPIC_CONFIG });
  const publish = async (count: number) => {
    const records = Array.from({ length: count }, (_, index) => ({
      key: new TextEncoder().encode(index % 4 === 0 ? "cold" : "hot"),
      value: new TextEncoder().encode(`value ${index}`),
      headers: [],
      timestamp: time.now(),
    }));
    await broker.append(AT, [encodeBatch(records, { crc32c })], { acks: "all" });
  };
  const join = (memberId: string, version?: string) =>
    broker.group({
      ...(version === undefined ? {} : { version }),
      type: "Join",
      group: "billing",
      newMemberId: memberId,
      topics: ["orders"],
      sessionTimeoutMs: 3_600_000,
      transport: "http",
      partitionCounts: { orders: 1 },
    });
  const commit = (offset: number, memberId?: string, generation?: number) =>
    broker.group({
      type: "CommitOffsets",
      group: "billing",
      offsets: [{ ...AT, offset, endOffset: 1_000 }],
      allowRewind: true,
      reason: "a test",
      principal: "bob",
      ...(memberId === undefined ? {} : { memberId }),
      ...(generation === undefined ? {} : { generation }),
    });
  const committed = async () =>
    (await broker.group({ type: "Describe", group: "billing" })).offsets[0]?.offset;
  const paused = async () =>
    (await broker.group({ type: "Describe", group: "billing" })).paused !== null;
  const run = async (name: string, more: Partial<ExecutionRequest> = {}) =>
    (await made.execute(name, more)).executionId;
  return { ...made, publish, join, commit, committed, paused, run };
}

Deno.test("every runbook that a threshold names is there, and what it says can be undone can be", async () => {
  const { broker, close } = await scene();
  const names = broker.runbooks.definitions().map(({ name }) => name);
  for (const { defaults: { runbook } } of KNOWN_THRESHOLDS.values()) {
    if (runbook !== null) assert.ok(names.includes(runbook), runbook);
  }
  assert.equal(names.length, 11);
  await close();
});

Deno.test("runbooks that need brokers to replicate show their steps, and are refused", async () => {
  const { broker, run, close } = await scene();
  const declared = broker.runbooks.definitions().filter(({ available }) => !available);
  assert.deepEqual(declared.map(({ name, targets }) => [name, targets.rtoMs, targets.rpoMs]), [
    ["broker-failure", 120_000, 0],
    ["site-failure", 900_000, 30_000],
  ]);
  assert.ok(declared.every(({ steps }) => steps.length >= 7));
  await assert.rejects(run("broker-failure", { target: { type: "broker", name: "2" } }), {
    code: "INVALID_EXECUTION_STATE",
    message: /is declared, what its steps do is not built yet/,
  });
  assert.deepEqual(await broker.runbooks.executions(), []);
  await close();
});

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

Deno.test("retry storm: waits become longer until it is calm, and are then as before", async () => {
  const { broker, time, publish, join, run, settled, close } = await scene();
  await publish(10);
  await join("m");
  const nacks = Array.from({ length: 10 }, (_, offset) => ({
    ...AT,
    offset,
    delayMs: 3_600_000,
    fraction: 0,
    endOffset: 10,
  }));
  await broker.group({ type: "Nack", group: "billing", nacks, principal: "bob" });
  const before = await broker.group({ type: "RetryPolicies", group: "billing" });
  const executionId = await run("retry-storm", { target: { type: "broker", name: "1" } });
  await time.advance(5_000);
  const slowed = await broker.group({ type: "RetryPolicies", group: "billing" });
  assert.ok(slowed.policy.baseMs > before.policy.baseMs);
  const retries = nacks.map(({ offset }) => ({ ...AT, offset }));
  await broker.group({ type: "ForgetRetries", group: "billing", retries });
  const execution = await settled(executionId);
  assert.equal(execution.outcome, "verified");
  const after = await broker.group({ type: "RetryPolicies", group: "billing" });
  assert.deepEqual(after.policy, before.policy);
  await close();
});

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

Deno.test("storage over budget: without an archive nothing is dropped earlier before somebody agrees", async () => {
  const { broker, time, publish, run, settled, close } = await scene();
  await publish(100);
  await time.advance(40 * 3_600_000);
  const executionId = await run("storage-over-budget", { target: { type: "broker", name: "1" } });
  await time.advance(60_000);
  assert.equal((await settled(executionId)).state, "waiting");
  assert.equal(broker.topic("orders")!.config.retentionHours, 72);
  await broker.runbooks.approve({ executionId, principal: "ada", reason: null });
  await time.advance(1_000);
  assert.equal(broker.topic("orders")!.config.retentionHours, 36);
  await broker.runbooks.abort({ executionId, principal: "ada", reason: "not that one" });
  await settled(executionId);
  assert.equal(broker.topic("orders")!.config.retentionHours, 72);
  await close();
});

Deno.test("storage over budget: where all messages are young, less of them is kept", async () => {
  const { broker, time, publish, run, settled, close } = await scene();
  await publish(100);
  const { sizeBytes } = await broker.partitionInfo(AT);
  const executionId = await run("storage-over-budget", {
    target: { type: "topic", name: "orders" },
  });
  await settled(executionId);
  await broker.runbooks.approve({ executionId, principal: "ada", reason: null });
  await time.advance(1_000);
  const { retentionBytes, retentionHours } = broker.topic("orders")!.config;
  assert.deepEqual([retentionBytes, retentionHours], [Math.floor(sizeBytes / 2), 72]);
  await broker.runbooks.abort({ executionId, principal: "ada", reason: "not that one" });
  await settled(executionId);
  assert.equal(broker.topic("orders")!.config.retentionBytes, null);
  await close();
});

Deno.test("partition actor down: one that serves has nothing to repair", async () => {
  const { run, settled, close } = await scene();
  const target = { type: "partition", name: "orders/0" } as const;
  const execution = await settled(await run("partition-actor-down", { target }));
  assert.equal(execution.outcome, "aborted: nothing to repair: orders/0 serves");
  await close();
});
