// Owns tests of what the shipped runbooks do to a broker: a real one, in memory and in virtual time.
// Refuses to own how executions go (runbook_executions_test.ts), and those that have files of their own
// (runbook_consumer_bug_test.ts, runbook_dead_letters_test.ts and others).
// Invariant: each is judged by the broker's state, not its word.
import assert from "node:assert/strict";
import { KNOWN_THRESHOLDS, resourceTypesOf } from "../actors/threshold/defaults.ts";
import { AT, scene } from "./support/shipped_runbooks.ts";

Deno.test("every runbook that a threshold names is there, and what it says can be undone can be", async () => {
  const { broker, close } = await scene();
  const names = broker.runbooks.definitions().map(({ name }) => name);
  for (const { defaults: { runbook } } of KNOWN_THRESHOLDS.values()) {
    if (runbook !== null) assert.ok(names.includes(runbook), runbook);
  }
  assert.equal(names.length, 13);
  await close();
});

Deno.test("what alerts of a threshold are about is what its runbook repairs", async () => {
  const { broker, close } = await scene();
  const kinds = new Map(
    broker.runbooks.definitions().map(({ name, targetKinds }) => [name, targetKinds]),
  );
  for (const [name, { defaults: { runbook } }] of KNOWN_THRESHOLDS) {
    if (runbook === null) continue;
    for (const type of resourceTypesOf(name)) {
      assert.ok(kinds.get(runbook)!.includes(type), `${name}: ${runbook} on a ${type}`);
    }
  }
  await close();
});

Deno.test("runbooks that need brokers to replicate show their steps, and are refused", async () => {
  const { broker, run, close } = await scene();
  const declared = broker.runbooks.definitions().filter(({ available }) => !available);
  assert.deepEqual(declared.map(({ name, targets }) => [name, targets.rtoMs, targets.rpoMs]), [
    ["broker-failure", 120_000, 0],
    ["under-replicated", null, null],
    ["metadata-failover", null, null],
    ["site-failure", 900_000, 30_000],
  ]);
  assert.ok(declared.every(({ steps }) => steps.length >= 3));
  await assert.rejects(run("broker-failure", { target: { type: "broker", name: "2" } }), {
    code: "INVALID_EXECUTION_STATE",
    message: /is declared only: it needs what a broker that is alone does not have/,
  });
  assert.deepEqual(await broker.runbooks.executions(), []);
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
