// Owns the table of partitions with their replicas, searched, filtered and paged by the broker.
// Refuses to own moving them. Invariant: who leads, who is not in sync and how far is told in words, not by place alone.
import type { Placement } from "../../answers.ts";
import { Badge } from "../../components/badge.tsx";
import { FieldRow, Select } from "../../components/fields.tsx";
import { Panel } from "../../components/panel.tsx";
import { SearchField } from "../../components/search_field.tsx";
import { type Column, PagedTable } from "../../components/table.tsx";
import { count, milliseconds } from "../../format.ts";
import { goTo, usePaged } from "../../hooks.ts";
import { hrefOf, type Place } from "../../router.ts";

const REFRESH_MS = 3_000;
const STATES = [
  { value: "", label: "All" },
  { value: "under-replicated", label: "Under-replicated" },
  { value: "offline", label: "Offline" },
  { value: "moving", label: "Moving" },
] as const;
type State = typeof STATES[number]["value"];

export function PartitionsPanel({ place }: { place: Place }) {
  const { search, state = "" } = place.query;
  const paged = usePaged<Placement>("/api/partitions", "partitions", {
    query: { search, state },
    everyMs: REFRESH_MS,
  });
  const show = (wanted: State) =>
    goTo(hrefOf(place.path, { ...place.query, state: wanted }), { replace: true });
  return (
    <Panel title="Partitions" isFlush>
      <FieldRow>
        <SearchField label="Search by topic" place={place} />
        <Select label="Show" value={state as State} options={STATES} onValue={show} />
      </FieldRow>
      <PagedTable
        caption="Partitions and their replicas"
        columns={COLUMNS}
        paged={paged}
        rowKey={({ topic, partition }) => `${topic}/${partition}`}
        rowTone={(one) => one.state === "offline" ? "bad" : one.underReplicated ? "warn" : null}
        empty={state === "" && search === undefined
          ? "There is no partition."
          : "There is no such partition."}
      />
    </Panel>
  );
}

const COLUMNS: readonly Column<Placement>[] = [
  {
    key: "partition",
    title: "Partition",
    isRowTitle: true,
    cell: ({ topic, partition }) => <a href={hrefOf(["topics", topic])}>{topic} {partition}</a>,
  },
  {
    key: "state",
    title: "State",
    cell: ({ state, underReplicated, target }) =>
      state === "offline"
        ? <Badge tone="bad">offline</Badge>
        : target !== null
        ? <Badge tone="info">moving</Badge>
        : underReplicated
        ? <Badge tone="warn">under-replicated</Badge>
        : <Badge tone="ok">in sync</Badge>,
  },
  { key: "leader", title: "Leader", cell: ({ leader }) => leader ?? "nobody" },
  { key: "epoch", title: "Epoch", isNumber: true, cell: ({ leaderEpoch }) => count(leaderEpoch) },
  {
    key: "replicas",
    title: "Replicas",
    cell: ({ replicas, leader, target }) => (
      <div>
        {replicas.map((replica) => (
          <div key={replica.nodeId}>
            {replica.nodeId} <span class="soft">{wordsOf(replica, replica.nodeId === leader)}</span>
          </div>
        ))}
        {target !== null && <div class="soft">to be {target.join(", ")}</div>}
      </div>
    ),
  },
];

function wordsOf(
  { inSync, lagMessages, behindMs }: Placement["replicas"][number],
  isLeader: boolean,
): string {
  if (isLeader) return "leads";
  const lag = lagMessages === null || behindMs === null
    ? "lag not known"
    : lagMessages === 0
    ? ""
    : `${count(lagMessages)} behind for ${milliseconds(Math.round(behindMs))}`;
  return [inSync ? "in sync" : "not in sync", lag].filter((text) => text !== "").join(", ");
}
