// Owns `GET /metrics`: the figures in Prometheus' text form.
// Refuses to own what is measured (figures.ts).
// Invariant: one scrape shows one read-out; a scrape costs the same however much is stored.
import { Counter, Gauge, Registry } from "prom-client";
import type { RouteModule } from "../../api/route.ts";
import { type DoorCounts, NOTHING_COUNTED } from "../door/counts.ts";
import { FIGURES, readOut } from "./figures.ts";
import { addMeasured, type Measured } from "./measured_series.ts";
import { scrapedRoute } from "./scraped.ts";
import { addSeries, type SeriesDefinition } from "./series.ts";

/**
 * The route of the metrics; `measured`: with what is measured; `more`: what others tell. Each application has a registry of
 * its own: figures belong to one broker.
 */
export function metricsRoutes(
  version: string,
  door: () => DoorCounts = () => NOTHING_COUNTED,
  measured: Measured | null = null,
  { more = [] }: { readonly more?: readonly SeriesDefinition[] } = {},
): RouteModule {
  return ({ broker, quota }) => {
    const registry = new Registry();
    const registers = [registry];
    const metrics = FIGURES.map(({ name, help, value }) => ({
      value,
      metric: name.endsWith("_total")
        ? new Counter({ name, help, registers })
        : new Gauge({ name, help, registers }),
    }));
    new Gauge({
      name: "waybill_build_info",
      help: "1, with the version of the broker",
      labelNames: ["version"],
      registers,
    }).set({ version }, 1);
    if (measured !== null) addMeasured(registry, measured);
    for (const definition of more) addSeries(registry, definition);
    return [
      scrapedRoute({
        path: "/metrics",
        operationId: "getMetrics",
        summary: "Figures of the broker in Prometheus' text form",
        registry: async () => {
          const of = await readOut(broker, { quota, door: door() });
          for (const { metric, value } of metrics) {
            metric.reset();
            metric.inc(value(of));
          }
          return registry;
        },
      }),
    ];
  };
}
