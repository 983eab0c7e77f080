// Owns proof that the runbook for metadata that was away sees whether decisions go on.
// Refuses to own the stores (etcd_*_test.ts). Invariant: whole brokers in memory and virtual time.
import assert from "node:assert/strict";
import { clusterPorts } from "../ops/runbooks/cluster_ports.ts";
import { metadataFailover } from "../ops/runbooks/metadata_failover.ts";
import type { RunbookPorts } from "../ops/runbooks/definition.ts";
import type { StepContext } from "../actors/runbook/types.ts";
import { clusterRunbooks } from "./support/cluster_runbooks.ts";

const TARGET = { target: { type: "none", name: "" } } as const;

Deno.test("metadata failover: after the store was away decisions go on, and nothing is left behind", async () => {
  const made = await clusterRunbooks(["1", "2", "3"]);
  for (const nodeId of ["1", "2", "3"]) made.reachesMetadata(nodeId, false);
  await made.time.advance(10_000);
  for (const nodeId of ["1", "2", "3"]) made.reachesMetadata(nodeId, true);
  await made.time.advance(15_000);
  const { executionId } = await made.execute("metadata-failover", TARGET);
  const execution = await made.settled(executionId);
  assert.equal(execution.outcome, "verified", JSON.stringify(execution.steps));
  assert.match(execution.steps[1]!.detail!, /^3 decisions were made/);
  assert.match(execution.steps[3]!.detail!, /^nothing is left to do here/);
  assert.deepEqual(await made.store.list(["probes"]), []);
});

Deno.test("metadata failover: a broker that is away is named with what to do", async () => {
  const made = await clusterRunbooks(["1", "2", "3"]);
  made.kill("2");
  await made.time.advance(15_000);
  const { executionId } = await made.execute("metadata-failover", TARGET);
  const execution = await made.settled(executionId);
  assert.equal(execution.outcome, "verified", JSON.stringify(execution.steps));
  assert.equal(execution.steps[3]!.detail, "broker-failure for broker 2");
});

Deno.test("metadata failover: a store that lets a late decision through, or does not answer, is found", async () => {
  const made = await clusterRunbooks(["1"]);
  const decide = (metadata: Parameters<typeof clusterPorts>[1]) => {
    const ports = {
      clock: made.time,
      cluster: clusterPorts(made.node("1"), metadata),
    } as unknown as RunbookPorts;
    return metadataFailover(ports).work.decide!.run({ executionId: "e" } as StepContext);
  };
  const { store } = made;
  const careless = {
    get: store.get.bind(store),
    commit: ({ sets = [], deletes = [] }: Parameters<typeof store.commit>[0]) =>
      store.commit({ checks: [], sets, deletes }),
  };
  assert.equal((await decide(careless)).outcome, "manual");
  assert.equal((await decide(store)).outcome, "done");
  made.reachesMetadata("1", false);
  const silent = { ...careless, get: () => Promise.reject(new Error("away")) };
  await assert.rejects(decide(silent), /away/);
});
