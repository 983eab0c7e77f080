// Owns the route of figures in Prometheus' text form, whatever figures they are.
// Refuses to own the figures (routes.ts, partition_routes.ts).
// Invariant: what is scraped is never cached on the way.
import type { Registry } from "prom-client";
import { defineRoute, type Route } from "../../api/route.ts";

export interface ScrapedOptions {
  readonly path: string;
  readonly operationId: string;
  readonly summary: string;
  readonly description?: string;
  /** With the figures of now; called for each scrape. */
  registry(): Promise<Registry>;
}

export function scrapedRoute({ registry, ...options }: ScrapedOptions): Route {
  return defineRoute({
    ...options,
    method: "GET",
    tag: "Operations",
    acceptAnything: true,
    responses: {
      200: {
        description: "The figures",
        otherTypes: { "text/plain": "Prometheus' text form, version 0.0.4" },
      },
    },
    handler: async () => {
      const filled = await registry();
      const headers = { "content-type": filled.contentType, "cache-control": "no-store" };
      return new Response(await filled.metrics(), { headers });
    },
  });
}
