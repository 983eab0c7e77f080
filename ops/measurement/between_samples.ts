// Owns the difference of counters between two samples.
// Refuses to own what is counted. Invariant: a look tells what happened since the look before, once.
import { MAX_SAMPLED_TENANTS, type Quantiles } from "../../actors/measurement/types.ts";
import { OTHER_TENANTS } from "./edge_counters.ts";
import { type Counts, type LatencyHistogram, quantilesBetween } from "./latency_histogram.ts";

/** Counters by name that only grow. */
export class Growth {
  #before: Readonly<Record<string, number>> = {};

  /** By how much each has grown since the last call; one that is new counts from 0. */
  take<Name extends string>(now: Readonly<Record<Name, number>>): Record<Name, number> {
    const before = this.#before;
    this.#before = { ...now };
    const grown = {} as Record<Name, number>;
    for (const name of Object.keys(now) as Name[]) {
      grown[name] = now[name] - (Object.hasOwn(before, name) ? before[name]! : 0);
    }
    return grown;
  }
}

/** Counters in a map, whose names are not known beforehand: only those that have grown are told. */
export class NamedGrowth {
  #before = new Map<string, number>();

  take(now: ReadonlyMap<string, number>): [name: string, count: number][] {
    const grown: [string, number][] = [];
    for (const [name, count] of now) {
      const before = this.#before.get(name) ?? 0;
      if (count > before) grown.push([name, count - before]);
    }
    this.#before = new Map(now);
    return grown;
  }
}

/** Quantiles of what a histogram counted since the last look. */
export class HistogramGrowth {
  #before: Counts;

  constructor(private readonly histogram: LatencyHistogram) {
    this.#before = histogram.counts();
  }

  take(): Quantiles {
    const now = this.histogram.counts();
    const [p50, p95, p99] = quantilesBetween(this.#before, now, [0.5, 0.95, 0.99]);
    this.#before = now;
    return { p50: p50!, p95: p95!, p99: p99! };
  }
}

/** The largest by name; the rest under one name. */
export function largestTenants(
  counts: readonly (readonly [tenant: string, count: number])[],
): Record<string, number> {
  const sorted = [...counts].sort((a, b) => b[1] - a[1]);
  const told = Object.fromEntries(sorted.slice(0, MAX_SAMPLED_TENANTS));
  const rest = sorted.slice(MAX_SAMPLED_TENANTS).reduce((sum, [, count]) => sum + count, 0);
  if (rest > 0) told[OTHER_TENANTS] = (told[OTHER_TENANTS] ?? 0) + rest;
  return told;
}
