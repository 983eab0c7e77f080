// Owns handing figures that are kept elsewhere to a registry of Prometheus metrics.
// Refuses to own the figures, and their text form (prom-client).
// Invariant: a series is read when it is scraped; a metric's name and labels are fixed.
import type { Gauge, Registry } from "prom-client";
import type { LatencyHistogram } from "../measurement/latency_histogram.ts";

export type Labels = Readonly<Record<string, string>>;
/** One value, of one set of labels; none for a metric without labels. */
export type Point = readonly [value: number, labels?: Labels];

export interface SeriesDefinition {
  /** With the prefix `waybill_`, unless it has one of its own; counters end in `_total`. */
  readonly name: string;
  readonly help: string;
  /** Null: not known now. */
  readonly points: () => readonly Point[] | number | null;
}

/** Longest duration with a bucket of its own. */
const LAST_BUCKET_MS = 16_384;

/** Registers a gauge, or a counter by its name. */
export function addSeries(registry: Registry, { name, help, points }: SeriesDefinition): void {
  const type = name.endsWith("_total") ? "counter" : "gauge";
  addMetric(registry, {
    name,
    help,
    type,
    values: () => {
      const now = points();
      if (now === null) return [];
      const all: readonly Point[] = typeof now === "number" ? [[now]] : now;
      return all.map(([value, labels = {}]) => ({ value, labels }));
    },
  });
}

/** Registers a histogram in seconds. */
export function addHistogram(
  registry: Registry,
  { name, help }: { name: string; help: string },
  histogram: LatencyHistogram,
): void {
  addMetric(registry, {
    name,
    help,
    type: "histogram",
    values: () => {
      const metricName = `${name}_bucket`;
      const buckets = histogram.cumulative(LAST_BUCKET_MS).map(({ upToMs, count }) => (
        { metricName, value: count, labels: { le: String(upToMs / 1_000) } }
      ));
      return [
        ...buckets,
        { metricName, value: histogram.count, labels: { le: "+Inf" } },
        { metricName: `${name}_sum`, value: histogram.sumMs / 1_000, labels: {} },
        { metricName: `${name}_count`, value: histogram.count, labels: {} },
      ];
    },
  });
}

interface Value {
  readonly metricName?: string;
  readonly value: number;
  readonly labels: Labels;
}

function addMetric(
  registry: Registry,
  { values, ...about }: {
    name: string;
    help: string;
    type: "counter" | "gauge" | "histogram";
    values: () => readonly Value[];
  },
): void {
  const metric = { ...about, get: () => Promise.resolve({ ...about, values: values() }) };
  // A registry asks its metrics for no more than this.
  registry.registerMetric(metric as unknown as Gauge);
}
