// The audit log over whole brokers: intents and outcomes are one story, whoever leads the log by then.
import assert from "node:assert/strict";
import type { AuditFacts } from "../actors/audit/types.ts";
import { type ClusterScene, clusterScene } from "./support/cluster_scene.ts";

const FACTS: AuditFacts = {
  actor: "ann",
  tenant: null,
  remoteAddress: "10.0.0.1",
  action: "topic.create",
  resource: { type: "topic", name: "orders" },
  before: null,
  after: null,
  reason: null,
  requestId: "r1",
};

function auditLeader(scene: ClusterScene, at: string): string {
  const { cluster, broker } = scene.node(at);
  return cluster.partition(broker.topic("__audit")!.topicId, 0)!.record.leader!;
}

async function outcomes(scene: ClusterScene, at: string): Promise<unknown[]> {
  const query = { order: "oldest", at: null, limit: 100 } as const;
  const { entries } = await scene.until(scene.node(at).broker.audit.query(query));
  return entries.map(({ outcome, intent }) => [outcome, intent]);
}

Deno.test("an outcome is written although the log has moved since its intent", async () => {
  const scene = await clusterScene();
  const leader = auditLeader(scene, "1");
  const [here, there] = ["1", "2", "3"].filter((id) => id !== leader) as [string, string];
  const { audit } = scene.node(here).broker;
  const intent = await scene.until(audit.intend(FACTS));
  scene.kill(leader);
  await scene.until(scene.node(there).broker.audit.record({ ...FACTS, action: "other" }));
  const head = await scene.until(audit.conclude(intent, { outcome: "success" }));
  assert.deepEqual(await outcomes(scene, there), [
    ["intended", null],
    ["success", null],
    ["success", intent],
  ]);
  assert.deepEqual(await scene.until(Promise.resolve(scene.node(there).broker.audit.head())), head);
  assert.equal((await scene.until(audit.verify(head))).intact, true);
});

Deno.test("an outcome that cannot be said while nobody leads the log is said later", async () => {
  const scene = await clusterScene();
  const leader = auditLeader(scene, "1");
  const here = ["1", "2", "3"].find((id) => id !== leader)!;
  const { audit } = scene.node(here).broker;
  const intent = await scene.until(audit.intend(FACTS));
  for (const id of ["1", "2", "3"]) if (id !== here) scene.network.cut(here, id);
  const said = audit.conclude(intent, { outcome: "success" });
  await assert.rejects(scene.until(said), { retryable: true });
  scene.network.heal();
  await scene.time.advance(15_000);
  assert.deepEqual(await outcomes(scene, here), [["intended", null], ["success", intent]]);
});

Deno.test("an intent whose broker has died stays open for a while, and is told as unknown then", async () => {
  const scene = await clusterScene();
  const leader = auditLeader(scene, "1");
  const [here, there] = ["1", "2", "3"].filter((id) => id !== leader) as [string, string];
  const intent = await scene.until(scene.node(leader).broker.audit.intend(FACTS));
  scene.kill(leader);
  const { audit } = scene.node(here).broker;
  await scene.until(audit.record({ ...FACTS, action: "other" }));
  assert.deepEqual(await outcomes(scene, there), [["intended", null], ["success", null]]);
  await scene.time.advance(121_000);
  await scene.until(audit.record({ ...FACTS, action: "another" }));
  assert.deepEqual((await outcomes(scene, there)).slice(2), [["unknown", intent], [
    "success",
    null,
  ]]);
});
