// Owns tables: sorted by any column from the keyboard, paged here or by the broker, rows as cards where it is narrow.
// Refuses to own what cells say and where rows come from.
// Invariant: rows keep their order when sorted by what is the same.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Paged } from "../hooks.ts";
import { sortedRows, type SortKey, type SortOrder } from "../sorting.ts";
import { Empty, ErrorBox, Loading } from "./states.tsx";

export interface Column<Row> {
  /** Names the column for sorting. */
  readonly key: string;
  readonly title: string;
  readonly cell: (row: Row) => ComponentChildren;
  /** Left out: the column cannot be sorted by. Of lists that the broker pages, leave it out. */
  readonly sortBy?: (row: Row) => SortKey;
  /** Figures stand at the right. */
  readonly isNumber?: boolean;
  /** Names the row: a header cell, and the title of the card. One column of a table. */
  readonly isRowTitle?: boolean;
  /** No label in the card: it speaks for itself (buttons). */
  readonly isBare?: boolean;
}

export interface TableProps<Row> {
  /** What the table is, for those who do not see what stands around it. */
  readonly caption: string;
  readonly columns: readonly Column<Row>[];
  readonly rows: readonly Row[];
  readonly rowKey: (row: Row) => string;
  readonly initialSort?: SortOrder;
  /** More rows are paged. */
  readonly pageSize?: number;
  /** What is said when there is no row. */
  readonly empty: ComponentChildren;
  readonly rowTone?: (row: Row) => "bad" | "warn" | null;
}

export function Table<Row>(props: TableProps<Row>) {
  const { caption, columns, rows, rowKey, pageSize = 25, rowTone } = props;
  const [sort, setSort] = useState<SortOrder | null>(props.initialSort ?? null);
  const [wantedPage, setPage] = useState(0);
  if (rows.length === 0) return <Empty>{props.empty}</Empty>;
  const sortBy = columns.find(({ key }) => key === sort?.key)?.sortBy;
  const sorted = sort === null || sortBy === undefined
    ? rows
    : sortedRows(rows, sortBy, sort.direction);
  const pages = Math.ceil(sorted.length / pageSize);
  const page = Math.min(wantedPage, pages - 1);
  const shown = sorted.slice(page * pageSize, (page + 1) * pageSize);
  return (
    <>
      <div class="table-frame">
        <table class="table">
          <caption class="unseen">{caption}</caption>
          <thead>
            <tr>
              {columns.map((column) => (
                <HeadCell key={column.key} column={column} sort={sort} onSort={setSort} />
              ))}
            </tr>
          </thead>
          <tbody>
            {shown.map((row) => (
              <tr key={rowKey(row)} class={toneClass(rowTone?.(row) ?? null)}>
                {columns.map((column) => <Cell key={column.key} column={column} row={row} />)}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {pages > 1 && (
        <Pager
          label={`Page ${page + 1} of ${pages}`}
          more={`${rows.length} rows`}
          previous={page > 0 ? () => setPage(page - 1) : null}
          next={page < pages - 1 ? () => setPage(page + 1) : null}
        />
      )}
    </>
  );
}

function toneClass(tone: "bad" | "warn" | null): string {
  return tone === null ? "" : `row-${tone}`;
}

interface HeadCellProps<Row> {
  readonly column: Column<Row>;
  readonly sort: SortOrder | null;
  readonly onSort: (sort: SortOrder) => void;
}

function HeadCell<Row>({ column, sort, onSort }: HeadCellProps<Row>) {
  const { key, title, sortBy, isNumber } = column;
  const direction = sort?.key === key ? sort.direction : null;
  // The first press on a column of figures puts the largest first.
  const next = direction === null
    ? (isNumber ? "descending" : "ascending")
    : direction === "ascending"
    ? "descending"
    : "ascending";
  return (
    <th scope="col" class={isNumber ? "num" : ""} aria-sort={direction ?? undefined}>
      {sortBy === undefined
        ? title
        : (
          <button type="button" class="sort" onClick={() => onSort({ key, direction: next })}>
            {title}
            <span aria-hidden="true" class="sort-sign">
              {direction === null ? "\u00a0" : direction === "ascending" ? "▴" : "▾"}
            </span>
          </button>
        )}
    </th>
  );
}

function Cell<Row>({ column, row }: { column: Column<Row>; row: Row }) {
  const { title, cell, isNumber, isRowTitle, isBare } = column;
  const classes = [isNumber && "num", isRowTitle && "row-title", isBare && "bare"];
  const props = { class: classes.filter(Boolean).join(" "), "data-label": title };
  return isRowTitle ? <th scope="row" {...props}>{cell(row)}</th> : <td {...props}>{cell(row)}</td>;
}

/** Ways to the page before and the one after; those that are not there cannot be pressed. */
export function Pager(
  { label, more, previous, next }: {
    /** Read out when it changes. */
    label: string;
    more?: string;
    previous: (() => void) | null;
    next: (() => void) | null;
  },
) {
  return (
    <nav class="pager" aria-label="Pages">
      {more !== undefined && <span>{`${more},`}</span>}
      <span role="status">{label}</span>
      <button
        type="button"
        class="button"
        disabled={previous === null}
        onClick={() => previous?.()}
      >
        Previous
      </button>
      <button type="button" class="button" disabled={next === null} onClick={() => next?.()}>
        Next
      </button>
    </nav>
  );
}

export type PagedTableProps<Row> = Omit<TableProps<Row>, "rows" | "pageSize" | "initialSort"> & {
  readonly paged: Paged<Row>;
};

/** A list that the broker pages (`usePaged`), in the broker's order. */
export function PagedTable<Row>({ paged, ...props }: PagedTableProps<Row>) {
  const { value, error, reload, previous, next, pageNumber } = paged;
  const columns = props.columns.map(({ sortBy: _, ...column }) => column);
  return (
    <>
      {error !== null && <ErrorBox text={error} onRetry={reload} />}
      {value === null ? error === null && <Loading /> : (
        <Table
          {...props}
          columns={columns}
          rows={value.entries}
          pageSize={Math.max(1, value.entries.length)}
        />
      )}
      {(previous !== null || next !== null) && (
        <Pager label={`Page ${pageNumber}`} previous={previous} next={next} />
      )}
    </>
  );
}
