// Owns the port through which the edges of a broker are traced with OpenTelemetry.
// Refuses to own spans (otel_tracing.ts). Invariant: with NO_TRACING everything is handed back as it was: no cost, no change.
import type { Broker } from "../../actors/broker.ts";
import type { App } from "../../api/app.ts";
import { NO_TELEMETRY, type Telemetry } from "../../api/telemetry.ts";

export interface Tracing {
  /** What serves requests, with a span for each that publishes. */
  fetch(fetch: App["fetch"]): App["fetch"];
  /** The broker as edges see it, with spans for what is stored and committed. */
  broker<B extends Broker>(broker: B): B;
  /** Hears what is published and delivered. */
  readonly telemetry: Telemetry;
  /** Resolves when every span that is under way has been handed over. */
  close(): Promise<void>;
}

export const NO_TRACING: Tracing = Object.freeze({
  fetch: (fetch: App["fetch"]) => fetch,
  broker: <B extends Broker>(broker: B) => broker,
  telemetry: NO_TELEMETRY,
  close: () => Promise.resolve(),
});
