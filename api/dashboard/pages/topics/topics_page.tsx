// Owns the list of topics, paged and searched by the broker; a topic's own page stands below its name.
// Refuses to own the topic's page. Invariant: no more topics are asked for than a page shows.
import type { Topic } from "../../answers.ts";
import { Badge } from "../../components/badge.tsx";
import { PageHead, Panel } from "../../components/panel.tsx";
import { SearchField } from "../../components/search_field.tsx";
import { type Column, PagedTable } from "../../components/table.tsx";
import { bytes, count, plural } from "../../format.ts";
import { usePaged } from "../../hooks.ts";
import type { PageProps } from "../../pages.ts";
import { hrefOf, type Place } from "../../router.ts";
import { offlineOf, retentionText, storedBytes, storedMessages } from "./topic_facts.ts";
import { TopicPage } from "./topic_page.tsx";

const REFRESH_MS = 10_000;

export function TopicsPage({ place }: PageProps) {
  const name = place.path[1];
  return name === undefined
    ? <TopicList place={place} />
    : <TopicPage topic={name} place={place} />;
}

function TopicList({ place }: { place: Place }) {
  const { search } = place.query;
  const paged = usePaged<Topic>("/api/topics", "topics", {
    query: { search },
    everyMs: REFRESH_MS,
  });
  return (
    <>
      <PageHead title="Topics" lead="Topics with their partitions, by name." />
      <Panel title="All topics" isFlush>
        <div class="field-row">
          <SearchField label="Search by name" place={place} />
        </div>
        <PagedTable
          caption="Topics"
          columns={COLUMNS}
          paged={paged}
          rowKey={({ name }) => name}
          rowTone={(topic) => offlineOf(topic).length > 0 ? "bad" : null}
          empty={search === undefined
            ? "There is no topic."
            : `No topic's name contains “${search}”.`}
        />
      </Panel>
    </>
  );
}

const COLUMNS: readonly Column<Topic>[] = [
  {
    key: "name",
    title: "Topic",
    isRowTitle: true,
    cell: ({ name, internal }) => (
      <span>
        <a href={hrefOf(["topics", name])}>{name}</a>
        {internal && (
          <>
            &nbsp;<Badge tone="quiet">internal</Badge>
          </>
        )}
      </span>
    ),
  },
  {
    key: "state",
    title: "State",
    cell: (topic) => {
      const offline = offlineOf(topic).length;
      return offline === 0
        ? <Badge tone="ok">online</Badge>
        : <Badge tone="bad">{plural(offline, "partition")} offline</Badge>;
    },
  },
  {
    key: "partitions",
    title: "Partitions",
    isNumber: true,
    cell: ({ partitions }) => count(partitions.length),
  },
  {
    key: "messages",
    title: "Offsets stored",
    isNumber: true,
    cell: (topic) => count(storedMessages(topic)),
  },
  { key: "bytes", title: "Size", isNumber: true, cell: (topic) => bytes(storedBytes(topic)) },
  { key: "retention", title: "Kept", cell: retentionText },
];
