// Owns proof that the runbook for a broker that is gone does in a cluster what it says.
// Refuses to own election and replication (cluster_election_test.ts, cluster_node_test.ts) and how executions go.
// Invariant: whole brokers in memory and virtual time; each is judged by the cluster's records and logs, not by its word.
import assert from "node:assert/strict";
import { lostOf } from "../ops/runbooks/broker_failure.ts";
import { replacement } from "../ops/runbooks/replacement.ts";
import { type ClusterRunbooks, clusterRunbooks } from "./support/cluster_runbooks.ts";
import { TOPIC_CONFIG } from "./support/memory_broker.ts";
import { plain } from "./support/partition_scene.ts";

const PARTITIONS = 3;

async function scene(names: readonly string[], replicationFactor = 3) {
  const made = await clusterRunbooks(names);
  const config = {
    ...TOPIC_CONFIG,
    replicationFactor,
    minInsyncReplicas: Math.min(2, replicationFactor),
  };
  const { broker } = made.node(names[0]!);
  await made.until(broker.createTopic({ name: "orders", partitions: PARTITIONS, config }));
  for (let partition = 0; partition < PARTITIONS; partition++) {
    for (const text of ["a", "b"]) await publish(made, partition, text);
  }
  return made;
}

function publish({ until, nodes }: ClusterRunbooks, partition: number, text: string) {
  const [node] = nodes.values();
  const at = { topic: "orders", partition };
  return until(node!.broker.append(at, [plain(text)], { acks: "all" }));
}

const target = (name: string) => ({ target: { type: "broker", name } as const });

async function placements({ nodes, until }: ClusterRunbooks) {
  const [node] = nodes.values();
  const all = await until(node!.administration.placements());
  return all.filter(({ topic }) => topic === "orders");
}

Deno.test("broker failure: leaders are seen elected and written to, and it is whole when the broker is back", async () => {
  const made = await scene(["1", "2", "3"]);
  const leader = (await placements(made))[0]!.leader!;
  made.kill(leader);
  await made.time.advance(1_000);
  await made.time.advance(4_000);
  const { executionId } = await made.execute("broker-failure", target(leader));
  await made.time.advance(30_000);
  const served = await made.execution(executionId);
  assert.equal(served.state, "running", JSON.stringify(served));
  assert.deepEqual(served.rpo, { ms: 0, messages: 0 });
  assert.ok(served.rtoMs !== null && served.rtoMs <= 30_000, `${served.rtoMs}`);
  const steps = Object.fromEntries(served.steps.map(({ name, ...step }) => [name, step]));
  assert.equal(steps["see-writes"]!.state, "done");
  assert.match(steps["returns"]!.detail!, /counts as gone after 10 min/);
  for (const { leader: now } of await placements(made)) assert.notEqual(now, leader);
  await made.start(leader);
  const { outcome, rtoMs } = await made.settled(executionId);
  assert.equal(outcome, "verified");
  assert.equal(
    rtoMs,
    served.rtoMs,
    "it counts until users were served, not until the broker was back",
  );
  for (const { isr } of await placements(made)) assert.equal(isr.length, 3);
});

Deno.test("broker failure: of a broker that is there, or never was, nothing is done", async () => {
  const made = await scene(["1", "2", "3"]);
  const before = await placements(made);
  const { executionId } = await made.execute("broker-failure", target("2"));
  const { state, outcome } = await made.settled(executionId);
  assert.deepEqual([state, outcome], ["aborted", "aborted: nothing to repair: broker 2 is online"]);
  assert.deepEqual(await placements(made), before);
  await assert.rejects(made.execute("broker-failure", target("9")), { code: "NOT_FOUND" });
  await assert.rejects(
    made.execute("broker-failure", { ...target("2"), parameters: { awayMinutes: "1h" } }),
    { code: "INVALID_REQUEST" },
  );
});

Deno.test("broker failure: what a broker that stays away held moves to others, with all that was acknowledged", async () => {
  const made = await scene(["1", "2", "3", "4"]);
  const held = (await placements(made)).filter(({ replicas }) => replicas.includes("2"));
  assert.ok(held.length > 0);
  made.kill("2");
  await made.time.advance(10_000);
  const parameters = { awayMinutes: "1" };
  const { executionId } = await made.execute("broker-failure", { ...target("2"), parameters });
  await made.time.advance(45_000);
  assert.deepEqual(
    (await placements(made)).filter(({ replicas }) => replicas.includes("2")).length,
    held.length,
    "nothing moves before the broker counts as gone",
  );
  const execution = await made.settled(executionId);
  assert.equal(execution.outcome, "verified", JSON.stringify(execution.steps));
  for (const { partition, replicas, isr } of await placements(made)) {
    assert.ok(!replicas.includes("2"));
    assert.deepEqual([replicas.length, isr.length], [3, 3]);
    const [node] = made.nodes.values();
    const info = await made.until(node!.broker.partitionInfo({ topic: "orders", partition }));
    assert.ok(info.highWatermark >= 2);
  }
});

Deno.test("broker failure: without another broker to take its replicas somebody is told what to do", async () => {
  const made = await scene(["1", "2", "3"]);
  made.kill("2");
  await made.time.advance(10_000);
  const parameters = { awayMinutes: "0" };
  const { executionId } = await made.execute("broker-failure", { ...target("2"), parameters });
  const { state, outcome, rtoMs } = await made.settled(executionId);
  assert.equal(state, "partial");
  assert.match(outcome!, /2 still counts as a replica of .*: every other broker .* Start it again/);
  assert.notEqual(rtoMs, null, "users are served all the same");
});

Deno.test("broker failure: a partition that only the broker had stays offline, and is named", async () => {
  const made = await scene(["1", "2", "3"], 1);
  const alone = (await placements(made)).find(({ leader }) => leader === "2")!;
  made.kill("2");
  await made.time.advance(10_000);
  const { executionId } = await made.execute("broker-failure", target("2"));
  const { state, outcome, rtoMs } = await made.settled(executionId);
  assert.deepEqual([state, rtoMs], ["partial", null]);
  assert.match(
    outcome!,
    new RegExp(`nobody else has all of orders/${alone.partition}.*start 2 again`),
  );
});

Deno.test("a replica goes to another zone first, then to the broker that holds the fewest", () => {
  const broker = (nodeId: string, zone: string, replicas: number) =>
    ({ nodeId, zone, state: "online", replicas }) as const;
  const brokers = [
    broker("1", "a", 9),
    { ...broker("2", "b", 9), state: "offline" as const },
    broker("3", "a", 1),
    broker("4", "b", 7),
    broker("5", "b", 6),
  ];
  const place = (partition: number, replicas: string[]) => ({
    topic: "t",
    partition,
    replicas,
    target: null,
  });
  const { moves, stuck } = replacement(
    "2",
    [place(0, ["2", "1"]), place(1, ["1", "2"]), place(2, ["1", "3"]), place(3, ["2", "9"])],
    brokers,
  );
  assert.deepEqual(moves.map(({ replicas }) => replicas), [["5", "1"], ["1", "4"]]);
  assert.deepEqual(stuck.map(({ name }) => name), ["t/3"]);
});

Deno.test("lost is what could be read and lies beyond the end of the log", () => {
  assert.deepEqual([lostOf(5, 5), lostOf(5, 9), lostOf(5, 3)], [0, 0, 2]);
});
