// Owns the table of lags by partition, worst first.
// Refuses to own measuring lag. Invariant: why and since when stand with the partition, not a page away.
import { Badge } from "../../components/badge.tsx";
import { Panel } from "../../components/panel.tsx";
import { Sparkline } from "../../components/sparkline.tsx";
import { type Column, Table } from "../../components/table.tsx";
import { clockTime, count, duration, UNKNOWN } from "../../format.ts";
import { lagKey } from "../../live/overview_state.ts";
import { hrefOf } from "../../router.ts";
import type { OverviewNow } from "../../../overview/overview.ts";
import {
  directionOf,
  groupsInTrouble,
  type OverviewSeen,
  statusRank,
  worstFirst,
} from "./summary.ts";
import { directionWords, type LagStatus, lagTone } from "./wording.ts";

type Lag = OverviewNow["lags"][number];
type Trouble = NonNullable<OverviewNow["groups"][number]["trouble"]>;

interface Row extends Lag {
  readonly trend: readonly number[];
  /** Of its group; null where this partition has no part in it. */
  readonly trouble: Trouble | null;
  /** Its group is. */
  readonly isForgotten: boolean;
}

const PAGE_SIZE = 12;

export function LagPanel({ overview }: { overview: OverviewSeen }) {
  const rows = rowsOf(overview);
  const nowMs = overview.now!.point.at;
  return (
    <Panel
      title="Lag by partition"
      isFlush
      aside={rows.length === 0 ? null : "worst first"}
      actions={<a href={hrefOf(["groups"])}>All groups</a>}
    >
      <Table
        caption="Lag of groups by partition, worst first"
        columns={columnsAt(nowMs)}
        rows={rows}
        rowKey={lagKey}
        pageSize={PAGE_SIZE}
        rowTone={(row) => {
          const tone = lagTone(row);
          return tone === "bad" || tone === "warn" ? tone : null;
        }}
        empty="No group has read or subscribed to anything yet."
      />
    </Panel>
  );
}

const WHY_WORDS: Readonly<Record<LagStatus, string>> = {
  stalled: "nothing is committed",
  unassigned: "no member has it",
  lagging: "its member is slow",
  ok: UNKNOWN,
  idle: UNKNOWN,
};

function isWell({ lag, status }: Lag): boolean {
  return lag === 0 || status === "ok" || status === "idle";
}

/** Of the whole group; its own words, which may be long, stand once, with the group. */
const WHOLE_WORDS: Readonly<Partial<Record<Trouble["kind"], string>>> = {
  "paused": "the group is paused",
  "no-members": "no member reads it",
};

function rowsOf(overview: OverviewSeen): Row[] {
  const { now, lagTrends } = overview;
  const trends = new Map(lagTrends.map((trend) => [lagKey(trend), trend.values]));
  const troubles = new Map(groupsInTrouble(overview).map((one) => [one.group, one]));
  return worstFirst(now!.lags.map((lag) => ({
    ...lag,
    trend: trends.get(lagKey(lag)) ?? [],
    trouble: isWell(lag) ? null : troubles.get(lag.group)?.trouble ?? null,
    isForgotten: troubles.get(lag.group)?.isForgotten ?? false,
  })));
}

/** What is the matter with this partition, and where it goes. */
function whyOf({ trouble, trend, status }: Row): string {
  if (trouble === null) return UNKNOWN;
  const direction = directionWords(directionOf(trend));
  const why = WHOLE_WORDS[trouble.kind] ?? WHY_WORDS[status];
  return direction === null ? why : `${why}; ${direction}`;
}

function columnsAt(nowMs: number): Column<Row>[] {
  return [
    {
      key: "group",
      title: "Group",
      isRowTitle: true,
      sortBy: ({ group }) => group,
      cell: ({ group }) => <a href={hrefOf(["groups", group])}>{group}</a>,
    },
    {
      key: "topic",
      title: "Topic",
      sortBy: ({ topic }) => topic,
      cell: ({ topic }) => <a href={hrefOf(["topics", topic])}>{topic}</a>,
    },
    {
      key: "partition",
      title: "Partition",
      isNumber: true,
      sortBy: ({ partition }) => partition,
      cell: ({ partition }) => partition,
    },
    {
      key: "lag",
      title: "Lag",
      isNumber: true,
      sortBy: ({ lag }) => lag,
      cell: ({ lag }) => count(lag),
    },
    {
      key: "behind",
      title: "Behind",
      isNumber: true,
      sortBy: ({ lagSeconds }) => lagSeconds,
      cell: ({ lagSeconds }) => (
        <span class="nowrap">
          {lagSeconds === null
            ? UNKNOWN
            : duration(lagSeconds < 10 ? lagSeconds : Math.round(lagSeconds))}
        </span>
      ),
    },
    {
      key: "status",
      title: "Status",
      sortBy: statusRank,
      cell: (row) => <Badge tone={lagTone(row)}>{row.status}</Badge>,
    },
    {
      key: "trend",
      title: "15 minutes",
      cell: ({ trend, group, topic, partition }) => (
        <Sparkline
          values={trend}
          label={`Lag of ${group} on ${topic}/${partition}`}
          format={count}
        />
      ),
    },
    {
      key: "since",
      title: "Group in trouble since",
      sortBy: ({ trouble }) => trouble?.since ?? null,
      cell: ({ trouble }) => (
        <span class="nowrap num">
          {trouble === null ? UNKNOWN : clockTime(trouble.since, nowMs)}
        </span>
      ),
    },
    {
      key: "why",
      title: "Why",
      cell: whyOf,
    },
  ];
}
