// Owns proof that brokers which elect leaders over a metadata store that fails keep the rules of records, and that those
// which do not are caught.
// Refuses to search: `deno task sim --scene decisions` runs as many seeds as one likes.
import assert from "node:assert/strict";
import { DECISION_MUTANTS } from "./sim/cluster/decision_mutants.ts";
import { decisionScene } from "./sim/cluster/decision_scene.ts";
import { runClusterSeed } from "./sim/cluster/run_cluster.ts";

const SEEDS = 415;
/** A mutant is caught by one of so many seeds from the first on. */
const MUTANT_SEEDS = 100;

Deno.test(`${SEEDS} simulated clusters elect leaders by the rules while brokers and the metadata store fail`, async () => {
  let starts = 0;
  for (let seed = 1; seed <= SEEDS; seed++) {
    const result = await runClusterSeed(seed, decisionScene);
    assert.deepEqual(result.violations, [], `seed ${seed}`);
    starts += result.starts;
  }
  assert.ok(starts > 4 * SEEDS, `only ${starts} starts: the runs did not do much`);
});

Deno.test("a simulated cluster repeats event by event, and differs from that of another seed", async () => {
  const run = (seed: number) => runClusterSeed(seed, decisionScene);
  const [first, again, other] = [await run(7), await run(7), await run(8)];
  assert.equal(again.traceHash, first.traceHash);
  assert.equal(again.events, first.events);
  assert.notEqual(other.traceHash, first.traceHash);
});

for (const mutant of DECISION_MUTANTS) {
  Deno.test(`simulation catches a cluster of which ${mutant.name}: ${mutant.fault}`, async () => {
    const seen: string[] = [];
    const { firstSeed = 1 } = mutant;
    for (let seed = firstSeed; seed < firstSeed + MUTANT_SEEDS; seed++) {
      const { violations } = await runClusterSeed(seed, decisionScene, { mutant });
      if (violations.some((violation) => mutant.broken.test(violation))) return;
      seen.push(...violations);
    }
    assert.fail(`${mutant.name} broke no rule of ${mutant.broken}: ${seen.join("; ")}`);
  });
}
