// Owns the table of a group's lag by partition. Refuses to own measuring it.
// Invariant: the largest lag stands first until somebody sorts otherwise.
import type { Group, GroupLag } from "../../answers.ts";
import { Badge } from "../../components/badge.tsx";
import { Panel } from "../../components/panel.tsx";
import { WhenLoaded } from "../../components/states.tsx";
import { type Column, Table } from "../../components/table.tsx";
import { ago, count, duration } from "../../format.ts";
import type { Loaded } from "../../hooks.ts";
import { brokerNow } from "../../live/live_overview.ts";
import { hrefOf } from "../../router.ts";
import { lagTone } from "./tones.ts";

type Row = GroupLag["partitions"][number] & { readonly committedAt: number | null };

export function LagTab({ lag, group }: { lag: Loaded<GroupLag>; group: Group }) {
  return (
    <Panel title="Lag by partition" isFlush>
      <WhenLoaded loaded={lag}>
        {({ partitions }) => (
          <Table
            caption={`Lag of group ${group.groupId} by partition`}
            columns={COLUMNS}
            rows={rowsOf(partitions, group)}
            rowKey={({ topic, partition }) => `${topic}/${partition}`}
            initialSort={{ key: "lag", direction: "descending" }}
            rowTone={({ status }) =>
              status === "stalled" ? "bad" : status === "lagging" ? "warn" : null}
            empty="The group reads nothing: no member has subscribed, and nothing is committed."
          />
        )}
      </WhenLoaded>
    </Panel>
  );
}

function rowsOf(partitions: GroupLag["partitions"], { offsets }: Group): Row[] {
  const times = new Map(offsets.map((at) => [`${at.topic}/${at.partition}`, at.committedAt]));
  return partitions.map((at) => ({
    ...at,
    committedAt: times.get(`${at.topic}/${at.partition}`) ?? null,
  }));
}

const COLUMNS: readonly Column<Row>[] = [
  {
    key: "partition",
    title: "Partition",
    isRowTitle: true,
    cell: ({ topic, partition }) => (
      <a href={hrefOf(["topics", topic], { tab: "messages", partition: `${partition}` })}>
        {topic} {partition}
      </a>
    ),
    sortBy: ({ topic, partition }) => `${topic} ${partition}`,
  },
  {
    key: "status",
    title: "Status",
    cell: ({ status }) => <Badge tone={lagTone(status)}>{status}</Badge>,
    sortBy: ({ status }) => status,
  },
  {
    key: "lag",
    title: "Lag",
    isNumber: true,
    cell: ({ lag }) => count(lag),
    sortBy: ({ lag }) => lag,
  },
  {
    key: "behind",
    title: "Behind",
    isNumber: true,
    cell: ({ lagSeconds }) => duration(lagSeconds),
    sortBy: ({ lagSeconds }) => lagSeconds,
  },
  {
    key: "committed",
    title: "Committed",
    isNumber: true,
    cell: ({ committedOffset }) => count(committedOffset),
    sortBy: ({ committedOffset }) => committedOffset,
  },
  {
    key: "end",
    title: "Log end",
    isNumber: true,
    cell: ({ highWatermark }) => count(highWatermark),
    sortBy: ({ highWatermark }) => highWatermark,
  },
  {
    key: "commit",
    title: "Last commit",
    cell: ({ committedAt }) => ago(committedAt, brokerNow()),
    sortBy: ({ committedAt }) => committedAt,
  },
  {
    key: "member",
    title: "Member",
    cell: ({ memberId }) => memberId === null ? "nobody" : <span class="mono">{memberId}</span>,
    sortBy: ({ memberId }) => memberId,
  },
];
