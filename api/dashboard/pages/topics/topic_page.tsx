// Owns a topic's page: its figures, partitions, messages and configuration.
// Refuses to own the message browser. Invariant: an offline partition is told first, with why.
import type { Partition, Topic } from "../../answers.ts";
import { pathOf } from "../../api_client.ts";
import { Badge } from "../../components/badge.tsx";
import { Facts, Figure, Figures, PageHead, Panel } from "../../components/panel.tsx";
import { Notice, WhenLoaded } from "../../components/states.tsx";
import { type Column, Table } from "../../components/table.tsx";
import { Tabs } from "../../components/tabs.tsx";
import { bytes, count, dateTime } from "../../format.ts";
import { useLoaded } from "../../hooks.ts";
import { hrefOf, type Place } from "../../router.ts";
import { api } from "../../session.ts";
import { MessagesTab } from "./messages_tab.tsx";
import {
  offlineOf,
  retentionText,
  settingsOf,
  storedBytes,
  storedMessages,
} from "./topic_facts.ts";

const REFRESH_MS = 5_000;

export function TopicPage({ topic: name, place }: { topic: string; place: Place }) {
  const path = pathOf("api", "topics", name);
  const loaded = useLoaded(name, (signal) => api.get<Topic>(path, {}, signal), {
    everyMs: REFRESH_MS,
  });
  return (
    <>
      <PageHead title={name} lead={<a href={hrefOf(["topics"])}>All topics</a>}>
        <a class="button" href={hrefOf(["dead-letters"], { topic: name })}>Dead letters</a>
      </PageHead>
      <WhenLoaded loaded={loaded}>
        {(topic) => (
          <>
            {offlineOf(topic).map(({ partition, error }) => (
              <Notice key={partition} tone="bad">
                <p>Partition {partition} is offline: {error ?? "it is not known why"}</p>
              </Notice>
            ))}
            <Panel title="Now">
              <Figures>
                <Figure name="Partitions" value={count(topic.partitions.length)} />
                <Figure
                  name="Offsets stored"
                  value={count(storedMessages(topic))}
                  note="from log start to end"
                />
                <Figure name="Size on disk" value={bytes(storedBytes(topic))} />
                <Figure name="Kept" value={retentionText(topic)} />
              </Figures>
            </Panel>
            <Tabs
              label={`Topic ${name}`}
              place={place}
              tabs={[
                {
                  key: "partitions",
                  title: "Partitions",
                  content: () => <PartitionsTab topic={topic} />,
                },
                {
                  key: "messages",
                  title: "Messages",
                  content: () => <MessagesTab topic={topic} place={place} />,
                },
                {
                  key: "configuration",
                  title: "Configuration",
                  content: () => (
                    <Panel title="Configuration">
                      <Facts
                        facts={[
                          ...settingsOf(topic),
                          ["Made", dateTime(topic.createdAt)],
                          ["Id", topic.topicId],
                        ]}
                      />
                    </Panel>
                  ),
                },
              ]}
            />
          </>
        )}
      </WhenLoaded>
    </>
  );
}

function PartitionsTab({ topic: { name, partitions } }: { topic: Topic }) {
  const isArchived = partitions.some(({ archivedBytes }) => (archivedBytes ?? 0) > 0);
  return (
    <Panel title="Partitions" isFlush>
      <Table
        caption={`Partitions of ${name}`}
        columns={columnsOf(name, isArchived)}
        rows={partitions}
        rowKey={({ partition }) => `${partition}`}
        initialSort={{ key: "partition", direction: "ascending" }}
        rowTone={({ state }) => state === "offline" ? "bad" : null}
        empty="It has no partitions."
      />
    </Panel>
  );
}

function columnsOf(topic: string, isArchived: boolean): Column<Partition>[] {
  const figure = (
    key: string,
    title: string,
    valueOf: (partition: Partition) => number,
    format = count,
  ): Column<Partition> => ({
    key,
    title,
    isNumber: true,
    cell: (partition) => format(valueOf(partition)),
    sortBy: valueOf,
  });
  return [
    {
      key: "partition",
      title: "Partition",
      isRowTitle: true,
      cell: ({ partition }) => (
        <a href={hrefOf(["topics", topic], { tab: "messages", partition: `${partition}` })}>
          {topic} {partition}
        </a>
      ),
      sortBy: ({ partition }) => partition,
    },
    {
      key: "state",
      title: "State",
      cell: ({ state }) => <Badge tone={state === "online" ? "ok" : "bad"}>{state}</Badge>,
      sortBy: ({ state }) => state,
    },
    figure("start", "Log start", ({ logStartOffset }) => logStartOffset),
    figure("end", "Log end", ({ highWatermark }) => highWatermark),
    figure("stored", "Offsets stored", (at) => at.highWatermark - at.logStartOffset),
    figure("size", "Size", ({ sizeBytes }) => sizeBytes, bytes),
    ...(isArchived
      ? [figure("archived", "Archived", ({ archivedBytes }) => archivedBytes ?? 0, bytes)]
      : []),
    {
      key: "leader",
      title: "Leader",
      cell: ({ leader, isr }) => `${leader ?? "none"} (in sync: ${isr.join(", ")})`,
      sortBy: ({ leader }) => leader,
    },
  ];
}
