// Owns the list of consumer groups, paged and searched by the broker; a group's own page stands below its name.
// Refuses to own the group's page. Invariant: lag is the live sample's; a group it does not tell of has a dash.
import type { GroupSummary } from "../../answers.ts";
import { Badge } from "../../components/badge.tsx";
import { PageHead, Panel } from "../../components/panel.tsx";
import { SearchField } from "../../components/search_field.tsx";
import { Sparkline } from "../../components/sparkline.tsx";
import { type Column, PagedTable, Table } from "../../components/table.tsx";
import { count, dateTime, duration } from "../../format.ts";
import { usePaged, useStore } from "../../hooks.ts";
import { brokerNow, live } from "../../live/live_overview.ts";
import type { OverviewState } from "../../live/overview_state.ts";
import type { PageProps } from "../../pages.ts";
import { hrefOf, type Place } from "../../router.ts";
import { groupsInTrouble, type Trouble } from "../overview/summary.ts";
import { troubleCount, troubleTone, troubleWord, worstTone } from "../overview/wording.ts";
import { GroupPage } from "./group_page.tsx";
import { phaseTone } from "./tones.ts";

const REFRESH_MS = 5_000;

export function GroupsPage({ place }: PageProps) {
  const name = place.path[1];
  return name === undefined
    ? <GroupList place={place} />
    : <GroupPage group={name} place={place} />;
}

function GroupList({ place }: { place: Place }) {
  const { overview } = useStore(live);
  const { search } = place.query;
  const paged = usePaged<GroupSummary>("/api/groups", "groups", {
    query: { search },
    everyMs: REFRESH_MS,
  });
  const inTrouble = groupsInTrouble(overview ?? { now: null, trends: {} })
    .filter(({ group }) => group.toLowerCase().includes((search ?? "").toLowerCase()));
  const troubles = new Map(inTrouble.map((one) => [one.group, one]));
  return (
    <>
      <PageHead title="Groups" lead="Those in trouble first, worst first; then all by name." />
      {inTrouble.length > 0 && (
        <Panel
          title="Groups in trouble"
          aside={<Badge tone={worstTone(inTrouble)}>{troubleCount(inTrouble)}</Badge>}
          isFlush
        >
          <Table
            caption="Groups in trouble, worst first"
            columns={IN_TROUBLE}
            rows={inTrouble}
            rowKey={({ group }) => group}
            rowTone={(one) => {
              const tone = troubleTone(one);
              return tone === "quiet" ? null : tone;
            }}
            pageSize={10}
            empty=""
          />
        </Panel>
      )}
      <Panel title="All groups" isFlush>
        <div class="field-row">
          <SearchField label="Search by name" place={place} />
        </div>
        <PagedTable
          caption="Consumer groups"
          columns={columnsOf(overview, troubles)}
          paged={paged}
          rowKey={({ groupId }) => groupId}
          empty={search === undefined
            ? "No group has been seen yet: one comes into being with its first member or commit."
            : `No group's name contains “${search}”.`}
        />
      </Panel>
    </>
  );
}

function lagOf(overview: OverviewState | null, groupId: string) {
  return overview?.now?.groups.find(({ group }) => group === groupId);
}

const IN_TROUBLE: readonly Column<Trouble>[] = [
  {
    key: "group",
    title: "Group",
    isRowTitle: true,
    cell: ({ group }) => <a href={hrefOf(["groups", group])}>{group}</a>,
    sortBy: ({ group }) => group,
  },
  {
    key: "trouble",
    title: "Trouble",
    cell: (one) => <Badge tone={troubleTone(one)}>{troubleWord(one)}</Badge>,
    sortBy: troubleWord,
  },
  {
    key: "since",
    title: "For",
    cell: ({ trouble: { since } }) => (
      <span class="nowrap" title={dateTime(since)}>
        {duration(Math.max(0, Math.floor((brokerNow() - since) / 1_000)))}
      </span>
    ),
    sortBy: ({ trouble }) => -trouble.since,
  },
  {
    key: "lag",
    title: "Lag",
    isNumber: true,
    cell: ({ totalLag, isGrowing }) => `${count(totalLag)}${isGrowing ? ", growing" : ""}`,
    sortBy: ({ totalLag }) => totalLag,
  },
  { key: "why", title: "Why", cell: ({ trouble }) => trouble.why },
];

function columnsOf(
  overview: OverviewState | null,
  troubles: ReadonlyMap<string, Trouble>,
): Column<GroupSummary>[] {
  return [
    {
      key: "group",
      title: "Group",
      isRowTitle: true,
      cell: ({ groupId }) => <a href={hrefOf(["groups", groupId])}>{groupId}</a>,
    },
    {
      key: "state",
      title: "State",
      cell: ({ groupId, state }) => {
        const one = troubles.get(groupId);
        return one === undefined
          ? <Badge tone={phaseTone(state)}>{state}</Badge>
          : <Badge tone={troubleTone(one)}>{troubleWord(one)}</Badge>;
      },
    },
    { key: "members", title: "Members", isNumber: true, cell: ({ members }) => count(members) },
    {
      key: "lag",
      title: "Lag",
      isNumber: true,
      cell: ({ groupId }) => count(lagOf(overview, groupId)?.totalLag),
    },
    {
      key: "behind",
      title: "Behind",
      isNumber: true,
      cell: ({ groupId }) => duration(lagOf(overview, groupId)?.maxLagSeconds),
    },
    {
      key: "trend",
      title: "Last 15 minutes",
      cell: ({ groupId }) => (
        <Sparkline values={overview?.trends[groupId] ?? []} label={`Lag of ${groupId}`} />
      ),
    },
  ];
}
