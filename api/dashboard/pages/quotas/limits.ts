// Owns the limits of a quota in words. Refuses to own what they do. Invariant: each limit of the API is named once.
import type { Quota } from "../../answers.ts";
import { bytes, count } from "../../format.ts";

export type LimitName = keyof Quota["usage"] & keyof Quota;

export interface Limit {
  readonly name: LimitName;
  readonly title: string;
  readonly short: string;
  readonly format: (value: number) => string;
}

export const LIMITS: readonly Limit[] = [
  {
    name: "publishBytesPerSecond",
    title: "Publish, bytes a second",
    short: "Publish/s",
    format: bytes,
  },
  {
    name: "publishMessagesPerSecond",
    title: "Publish, messages a second",
    short: "Messages/s",
    format: count,
  },
  {
    name: "consumeBytesPerSecond",
    title: "Consume, bytes a second",
    short: "Consume/s",
    format: bytes,
  },
  { name: "requestsPerSecond", title: "Requests a second", short: "Requests/s", format: count },
  { name: "connections", title: "Consumers at once", short: "Consumers", format: count },
  { name: "topics", title: "Topics", short: "Topics", format: count },
  {
    name: "inFlightBytes",
    title: "Bodies in memory at once, bytes",
    short: "In memory",
    format: bytes,
  },
];

export function tenantName(tenant: string): string {
  return tenant === "*" ? "every other tenant (*)" : tenant;
}
