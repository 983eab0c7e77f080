// Owns how results of simulated runs are written for people.
// Refuses to run anything. Invariant: no colour and no cursor movement but in the progress line, which is for terminals.

/** What came of one seed, of whichever scene. */
export interface SceneResult {
  readonly seed: number;
  readonly scene: string;
  readonly mutant: string | null;
  readonly violations: readonly string[];
  readonly traceHash: string;
  readonly events: number;
  readonly tail: readonly string[];
  readonly virtualMs: number;
  readonly starts: number;
  /** Faults injected, by kind; left out by a scene that does not count them. */
  readonly faults?: Readonly<Record<string, number>>;
}

export interface Totals {
  seeds: number;
  events: number;
  virtualMs: number;
  starts: number;
  violated: number;
  realMs: number;
  readonly faults: Map<string, number>;
}

export function newTotals(): Totals {
  return {
    seeds: 0,
    events: 0,
    virtualMs: 0,
    starts: 0,
    violated: 0,
    realMs: 0,
    faults: new Map(),
  };
}

export function addResult(totals: Totals, result: SceneResult): void {
  totals.seeds++;
  totals.events += result.events;
  totals.virtualMs += result.virtualMs;
  totals.starts += result.starts;
  if (result.violations.length > 0) totals.violated++;
  for (const [kind, count] of Object.entries(result.faults ?? {})) {
    totals.faults.set(kind, (totals.faults.get(kind) ?? 0) + count);
  }
}

/** One line that replaces itself. */
export function progressLine(totals: Totals, seed: number): string {
  const { seeds, realMs } = totals;
  const perSecond = (seeds / Math.max(1, realMs)) * 1_000;
  return `\r\x1b[Kseed ${seed}: ${seeds} done, ${perSecond.toFixed(1)} a second`;
}

/** What broke, what led to it, and how to see it again. */
export function report(result: SceneResult): string {
  const { seed, scene, mutant, violations, tail, virtualMs, starts } = result;
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
    `again: deno task sim --scene ${scene} --seed ${seed}${again} --events 1000`,
    "",
  ].join("\n");
}

export function summary(totals: Totals, first: number): string {
  const { seeds, events, virtualMs, starts, violated, realMs } = totals;
  const verdict = violated === 0 ? "no rule broken" : "A RULE WAS BROKEN";
  const hours = (virtualMs / 3_600_000).toFixed(2);
  const perHour = Math.round(seeds / (Math.max(1, realMs) / 3_600_000));
  const kinds = [...totals.faults].sort(([a], [b]) => a < b ? -1 : 1)
    .map(([kind, count]) => `${kind} ${count}`);
  return `\n${seeds} seeds from ${first}: ${verdict}; ${hours} h of virtual time, ${starts} starts, ` +
    `${events} events in ${(realMs / 1_000).toFixed(1)} s: ${perHour} seeds an hour\n` +
    (kinds.length === 0 ? "" : `faults injected: ${kinds.join(", ")}\n`);
}
