// Owns the list of a group's rebalances with their causes. Refuses to own rebalancing.
// Invariant: newest first, page by page.
import type { Rebalance } from "../../answers.ts";
import { Panel } from "../../components/panel.tsx";
import { type Column, PagedTable } from "../../components/table.tsx";
import { ago, count, dateTime, plural } from "../../format.ts";
import { usePaged } from "../../hooks.ts";
import { brokerNow } from "../../live/live_overview.ts";
import { partitionsText } from "../../partition_text.ts";

const REFRESH_MS = 5_000;

export function RebalancesTab({ path }: { path: string }) {
  const paged = usePaged<Rebalance>(`${path}/rebalances`, "rebalances", { everyMs: REFRESH_MS });
  return (
    <Panel title="Rebalances" aside="newest first" isFlush>
      <PagedTable
        caption="Rebalances"
        columns={COLUMNS}
        paged={paged}
        rowKey={({ generation }) => `${generation}`}
        empty="There was no rebalance yet."
      />
    </Panel>
  );
}

const COLUMNS: readonly Column<Rebalance>[] = [
  {
    key: "at",
    title: "When",
    isRowTitle: true,
    cell: ({ at }) => <span title={dateTime(at)}>{ago(at, brokerNow())}</span>,
  },
  { key: "cause", title: "Cause", cell: ({ cause }) => cause },
  { key: "members", title: "Members", isNumber: true, cell: ({ members }) => count(members) },
  { key: "moved", title: "Moved", cell: ({ moved }) => <Moved moved={moved} /> },
  {
    key: "generation",
    title: "Generation",
    isNumber: true,
    cell: ({ generation }) => generation,
  },
];

function Moved({ moved }: { moved: Rebalance["moved"] }) {
  if (moved.length === 0) return <span class="soft">nothing</span>;
  const byTaker = Map.groupBy(moved, ({ from, to }) => `${from ?? "nobody"} → ${to ?? "nobody"}`);
  return (
    <details>
      <summary>{plural(moved.length, "partition")}</summary>
      {[...byTaker].map(([way, partitions]) => (
        <div key={way} class="soft">
          <span class="mono">{way}</span>: {partitionsText(partitions)}
        </div>
      ))}
    </details>
  );
}
