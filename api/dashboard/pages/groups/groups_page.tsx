// Owns the list of consumer groups, paged and searched by the broker; a group's own page stands below its name.
// Refuses to own the group's page. Invariant: lag is the live sample's; a group it does not tell of has a dash.
import type { GroupSummary } from "../../answers.ts";
import { Badge } from "../../components/badge.tsx";
import { PageHead, Panel } from "../../components/panel.tsx";
import { SearchField } from "../../components/search_field.tsx";
import { Sparkline } from "../../components/sparkline.tsx";
import { type Column, PagedTable } from "../../components/table.tsx";
import { count, duration } from "../../format.ts";
import { usePaged, useStore } from "../../hooks.ts";
import { live } from "../../live/live_overview.ts";
import type { OverviewState } from "../../live/overview_state.ts";
import type { PageProps } from "../../pages.ts";
import { hrefOf, type Place } from "../../router.ts";
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
  return (
    <>
      <PageHead title="Groups" lead="Consumer groups, by name." />
      <Panel title="All groups" isFlush>
        <div class="field-row">
          <SearchField label="Search by name" place={place} />
        </div>
        <PagedTable
          caption="Consumer groups"
          columns={columnsOf(overview)}
          paged={paged}
          rowKey={({ groupId }) => groupId}
          rowTone={({ groupId }) => (lagOf(overview, groupId)?.stalledLag ?? 0) > 0 ? "bad" : null}
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

function columnsOf(overview: OverviewState | null): Column<GroupSummary>[] {
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
      cell: ({ state }) => <Badge tone={phaseTone(state)}>{state}</Badge>,
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
