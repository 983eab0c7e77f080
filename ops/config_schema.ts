// Owns how a configuration key is declared: schema, meaning, and the forms that several keys share.
// Refuses to own the keys (config_keys.ts, cluster_keys.ts). Invariant: no message shows as much of a value as a secret has.
import { z } from "zod";

/** Of one key. */
export function key<S extends z.ZodType>(schema: S, help: string, secret = false) {
  return { schema, help, secret };
}

/** More of a value is not shown: it may be a secret that was meant for another key. */
const MAX_SHOWN_CHARS = 8;

export function shown(input: unknown): string {
  const text = String(input);
  return text.length > MAX_SHOWN_CHARS
    ? `a text of ${text.length} characters`
    : JSON.stringify(input);
}

/** A whole number. */
export function count(min: number, max: number) {
  const isWhole = (value: unknown) =>
    String(value).trim() !== "" && Number.isInteger(Number(value)) && Number(value) >= min &&
    Number(value) <= max;
  // Coerced first, what stands there would be gone, and the message could not show it.
  return z.union([z.number(), z.string()]).refine(isWhole, {
    error: ({ input }) => `expected a whole number from ${min} to ${max}, received ${shown(input)}`,
  }).transform(Number);
}

/** Text from a file that holds a secret. */
export function secretFile(of: string) {
  return key(
    z.string().min(1).optional(),
    `file whose only line is ${of}: command lines and environments are seen by others`,
  );
}

export const flag = z.union([
  z.boolean(),
  z.enum(["true", "false"]).transform((text) => text === "true"),
]);

/** Comma-separated, or a list in the file. */
export const list = z.union([
  z.array(z.string().min(1)),
  z.string().transform((text) =>
    text.split(",").map((part) => part.trim()).filter((part) => part !== "")
  ),
]);
