// Owns how a query names a place in a partition: a number, `earliest`, `latest`, `@<time>`.
// Refuses to own reading from there.
// Invariant: text that is not exactly one of these is refused, never guessed at.
import { z } from "zod";
import type { Broker, Isolation, PartitionInfo, TopicPartition } from "../actors/broker.ts";

/** A place in a partition as a caller names it. */
export type OffsetQuery =
  | { readonly kind: "offset"; readonly offset: number }
  | { readonly kind: "earliest" }
  | { readonly kind: "latest" }
  /** First message with a timestamp of at least `timestampMs`. */
  | { readonly kind: "time"; readonly timestampMs: number };

const RFC_3339 = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+\- ]\d\d:\d\d)$/;
const WHAT = "must be an offset from 0 to 2^53 - 1, earliest, latest, or @ and a time " +
  "(ms since the epoch or RFC 3339)";

/** Text as a place; null when it is none. */
export function parseOffset(text: string): OffsetQuery | null {
  if (text === "earliest" || text === "latest") return { kind: text };
  if (text.startsWith("@")) {
    const timestampMs = parseTime(text.slice(1));
    return timestampMs === null ? null : { kind: "time", timestampMs };
  }
  const offset = parseNumber(text);
  return offset === null ? null : { kind: "offset", offset };
}

/** ms of text that says ms since the epoch or an RFC 3339 time; null when it is neither. */
export function parseTime(text: string): number | null {
  const number = parseNumber(text);
  if (number !== null) return number;
  // A plus that nobody encoded arrives as a space.
  const time = RFC_3339.test(text) ? Date.parse(text.replace(" ", "+")) : NaN;
  return time >= 0 ? time : null;
}

function parseNumber(text: string): number | null {
  const number = /^\d{1,16}$/.test(text) ? Number(text) : NaN;
  return Number.isSafeInteger(number) ? number : null;
}

/** Query parameter that names a place. */
export const offsetText = z.string().transform((text, context): OffsetQuery => {
  const parsed = parseOffset(text);
  if (parsed !== null) return parsed;
  context.addIssue({ code: "custom", message: WHAT });
  return z.NEVER;
}).meta({
  description: "A number, `earliest`, `latest`, or `@` and a time: ms since the epoch or RFC 3339.",
  examples: ["0", "latest", "@2026-01-01T00:00:00Z"],
});

/** The offset that is meant. Errors: those of the broker. */
export async function resolveOffset(
  broker: Broker,
  at: TopicPartition,
  query: OffsetQuery & { readonly isolation?: Isolation },
): Promise<number> {
  switch (query.kind) {
    case "offset":
      return query.offset;
    case "earliest":
      return (await broker.partitionInfo(at)).logStartOffset;
    case "latest":
      return latestOffset(await broker.partitionInfo(at), query.isolation);
    case "time":
      return await broker.offsetForTime(at, query.timestampMs);
  }
}

/** Where the messages begin that are still to come: those of open transactions are among them for read_committed. */
export function latestOffset(
  { highWatermark, lastStableOffset }: Pick<PartitionInfo, "highWatermark" | "lastStableOffset">,
  isolation: Isolation = "read_committed",
): number {
  return isolation === "read_committed" ? lastStableOffset ?? highWatermark : highWatermark;
}
