// Owns the message browser of a topic: where to read, what to look for, what was found.
// Refuses to own the search (message_scan.ts) and showing one message (../../components/message_dialog.tsx).
// Invariant: it reads a bounded number of messages and says how many, and whether there are more.
import { useState } from "preact/hooks";
import type { Message, Topic } from "../../answers.ts";
import { pathOf, textOf } from "../../api_client.ts";
import { FieldRow, Select, TextField } from "../../components/fields.tsx";
import { MessageDialog } from "../../components/message_dialog.tsx";
import { Panel } from "../../components/panel.tsx";
import { Empty, ErrorBox, Loading } from "../../components/states.tsx";
import { type Column, Table } from "../../components/table.tsx";
import { count, dateTime, plural } from "../../format.ts";
import { useFields, useLoaded } from "../../hooks.ts";
import type { Place } from "../../router.ts";
import { api } from "../../session.ts";
import { parseExactly } from "../../exact_json.ts";
import { type Found, type ReadPage, scanMessages } from "./message_scan.ts";
import { contains, keyText, valuePreview } from "../../message_text.ts";

type From = "newest" | "earliest" | "offset" | "time";

const FROMS: readonly { readonly value: From; readonly label: string }[] = [
  { value: "newest", label: "The newest" },
  { value: "earliest", label: "The oldest" },
  { value: "offset", label: "An offset" },
  { value: "time", label: "A time" },
];

const LOOKS = ["50", "500", "5000", "20000"].map((value) => ({
  value,
  label: `${count(Number(value))} messages`,
}));

const MAX_FOUND = 500;

interface Search {
  readonly partition: string;
  readonly from: From;
  readonly at: string;
  readonly part: string;
  readonly looks: string;
}

export function MessagesTab({ topic, place }: { topic: Topic; place: Place }) {
  const { partition = "", offset } = place.query;
  const initial: Search = {
    partition,
    from: offset === undefined ? "newest" : "offset",
    at: offset ?? "",
    part: "",
    looks: "50",
  };
  // Another place in the address is another search.
  return (
    <Browser
      key={JSON.stringify(initial)}
      topic={topic}
      initial={topic.partitions.some((at) => `${at.partition}` === partition)
        ? initial
        : { ...initial, partition: "" }}
    />
  );
}

function Browser({ topic, initial }: { topic: Topic; initial: Search }) {
  const { fields: search, set, field } = useFields(initial);
  const [asked, setAsked] = useState({ search: initial, turn: 0 });
  const found = useLoaded(
    JSON.stringify(asked),
    (signal) => find(topic, asked.search, signal),
  );
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    setAsked({ search, turn: asked.turn + 1 });
  };
  return (
    <Panel title="Messages" isFlush>
      <form class="filter" onSubmit={submit}>
        <FieldRow>
          <Select
            label="Partition"
            {...field("partition")}
            options={[
              { value: "", label: "All partitions" },
              ...topic.partitions.map(({ partition }) => ({
                value: `${partition}`,
                label: `Partition ${partition}`,
              })),
            ]}
          />
          <Select
            label="From"
            value={search.from}
            onValue={(from) => set({ from, at: "" })}
            options={FROMS}
          />
          {search.from === "offset" && (
            <TextField label="Offset" type="number" min={0} {...field("at")} required />
          )}
          {search.from === "time" && (
            <TextField label="Time" type="datetime-local" step={1} {...field("at")} required />
          )}
          <TextField label="Key or value contains" {...field("part")} />
          <Select label="Look at no more than" {...field("looks")} options={LOOKS} />
          <button type="submit" class="button button-main" disabled={found.isLoading}>
            {found.isLoading ? "Reading…" : "Read"}
          </button>
        </FieldRow>
      </form>
      {found.error !== null && <ErrorBox text={found.error} />}
      {found.value !== null
        ? <Results found={found.value} part={asked.search.part} />
        : found.error === null && <Loading what="Reading" />}
    </Panel>
  );
}

function Results({ found, part }: { found: Found; part: string }) {
  const [shown, setShown] = useState<Message | null>(null);
  const { messages, looked, isCut } = found;
  return (
    <>
      <Empty>
        <span role="status">
          {plural(messages.length, "message")} {part === "" ? "shown" : `with “${part}”`},{" "}
          {count(looked)} looked at{isCut ? "; there are more behind them" : ""}. Newest first.
        </span>
      </Empty>
      <Table
        caption="Messages"
        columns={columnsOf(setShown)}
        rows={messages}
        rowKey={({ partition, offset }) => `${partition}/${offset}`}
        pageSize={50}
        empty="No message there."
      />
      {shown !== null && <MessageDialog message={shown} onClose={() => setShown(null)} />}
    </>
  );
}

function columnsOf(show: (message: Message) => void): Column<Message>[] {
  return [
    {
      key: "place",
      title: "Partition and offset",
      isRowTitle: true,
      cell: (message) => (
        <button
          type="button"
          class="link nowrap"
          aria-label={`Show the message at partition ${message.partition}, offset ${message.offset}`}
          onClick={() => show(message)}
        >
          {message.partition} / {message.offset}
        </button>
      ),
    },
    {
      key: "time",
      title: "Time",
      cell: ({ timestamp }) => (
        <span class="nowrap">{timestamp < 0 ? "none" : dateTime(timestamp)}</span>
      ),
    },
    {
      key: "key",
      title: "Key",
      cell: (message) => keyText(message) ?? <span class="soft">none</span>,
    },
    {
      key: "value",
      title: "Value",
      cell: (message) => <span class="mono clip">{valuePreview(message)}</span>,
    },
  ];
}

async function find(topic: Topic, search: Search, signal: AbortSignal): Promise<Found> {
  const maxLooked = Number(search.looks);
  const wanted = topic.partitions.filter(({ partition, state }) =>
    search.partition === "" ? state === "online" : `${partition}` === search.partition
  );
  const share = Math.max(1, Math.floor(maxLooked / Math.max(1, wanted.length)));
  const starts = wanted.map(({ partition, logStartOffset, highWatermark }) => {
    const first = search.from === "newest"
      ? `${Math.max(logStartOffset, highWatermark - share)}`
      : search.from === "earliest"
      ? "earliest"
      : search.from === "offset"
      ? search.at
      : `@${new Date(search.at).getTime()}`;
    return { partition, offset: first };
  });
  return await scanMessages({
    starts,
    maxLooked,
    maxFound: MAX_FOUND,
    isWanted: (message) => search.part === "" || contains(message, search.part),
    read: (partition, offset, maxMessages) =>
      readPage(
        `${pathOf("api", "topics", topic.name, "partitions", `${partition}`)}/messages`,
        { offset, maxMessages },
        signal,
      ).catch((error) => {
        throw signal.aborted ? error : new Error(`partition ${partition}: ${textOf(error)}`);
      }),
  });
}

/** Read from its text, so that large numbers in values stay what they are. */
async function readPage(
  path: string,
  query: { offset: string; maxMessages: number },
  signal: AbortSignal,
): Promise<ReadPage> {
  const search = new URLSearchParams({
    offset: query.offset,
    maxMessages: `${query.maxMessages}`,
  });
  const response = await api.send("GET", `${path}?${search}`, { signal });
  return parseExactly(await response.text()) as ReadPage;
}
