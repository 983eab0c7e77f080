// Owns how a request names a place in a group's past, and where offsets are reset to.
// Refuses to own looking it up (actors/group/ledger/) and moving offsets.
// Invariant: text that is not exactly one of these is refused, never guessed at.
import { z } from "zod";
import { offset, timestampMs } from "./fields.ts";
import { type OffsetQuery, parseOffset, parseTime } from "./offset_query.ts";

const MAX_SNAPSHOT_ID_CHARS = 100;
const TIME_WHAT = "must be ms since the epoch or RFC 3339";

/** A time in ms since the epoch. */
export const time = z.union([
  timestampMs,
  z.string().max(40).transform((text, context): number => {
    // Where a time stands for an offset it begins so.
    const parsed = parseTime(text.startsWith("@") ? text.slice(1) : text);
    if (parsed !== null) return parsed;
    context.addIssue({ code: "custom", message: TIME_WHAT });
    return z.NEVER;
  }),
], { error: TIME_WHAT }).meta({
  description: "ms since the epoch, or RFC 3339; `@` before it is passed over.",
  examples: ["2026-01-01T12:00:00Z"],
});

/** Where a rollback goes: exactly one of both. */
export const pastPlace = z.union([
  z.strictObject({
    snapshotId: z.string().regex(/^[A-Za-z0-9-]+$/).max(MAX_SNAPSHOT_ID_CHARS)
      .meta({ description: "Of `offsets/snapshots`.", examples: ["s7-1767225600000"] }),
  }),
  z.strictObject({ time }),
], { error: "must be { snapshotId } or { time }" });

export type PastPlaceQuery = z.output<typeof pastPlace>;

/** Where a reset goes. */
export type ResetPlace = OffsetQuery | { readonly kind: "relative"; readonly by: number };

const RESET_WHAT = "must be an offset, earliest, latest, @ and a time (ms or RFC 3339), +n or -n";

export const resetPlace = z.union([
  offset.transform((at): ResetPlace => ({ kind: "offset", offset: at })),
  z.string().max(60).transform((text, context): ResetPlace => {
    if (/^[+-]\d{1,15}$/.test(text)) return { kind: "relative", by: Number(text) };
    const parsed = parseOffset(text);
    if (parsed !== null) return parsed;
    context.addIssue({ code: "custom", message: RESET_WHAT });
    return z.NEVER;
  }),
], { error: RESET_WHAT }).meta({
  description:
    "An offset; `earliest`; `latest`; `@` and a time: the first message from then on; `+n` or `-n`: from what is committed.",
  examples: ["-100"],
});
