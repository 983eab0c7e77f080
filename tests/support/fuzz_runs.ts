// Owns how often a fuzz test runs: a fixed number of times, or, for a campaign, for as long as it is told.
// Refuses to own any property. Invariant: each run has a fresh seed, which fast-check prints with what failed.
//
// WAYBILL_FUZZ_SECONDS=120  each fuzz test goes on for so long, instead of its number of runs
// WAYBILL_FUZZ_SEED=…       begins with this seed: that of a failure, to see it again
import type fc from "fast-check";

/** More than any campaign comes to. */
const MAX_CAMPAIGN_RUNS = 100_000_000;

/** Parameters of `fc.assert` for a test that runs `runs` times when nobody asks for more. */
export function fuzzRuns<T>(runs: number): fc.Parameters<T> {
  const seconds = numberIn("WAYBILL_FUZZ_SECONDS");
  const seed = numberIn("WAYBILL_FUZZ_SEED");
  return {
    ...(seed === null ? {} : { seed }),
    ...(seconds === null ? { numRuns: runs } : {
      numRuns: MAX_CAMPAIGN_RUNS,
      interruptAfterTimeLimit: seconds * 1_000,
      markInterruptAsFailure: false,
    }),
  };
}

function numberIn(name: string): number | null {
  const text = Deno.env.get(name);
  if (text === undefined || text === "") return null;
  const number = Number(text);
  if (!Number.isFinite(number)) throw new Error(`${name} must be a number, not ${text}`);
  return number;
}
