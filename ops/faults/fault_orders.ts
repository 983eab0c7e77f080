// Owns how somebody outside says which fault is to begin or end: one JSON object a line.
// Refuses to own faults themselves. Invariant: an order that is not understood is an error, never ignored.
import { z } from "zod";

const DAY_MS = 86_400_000;
const MAX_DELAY_MS = 60_000;

export const faultOrderSchema = z.strictObject({
  /** Left out: that stays as it is. */
  disk: z.strictObject({
    syncDelayMs: z.int().min(0).max(MAX_DELAY_MS).optional(),
    capacityBytes: z.int().min(0).nullable().optional(),
    brokenPath: z.string().min(1).nullable().optional(),
  }).optional(),
  clock: z.strictObject({
    jumpWallMs: z.int().min(-365 * DAY_MS).max(365 * DAY_MS).default(0),
    jumpMonotonicMs: z.int().min(-365 * DAY_MS).max(365 * DAY_MS).default(0),
  }).optional(),
});

/** What is left out stays as it is. */
export type FaultOrder = z.input<typeof faultOrderSchema>;

/** The order in a line. Throws for what is none. */
export function parseOrder(line: string): z.output<typeof faultOrderSchema> {
  return faultOrderSchema.parse(JSON.parse(line));
}

/** The lines of `stream`, until it ends. */
export async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncIterable<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    yield* lines.filter((line) => line.trim() !== "");
  }
}
