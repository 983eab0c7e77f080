// Owns turning values into the lines of small drawings.
// Refuses to own the drawing (components/sparkline.tsx).
// Invariant: pure; whatever the values, everything stays inside.

export interface Spark {
  /** SVG path data. */
  readonly line: string;
  readonly area: string;
  readonly end: { readonly x: number; readonly y: number };
}

/** Room that is left around the line, so that its ends are not cut. */
const EDGE = 3;

/** A line through `values` (two at least) in a box; its bottom is 0, or the lowest where that is below. */
export function sparkPath(
  values: readonly number[],
  { width, height }: { width: number; height: number },
): Spark {
  const low = Math.min(0, ...values);
  const high = Math.max(...values);
  const span = high - low;
  const bottom = height - EDGE;
  const points = values.map((value, index) => ({
    x: rounded(EDGE + index / (values.length - 1) * (width - 2 * EDGE)),
    y: rounded(span === 0 ? bottom : bottom - (value - low) / span * (height - 2 * EDGE)),
  }));
  const line = points.map(({ x, y }, index) => `${index === 0 ? "M" : "L"}${x} ${y}`).join("");
  const first = points[0]!;
  const end = points.at(-1)!;
  return { line, area: `${line}L${end.x} ${bottom}L${first.x} ${bottom}Z`, end };
}

function rounded(value: number): number {
  return Math.round(value * 10) / 10;
}
