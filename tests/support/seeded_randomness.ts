// Owns chance that a seed reproduces.
// Refuses to be unpredictable: never for secrets, never outside tests and simulation.
// Invariant: the same seed gives the same draws in the same order, on every machine.
import type { Randomness } from "../../storage/ports.ts";

export interface SeededRandomness extends Randomness {
  readonly seed: number;
  /** Uniform in [0, below), `below` from 1 to 2^53. */
  integer(below: number): number;
  /** One of `choices`, which must not be empty. */
  pick<T>(choices: readonly T[]): T;
}

const WORD = 2 ** 32;

/** Chance from `seed` (its low 32 bits): a Weyl sequence whose terms are scrambled by two multiply-xorshift rounds. */
export function seededRandomness(seed: number): SeededRandomness {
  let state = seed >>> 0;
  const word = (): number => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    return (mixed ^ (mixed >>> 16)) >>> 0;
  };
  const fraction = () => ((word() >>> 5) * 2 ** 26 + (word() >>> 6)) / 2 ** 53;
  const integer = (below: number) => {
    if (!Number.isSafeInteger(below) || below < 1) throw new Error(`no integer below ${below}`);
    return below <= WORD ? Math.floor((word() / WORD) * below) : Math.floor(fraction() * below);
  };
  const hex = (digits: number) => integer(16 ** digits).toString(16).padStart(digits, "0");
  return {
    seed: seed >>> 0,
    fraction,
    integer,
    pick: <T>(choices: readonly T[]): T => choices[integer(choices.length)]!,
    uuid: () =>
      [hex(8), hex(4), "4" + hex(3), "89ab"[integer(4)] + hex(3), hex(4) + hex(8)].join("-"),
  };
}
