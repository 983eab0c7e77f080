// Owns the page of traces: what became of the messages that carried one, oldest first.
// Refuses to own finding it: the broker does. Invariant: what may be missing is said.
import { useState } from "preact/hooks";
import type { Trace } from "../../answers.ts";
import { pathOf } from "../../api_client.ts";
import { Badge } from "../../components/badge.tsx";
import type { Tone } from "../../tone.ts";
import { FieldRow, TextField } from "../../components/fields.tsx";
import { PageHead, Panel } from "../../components/panel.tsx";
import { Notice, WhenLoaded } from "../../components/states.tsx";
import { type Column, Table } from "../../components/table.tsx";
import { dateTime, milliseconds } from "../../format.ts";
import { goTo, useLoaded } from "../../hooks.ts";
import type { PageProps } from "../../pages.ts";
import { hrefOf } from "../../router.ts";
import { api } from "../../session.ts";

type Event = Trace["events"][number];

const MAX_EVENTS = 500;

const TONES: Readonly<Record<Event["kind"], Tone>> = {
  published: "info",
  delivered: "info",
  committed: "ok",
  retried: "warn",
  nacked: "warn",
  parked: "warn",
  "dead-lettered": "bad",
  redriven: "info",
  replayed: "info",
  rewound: "warn",
  skipped: "warn",
  lost: "bad",
};

export function TracesPage({ place }: PageProps) {
  const traceId = place.path[1];
  const [text, setText] = useState(traceId ?? "");
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const id = /[0-9a-f]{32}/.exec(text.trim().toLowerCase())?.[0] ?? text.trim();
    if (id !== "") goTo(hrefOf(["traces", id]));
  };
  return (
    <>
      <PageHead title="Traces" lead="What became of the messages that carried a traceparent." />
      <Panel title="Find a trace">
        <form onSubmit={submit}>
          <FieldRow>
            <TextField
              label="Trace id or traceparent"
              value={text}
              onValue={setText}
              required
            />
            <button type="submit" class="button button-main">Find</button>
          </FieldRow>
        </form>
      </Panel>
      {traceId !== undefined && <TracePanel traceId={traceId} />}
    </>
  );
}

function TracePanel({ traceId }: { traceId: string }) {
  const loaded = useLoaded(
    traceId,
    (signal) => api.get<Trace>(pathOf("api", "traces", traceId), { limit: MAX_EVENTS }, signal),
  );
  return (
    <Panel
      title={`Trace ${traceId}`}
      isFlush
      actions={<button type="button" class="button" onClick={loaded.reload}>Refresh</button>}
    >
      <WhenLoaded loaded={loaded}>
        {({ events, isTruncated, indexedFrom, nextCursor }) => (
          <>
            {(isTruncated || nextCursor !== undefined) && (
              <Notice tone="warn">
                <p>More happened, or may have, than is told here.</p>
              </Notice>
            )}
            {indexedFrom !== null && (
              <Notice>
                <p>Messages published before {dateTime(indexedFrom)} are not found.</p>
              </Notice>
            )}
            <Table
              caption="What happened, oldest first"
              columns={columnsOf(events[0]?.at ?? 0)}
              rows={events}
              rowKey={(event) => `${events.indexOf(event)}`}
              pageSize={100}
              empty="No message that is stored carries this trace."
            />
          </>
        )}
      </WhenLoaded>
    </Panel>
  );
}

function columnsOf(first: number): Column<Event>[] {
  return [
    {
      key: "at",
      title: "When",
      isRowTitle: true,
      cell: ({ at }) => (
        <div>
          <span class="nowrap">{dateTime(at)}</span>
          <div class="soft">+{milliseconds(at - first)}</div>
        </div>
      ),
    },
    { key: "kind", title: "What", cell: ({ kind }) => <Badge tone={TONES[kind]}>{kind}</Badge> },
    {
      key: "place",
      title: "Message",
      cell: ({ topic, partition, offset, lastOffset }) => (
        <a
          href={hrefOf(["topics", topic], {
            tab: "messages",
            partition: `${partition}`,
            offset: `${offset}`,
          })}
        >
          {topic} {partition} / {offset}
          {lastOffset !== undefined && `–${lastOffset}`}
        </a>
      ),
    },
    {
      key: "group",
      title: "Group",
      cell: ({ group, member }) =>
        group === undefined ? <span class="soft">–</span> : (
          <div>
            <a href={hrefOf(["groups", group])}>{group}</a>
            {member !== undefined && <div class="soft mono">{member}</div>}
          </div>
        ),
    },
    {
      key: "attempt",
      title: "Attempt",
      isNumber: true,
      cell: ({ attempt }) => attempt ?? "–",
    },
    {
      key: "detail",
      title: "Detail",
      cell: ({ detail = {} }) =>
        Object.entries(detail).map(([name, value]) => `${name}: ${value}`).join(", ") || "–",
    },
  ];
}
