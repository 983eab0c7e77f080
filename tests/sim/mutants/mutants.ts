// Owns the list of known-bad brokers. Each must be caught: a simulation that finds no planted bug is not evidence.
// Refuses to define any. Invariant: names are unique.
import { BROKER_MUTANTS } from "./broker_mutants.ts";
import { DISK_MUTANTS } from "./disk_mutants.ts";
import { LOG_MUTANTS } from "./log_mutants.ts";
import type { Mutant } from "./mutant.ts";
import { TRANSACTION_MUTANTS } from "./transaction_mutants.ts";

export const MUTANTS: readonly Mutant[] = [
  ...DISK_MUTANTS,
  ...LOG_MUTANTS,
  ...BROKER_MUTANTS,
  ...TRANSACTION_MUTANTS,
];

/** The mutant called `name`; throws a plain Error that lists all of them when there is none. */
export function mutantNamed(name: string): Mutant {
  const found = MUTANTS.find((mutant) => mutant.name === name);
  if (found !== undefined) return found;
  throw new Error(
    `no mutant ${name}; there are ${MUTANTS.map((mutant) => mutant.name).join(", ")}`,
  );
}
