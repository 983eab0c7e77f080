// Owns what a chart makes of its points: as many as somebody reads in a table, and those that no line goes through.
// Refuses to own the table and the drawing. Invariant: pure; the newest point is always there, and newest stand first.

const MAX_ROWS = 15;

export interface ChartRow {
  /** Wall time, ms. */
  readonly at: number;
  /** One for each series; null: nothing was measured. */
  readonly values: readonly (number | null)[];
}

/** At most 15 points, evenly apart. */
export function tableRows(
  times: readonly number[],
  series: readonly (readonly (number | null)[])[],
): ChartRow[] {
  const step = Math.max(1, Math.ceil(times.length / MAX_ROWS));
  const rows: ChartRow[] = [];
  for (let index = times.length - 1; index >= 0; index -= step) {
    rows.push({ at: times[index]!, values: series.map((values) => values[index] ?? null) });
  }
  return rows;
}

/** Indices of values without a neighbour that was measured. */
export function lonePoints(values: ArrayLike<number | null | undefined>): number[] {
  const isThere = (index: number) => values[index] !== null && values[index] !== undefined;
  const found: number[] = [];
  for (let index = 0; index < values.length; index++) {
    if (isThere(index) && !isThere(index - 1) && !isThere(index + 1)) found.push(index);
  }
  return found;
}
