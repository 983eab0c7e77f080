// Owns copying what crosses a port between brokers, as if it had been bytes meanwhile.
// Refuses anything but plain data: what it lets through, a wire takes too.
// Invariant: nothing of the copy is shared with what it was made of; what is undefined is left out.

/** Deepest nesting of what crosses between brokers. */
const MAX_DEPTH = 100;

export function plainCopy(value: unknown, depth = 0): unknown {
  if (depth > MAX_DEPTH) throw new Error("data for a peer are nested too deeply");
  if (value === null || value === undefined) return null;
  if (typeof value === "boolean" || typeof value === "number" || typeof value === "string") {
    return value;
  }
  if (value instanceof Uint8Array) return value.slice();
  if (Array.isArray(value)) return value.map((item) => plainCopy(item, depth + 1));
  if (typeof value === "object" && isPlain(value)) {
    const copy: Record<string, unknown> = {};
    for (const [key, item] of Object.entries(value)) {
      if (item !== undefined) copy[key] = plainCopy(item, depth + 1);
    }
    return copy;
  }
  throw new Error(`only plain data cross to a peer, not ${describe(value)}`);
}

function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

function describe(value: unknown): string {
  return typeof value === "object" ? `a ${value!.constructor?.name}` : `a ${typeof value}`;
}
