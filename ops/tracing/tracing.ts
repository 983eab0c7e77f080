// Owns choosing, at the start, whether a broker is traced.
// Refuses to own how. Invariant: where the runtime exports nothing, the library for spans is not even loaded.
import type { Broker } from "../../actors/broker.ts";
import type { Clock } from "../../storage/ports.ts";
import { NO_TRACING, type Tracing } from "./types.ts";

/** Where the runtime registers its tracer when OTEL_DENO asks for it (OpenTelemetry API, version 1). */
const REGISTERED = Symbol.for("opentelemetry.js.api.1");

export interface TracingOptions {
  /** For looking at what was delivered. */
  readonly broker: Pick<Broker, "fetch">;
  readonly clock: Pick<Clock, "now">;
  /** Told once, when spans begin to be left out. */
  readonly report: (message: string) => void;
}

/** Whether the runtime exports spans. Needs no permission, as reading OTEL_DENO would. */
export function exportsSpans(): boolean {
  const registered = (globalThis as Record<symbol, { readonly trace?: unknown } | undefined>)[
    REGISTERED
  ];
  return registered?.trace !== undefined;
}

export async function openTracing(options: TracingOptions): Promise<Tracing> {
  if (!exportsSpans()) return NO_TRACING;
  const { OtelTracing } = await import("./otel_tracing.ts");
  return new OtelTracing(options);
}
