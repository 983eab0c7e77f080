// Owns proof that brokers which keep copies of partitions lose, change and double nothing that was acknowledged while
// machines, disks, the network and the metadata store fail; and that those which would are caught.
// Refuses to search: `deno task sim --scene replicas` runs as many seeds as one likes.
import assert from "node:assert/strict";
import { REPLICA_MUTANTS } from "./sim/cluster/replica_mutants.ts";
import { replicaScene } from "./sim/cluster/replica_scene.ts";
import { runClusterSeed } from "./sim/cluster/run_cluster.ts";

const SEEDS = 60;
/** A mutant is caught by one of so many seeds from the first on. */
const MUTANT_SEEDS = 60;
/** Seeds of a mutant's plan that a sound cluster passes. */
const CONTROL_SEEDS = 3;

Deno.test(`${SEEDS} simulated clusters keep every rule of replicas`, async () => {
  let starts = 0;
  for (let seed = 1; seed <= SEEDS; seed++) {
    const result = await runClusterSeed(seed, replicaScene);
    assert.deepEqual(result.violations, [], `seed ${seed}`);
    starts += result.starts;
  }
  assert.ok(starts > 4 * SEEDS, `only ${starts} starts: the runs did not do much`);
});

Deno.test("a simulated cluster with replicas repeats event by event", async () => {
  const run = (seed: number) => runClusterSeed(seed, replicaScene);
  const [first, again, other] = [await run(3), await run(3), await run(4)];
  assert.equal(again.traceHash, first.traceHash);
  assert.equal(again.events, first.events);
  assert.notEqual(other.traceHash, first.traceHash);
});

for (const mutant of REPLICA_MUTANTS) {
  Deno.test(`simulation catches replicas of which ${mutant.name}: ${mutant.fault}`, async () => {
    const { ports: _, view: __, ...sound } = mutant;
    for (let seed = 1; seed <= CONTROL_SEEDS; seed++) {
      const { violations } = await runClusterSeed(seed, replicaScene, { mutant: sound });
      assert.deepEqual(violations, [], `seed ${seed} without the fault`);
    }
    const seen: string[] = [];
    const { firstSeed = 1 } = mutant;
    for (let seed = firstSeed; seed < firstSeed + MUTANT_SEEDS; seed++) {
      const { violations } = await runClusterSeed(seed, replicaScene, { mutant });
      if (violations.some((violation) => mutant.broken.test(violation))) return;
      seen.push(...violations);
    }
    assert.fail(`${mutant.name} broke no rule of ${mutant.broken}: ${seen.join("; ")}`);
  });
}
