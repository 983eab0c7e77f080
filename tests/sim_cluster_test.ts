// Owns proof that whole brokers are one cluster that loses, changes, doubles and reorders nothing, and copies exactly once,
// while machines, disks, clocks, the network and the metadata store fail; and that one which would not is caught.
// Refuses to search: `deno task sim` runs as many seeds as one likes.
import assert from "node:assert/strict";
import { BROKER_MUTANTS } from "./sim/cluster/broker_mutants.ts";
import { brokersScene } from "./sim/cluster/broker_scene.ts";
import { CLUSTER_FAULTS } from "./sim/cluster/plan.ts";
import { runClusterSeed } from "./sim/cluster/run_cluster.ts";

/** With those of sim_replicas_test.ts and sim_decisions_test.ts, 500 seeds. */
const SEEDS = 25;
/** A mutant is caught by one of so many seeds from the first on. */
const MUTANT_SEEDS = 20;

Deno.test(`${SEEDS} simulated clusters of whole brokers keep every rule, and converge`, async () => {
  const struck = new Set<string>();
  let starts = 0;
  for (let seed = 1; seed <= SEEDS; seed++) {
    const result = await runClusterSeed(seed, brokersScene);
    assert.deepEqual(result.violations, [], `seed ${seed}`);
    starts += result.starts;
    for (const kind of Object.keys(result.faults)) struck.add(kind);
  }
  assert.deepEqual(CLUSTER_FAULTS.filter((kind) => !struck.has(kind)), [], "some never strike");
  assert.ok(starts > 4 * SEEDS, `only ${starts} starts: the runs did not do much`);
});

Deno.test("a simulated cluster of whole brokers repeats event by event", async () => {
  const run = (seed: number) => runClusterSeed(seed, brokersScene);
  const [first, again, other] = [await run(9), await run(9), await run(10)];
  assert.equal(again.traceHash, first.traceHash);
  assert.equal(again.events, first.events);
  assert.notEqual(other.traceHash, first.traceHash);
});

for (const mutant of BROKER_MUTANTS) {
  Deno.test(`simulation catches a cluster of which ${mutant.name}: ${mutant.fault}`, async () => {
    const seen: string[] = [];
    const { firstSeed = 1 } = mutant;
    for (let seed = firstSeed; seed < firstSeed + MUTANT_SEEDS; seed++) {
      const { violations } = await runClusterSeed(seed, brokersScene, { mutant });
      if (violations.some((violation) => mutant.broken.test(violation))) return;
      seen.push(...violations);
    }
    assert.fail(`${mutant.name} broke no rule of ${mutant.broken}: ${seen.join("; ")}`);
  });
}
