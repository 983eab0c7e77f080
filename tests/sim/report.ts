// Owns how results of simulated runs are written for people.
// Refuses to run anything. Invariant: no colour and no cursor movement but in the progress line, which is for terminals.
import type { SeedResult } from "./run_seed.ts";

export interface Totals {
  seeds: number;
  events: number;
  virtualMs: number;
  starts: number;
  violated: number;
  realMs: number;
}

/** One line that replaces itself. */
export function progressLine(totals: Totals, seed: number): string {
  const { seeds, realMs } = totals;
  const perSecond = (seeds / Math.max(1, realMs)) * 1_000;
  return `\r\x1b[Kseed ${seed}: ${seeds} done, ${perSecond.toFixed(1)} a second`;
}

/** What broke, what led to it, and how to see it again. */
export function report(result: SeedResult): string {
  const { seed, mutant, violations, tail, virtualMs, starts } = result;
  const again = mutant === null ? "" : ` --mutant ${mutant}`;
  return [
    "",
    `seed ${seed} broke a rule after ${
      (virtualMs / 1_000).toFixed(1)
    } s of virtual time and ${starts} starts:`,
    ...violations.map((violation) => `  ${violation}`),
    "",
    `the last ${tail.length} events (virtual ms, who, what):`,
    ...tail.map((line) => `  ${line}`),
    "",
    `again: deno task sim --seed ${seed}${again} --events 1000`,
    "",
  ].join("\n");
}

export function summary(totals: Totals, first: number): string {
  const { seeds, events, virtualMs, starts, violated, realMs } = totals;
  const verdict = violated === 0 ? "no rule broken" : "A RULE WAS BROKEN";
  const hours = (virtualMs / 3_600_000).toFixed(2);
  return `\n${seeds} seeds from ${first}: ${verdict}; ${hours} h of virtual time, ${starts} starts, ` +
    `${events} events in ${(realMs / 1_000).toFixed(1)} s\n`;
}
