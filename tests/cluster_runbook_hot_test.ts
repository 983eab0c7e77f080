// Owns proof that a hot partition comes to be led by a broker that leads less, once and not to and fro.
// Refuses to own what is proposed on a broker that is alone (runbook_scaling_test.ts).
// Invariant: whole brokers in memory and virtual time; judged by the cluster's records.
import assert from "node:assert/strict";
import { handover } from "../ops/runbooks/leader_step.ts";
import { clusterRunbooks } from "./support/cluster_runbooks.ts";
import { TOPIC_CONFIG } from "./support/memory_broker.ts";
import { plain } from "./support/partition_scene.ts";

const CONFIG = { ...TOPIC_CONFIG, replicationFactor: 3, minInsyncReplicas: 2 };
const AT = { topic: "orders", partition: 0 };
const TARGET = { target: { type: "partition", name: "orders/0" } } as const;

Deno.test("hot partition: in a cluster the broker that leads the fewest comes to lead it, and it stays there", async () => {
  const made = await clusterRunbooks(["1", "2", "3"]);
  const { broker, administration } = made.node("1");
  await made.until(broker.createTopic({ name: "orders", partitions: 6, config: CONFIG }));
  await made.until(broker.append(AT, [plain("a")], { acks: "all" }));
  const all = async () =>
    (await made.until(administration.placements())).filter(({ topic }) => topic === "orders");
  const { leader } = (await all())[0]!;
  const others = ["1", "2", "3"].filter((id) => id !== leader);
  // Everything of the topic is led by one broker.
  const moves = (await all()).map(({ topic, partition }) => ({
    topic,
    partition,
    replicas: [leader!, ...others],
  }));
  await made.until(administration.reassign(moves, { dryRun: false }));
  await made.time.advance(20_000);
  assert.ok((await all()).every((one) => one.leader === leader));
  const watched = await made.execute("hot-partition", { ...TARGET, mode: "observe" });
  const looked = await made.settled(watched.executionId);
  assert.match(looked.steps[2]!.detail!, /^would let broker \d lead orders\/0$/);
  assert.equal((await all())[0]!.leader, leader);
  const { executionId } = await made.execute("hot-partition", TARGET);
  const execution = await made.settled(executionId);
  assert.match(execution.outcome!, /^partial: manual intervention required: /);
  assert.match(execution.steps[2]!.detail!, /^broker \d leads orders\/0$/);
  const now = (await all())[0]!;
  assert.notEqual(now.leader, leader);
  assert.equal(now.isr.length, 3);
  await made.until(broker.append(AT, [plain("b")], { acks: "all" }));
});

Deno.test("hot partition: in a cluster what its leaders say is measured once there are more partitions", async () => {
  const made = await clusterRunbooks(["1", "2", "3"]);
  const { broker } = made.node("1");
  await made.until(broker.createTopic({ name: "orders", partitions: 1, config: CONFIG }));
  const publish = (partition: number) =>
    made.until(broker.append({ topic: "orders", partition }, [plain("a", "b")], { acks: "all" }));
  await publish(0);
  const parameters = { partitions: "3" };
  const { executionId } = await made.execute("hot-partition", { ...TARGET, parameters });
  for (let second = 0; second < 25; second++) {
    await made.time.advance(1_000);
    await publish(0);
  }
  const hot = await made.execution(executionId);
  assert.deepEqual([hot.state, hot.steps[3]!.state], ["running", "running"]);
  assert.equal(hot.steps[3]!.detail, "orders/0 gets 100% of its topic's bytes");
  for (let second = 0; second < 40; second++) {
    await made.time.advance(1_000);
    for (const partition of [0, 1, 2]) await publish(partition);
  }
  const execution = await made.settled(executionId);
  assert.equal(execution.outcome, "verified", JSON.stringify(execution.steps));
});

Deno.test("leadership moves only where the other leads at least two fewer, is in sync, and nothing moves yet", () => {
  const brokers = (first: number, second: number) => [
    { nodeId: "1", state: "online", leaders: first } as const,
    { nodeId: "2", state: "online", leaders: second } as const,
  ];
  const place = { leader: "1", replicas: ["1", "2"], isr: ["1", "2"], target: null };
  assert.deepEqual(handover(place, brokers(5, 3)), { moveTo: "2", replicasBefore: ["1", "2"] });
  assert.equal(handover(place, brokers(4, 3)), null);
  assert.equal(handover({ ...place, leader: "2" }, brokers(4, 4)), null);
  assert.equal(handover({ ...place, isr: ["1"] }, brokers(5, 1)), null);
  assert.equal(handover({ ...place, target: ["2", "1"] }, brokers(5, 1)), null);
});
