// Owns telling the broker's traces what the edges deliver.
// Refuses to own remembering it (actors/trace/). Invariant: hears deliveries alone, and passes on what they say.
import type { Broker } from "../actors/broker.ts";
import { NO_TELEMETRY, type Telemetry } from "./telemetry.ts";

export function tracedDeliveries({ traces }: Pick<Broker, "traces">): Telemetry {
  return { ...NO_TELEMETRY, delivered: (delivery) => traces.delivered(delivery) };
}
