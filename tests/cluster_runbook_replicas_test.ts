// Owns proof that the runbook for partitions that lack replicas in sync does in a cluster what it says.
// Refuses to own catching up (replication) and the runbook for a broker that is gone (cluster_runbook_failure_test.ts).
// Invariant: whole brokers in memory and virtual time; each is judged by the cluster's records.
import assert from "node:assert/strict";
import { type ClusterRunbooks, clusterRunbooks } from "./support/cluster_runbooks.ts";
import { TOPIC_CONFIG } from "./support/memory_broker.ts";
import { plain } from "./support/partition_scene.ts";

const CONFIG = { ...TOPIC_CONFIG, replicationFactor: 3, minInsyncReplicas: 2 };
const TARGET = { target: { type: "topic", name: "orders" } } as const;

async function scene(names: readonly string[]) {
  const made = await clusterRunbooks(names);
  const { broker } = made.node("1");
  await made.until(broker.createTopic({ name: "orders", partitions: 2, config: CONFIG }));
  for (const partition of [0, 1]) {
    const at = { topic: "orders", partition };
    await made.until(broker.append(at, [plain("a", "b", "c")], { acks: "all" }));
  }
  return made;
}

async function orders({ nodes, until }: ClusterRunbooks) {
  const [node] = nodes.values();
  const all = await until(node!.administration.placements());
  return all.filter(({ topic }) => topic === "orders");
}

Deno.test("under-replicated: after a disk was wiped it waits until its broker has everything again", async () => {
  const made = await scene(["1", "2", "3"]);
  made.kill("2");
  made.wipe("2");
  await made.time.advance(10_000);
  const { executionId } = await made.execute("under-replicated", TARGET);
  await made.time.advance(20_000);
  const waiting = await made.execution(executionId);
  assert.equal(waiting.state, "running");
  assert.match(waiting.steps[0]!.detail!, /2 partitions: orders\/0, orders\/1; missing: broker 2/);
  assert.equal(waiting.steps[1]!.state, "running");
  await made.start("2");
  const execution = await made.settled(executionId);
  assert.equal(execution.outcome, "verified", JSON.stringify(execution.steps));
  for (const { isr, replicas } of await orders(made)) {
    assert.deepEqual([isr.length, replicas.includes("2")], [3, true]);
  }
  const { topicId } = (await orders(made))[0]!;
  const { log } = made.node("2").replicas.find({ topicId, partition: 0 })!;
  assert.equal(log.state!.logEndOffset, 3, "the new disk holds all that was acknowledged");
});

Deno.test("under-replicated: what a broker held that stays away is copied to another", async () => {
  const made = await scene(["1", "2", "3", "4"]);
  const of2 = (await orders(made)).filter(({ replicas }) => replicas.includes("2"));
  assert.ok(of2.length > 0);
  made.kill("2");
  await made.time.advance(10_000);
  const parameters = { awayMinutes: "1" };
  const { executionId } = await made.execute("under-replicated", { ...TARGET, parameters });
  const execution = await made.settled(executionId);
  assert.equal(execution.outcome, "verified", JSON.stringify(execution.steps));
  assert.deepEqual(execution.facts.gone, ["2"]);
  for (const { isr, replicas } of await orders(made)) {
    assert.deepEqual([isr.length, replicas.includes("2")], [3, false]);
  }
});

Deno.test("under-replicated: where everything is in sync nothing is done, and only looking moves nothing", async () => {
  const made = await scene(["1", "2", "3", "4"]);
  const whole = await made.execute("under-replicated", TARGET);
  assert.match(
    (await made.settled(whole.executionId)).outcome!,
    /^aborted: nothing to repair: every partition/,
  );
  made.kill("2");
  await made.time.advance(15_000);
  const before = (await orders(made)).map(({ replicas }) => replicas);
  const parameters = { awayMinutes: "0" };
  const { executionId } = await made.execute("under-replicated", {
    ...TARGET,
    parameters,
    mode: "observe",
  });
  const { state } = await made.settled(executionId);
  assert.equal(state, "partial");
  assert.deepEqual((await orders(made)).map(({ replicas }) => replicas), before);
});
