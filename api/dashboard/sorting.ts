// Owns the order of rows by what a column says of them.
// Refuses to own tables (components/table.tsx).
// Invariant: pure and stable; what is not known stands last in either direction.

export type SortKey = string | number | null | undefined;
export type SortDirection = "ascending" | "descending";

export interface SortOrder {
  /** Of a column. */
  readonly key: string;
  readonly direction: SortDirection;
}

const byWords = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/** `rows` by their keys; texts as people sort them (`part 2` before `part 10`). */
export function sortedRows<Row>(
  rows: readonly Row[],
  keyOf: (row: Row) => SortKey,
  direction: SortDirection,
): Row[] {
  const sign = direction === "ascending" ? 1 : -1;
  const keyed = rows.map((row) => ({ row, key: keyOf(row) ?? null }));
  keyed.sort((a, b) => {
    if (a.key === null || b.key === null) return Number(a.key === null) - Number(b.key === null);
    if (typeof a.key === "number" && typeof b.key === "number") return sign * (a.key - b.key);
    return sign * byWords.compare(String(a.key), String(b.key));
  });
  return keyed.map(({ row }) => row);
}
