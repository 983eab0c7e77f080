// Owns proof that the simulation is worth its name: sound seeds pass, equal seeds run alike, and known-bad brokers are caught.
// Refuses to search: `deno task sim` runs as many seeds as one likes.
import assert from "node:assert/strict";
import { MUTANTS } from "./sim/mutants/mutants.ts";
import { runSeed } from "./sim/run_seed.ts";

/** Seeds that between them meet every kind of fault, and take little time. */
const SOUND_SEEDS = [1, 7, 13, 25, 36, 46, 47, 49, 2058];
/** A mutant is caught by one of so many seeds from the first on. */
const MUTANT_SEEDS = 12;

for (const seed of SOUND_SEEDS) {
  Deno.test(`simulated broker keeps every rule under the faults of seed ${seed}`, async () => {
    const { violations, starts, events } = await runSeed(seed);
    assert.deepEqual(violations, []);
    assert.ok(starts > 1 && events > 100, "the run did not do much");
  });
}

Deno.test("a simulated run repeats event by event, and differs from that of another seed", async () => {
  const [first, again, other] = [await runSeed(7), await runSeed(7), await runSeed(25)];
  assert.equal(again.traceHash, first.traceHash);
  assert.equal(again.events, first.events);
  assert.notEqual(other.traceHash, first.traceHash);
});

for (const mutant of MUTANTS) {
  Deno.test(`simulation catches a broker of which ${mutant.name}: ${mutant.fault}`, async () => {
    const seen: string[] = [];
    for (let seed = 1; seed <= MUTANT_SEEDS; seed++) {
      const { violations } = await runSeed(seed, { mutant });
      if (violations.some((violation) => mutant.broken.test(violation))) return;
      seen.push(...violations);
    }
    assert.fail(`${mutant.name} broke no rule of ${mutant.broken}: ${seen.join("; ")}`);
  });
}
