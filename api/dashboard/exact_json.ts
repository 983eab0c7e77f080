// Owns reading JSON so that numbers are written again as they stood, however large.
// Refuses to own asking. Invariant: without the browser's help a number is at worst as exact as JavaScript's.

interface ExactJson {
  readonly rawJSON?: (source: string) => unknown;
}

/** As JSON.parse; numbers that JavaScript would change are kept as they were written, for JSON.stringify. */
export function parseExactly(text: string): unknown {
  const { rawJSON } = JSON as ExactJson;
  if (rawJSON === undefined) return JSON.parse(text);
  return JSON.parse(text, (_key, value, context?: { readonly source?: string }) => {
    const source = context?.source;
    if (typeof value !== "number" || source === undefined || String(value) === source) return value;
    return rawJSON.call(JSON, source);
  });
}

/** For people: indented, or in one line. A text that is no JSON value stays as it is. */
export function jsonText(value: unknown, { indent = 0 } = {}): string {
  return typeof value === "string" ? value : JSON.stringify(value, null, indent) ?? "";
}
