// Owns tests of what runbooks may be executed for: what is there, and nothing that the broker keeps for itself.
// Refuses to own what they then do (runbook_definitions_test.ts). Invariant: what is refused has begun nothing.
import assert from "node:assert/strict";
import type { ExecutionRequest } from "../actors/runbook/types.ts";
import type { BrokerError } from "../storage/broker_error.ts";
import { allRunbooks } from "../ops/runbooks/install.ts";
import { TOPIC_CONFIG } from "./support/memory_broker.ts";
import { runbookScene } from "./support/runbook_scene.ts";

const code = (wanted: string) => (error: unknown) => (error as BrokerError).code === wanted;
const MANY = { partitions: "60" };
/** What Date.parse makes times of, and what is still to come. */
const NO_PAST = ["-1", "noon 5", "2026-01", "2100-01-01T00:00:00Z"];

async function scene() {
  const made = await runbookScene(allRunbooks);
  await made.broker.createTopic({ name: "orders", partitions: 1, config: TOPIC_CONFIG });
  await made.broker.group({
    type: "Join",
    group: "billing",
    newMemberId: "m1",
    topics: ["orders"],
    sessionTimeoutMs: 3_600_000,
    transport: "http",
    partitionCounts: { orders: 1 },
  });
  const refused = async (name: string, wanted: string, more: Partial<ExecutionRequest>) => {
    await assert.rejects(made.execute(name, more), code(wanted), JSON.stringify([name, more]));
    assert.deepEqual(await made.broker.runbooks.executions(), []);
  };
  return { ...made, refused };
}

Deno.test("no runbook grows, shortens or otherwise changes an internal topic", async () => {
  const { broker, refused, close } = await scene();
  const groups = { type: "partition", name: "__groups/0" } as const;
  const audit = { type: "topic", name: "__audit" } as const;
  await refused("hot-partition", "INTERNAL_TOPIC", { target: groups, parameters: MANY });
  await refused("hot-partition", "INTERNAL_TOPIC", { target: groups });
  await refused("storage-over-budget", "INTERNAL_TOPIC", { target: audit });
  await refused("dead-letter-flood", "INTERNAL_TOPIC", { target: audit });
  await refused("lag-growing", "INTERNAL_TOPIC", { parameters: { ...MANY, topic: "__groups" } });
  await refused("consumer-bug", "FORBIDDEN", { target: { type: "group", name: "__jobs" } });
  // An alert's is refused as well.
  const order = { mode: "auto" as const, alertId: "a1", reason: "an alert" };
  const target = { ...groups, labels: {} };
  await assert.rejects(
    broker.runbooks.start({ ...order, runbook: "hot-partition", target }),
    code("INTERNAL_TOPIC"),
  );
  await close();
});

Deno.test("an internal partition that does not serve may be started again", async () => {
  const { execute, settled, close } = await scene();
  const target = { type: "partition", name: "__groups/0" } as const;
  const { executionId } = await execute("partition-actor-down", { target });
  const { outcome } = await settled(executionId);
  assert.equal(outcome, "aborted: nothing to repair: __groups/0 serves");
  await close();
});

Deno.test("the broker itself refuses to change an internal topic, whoever asks, and its groups stay", async () => {
  const { broker, restart, close } = await scene();
  for (const name of ["__groups", "__audit", "__runbooks"]) {
    const before = broker.topic(name);
    if (before === null) continue;
    await assert.rejects(broker.updateTopic(name, { partitions: 60 }), code("INTERNAL_TOPIC"));
    const config = { retentionHours: 1 };
    await assert.rejects(broker.updateTopic(name, { config }), code("INTERNAL_TOPIC"));
    assert.deepEqual(broker.topic(name), before);
  }
  assert.ok(broker.topic("__groups") !== null);
  const after = await restart();
  assert.deepEqual((await after.groups()).map(({ groupId }) => groupId), ["billing"]);
  await close();
});

Deno.test("targets that are not there, and parameters that say nothing, are refused before anything begins", async () => {
  const { execute, refused, close } = await scene();
  const group = (name: string) => ({ target: { type: "group", name } as const });
  const partition = (name: string) => ({ target: { type: "partition", name } as const });
  await refused("consumer-bug", "UNKNOWN_GROUP", group("nosuch"));
  await refused("consumer-bug", "INVALID_REQUEST", group("bill\u001b[2Jing"));
  await refused("consumer-bug", "INVALID_REQUEST", group("bill\u009b2Jing"));
  await refused("hot-partition", "UNKNOWN_PARTITION", partition("orders/1"));
  await refused("hot-partition", "UNKNOWN_TOPIC", partition("nosuch/0"));
  await refused("hot-partition", "INVALID_REQUEST", partition("orders"));
  await refused("hot-partition", "INVALID_REQUEST", partition("orders/00"));
  await refused("storage-over-budget", "NOT_FOUND", { target: { type: "broker", name: "9" } });
  await refused("lag-growing", "UNKNOWN_TOPIC", { parameters: { topic: "nosuch" } });
  await refused("lag-growing", "INVALID_REQUEST", { parameters: { partitions: "0" } });
  for (const at of ["noon", ...NO_PAST]) {
    await refused("mistaken-commit", "INVALID_REQUEST", { parameters: { at } });
  }
  const tenant = { target: { type: "tenant", name: "acme" } as const };
  await refused("tenant-over-quota", "INVALID_REQUEST", {
    ...tenant,
    parameters: { factor: "1" },
  });
  for (
    const deployedAt of ["99999999999999999999", "nonsense", "8640000000000001", "", ...NO_PAST]
  ) {
    await refused("consumer-bug", "INVALID_REQUEST", { parameters: { deployedAt } });
  }
  const parameters = { deployedAt: "2026-01-01T00:00:00Z" };
  assert.equal((await execute("consumer-bug", { mode: "observe", parameters })).state, "running");
  const at = { at: "2026-01-01T00:00:00Z" };
  const byHand = await execute("mistaken-commit", { mode: "observe", parameters: at });
  assert.equal(byHand.state, "running");
  await close();
});
