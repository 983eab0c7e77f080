// Owns the page of dead letters: find them, look at one, redrive one or many.
// Refuses to own redriving (redrive_dialog.tsx). Invariant: what is redriven in bulk is what the filter shows.
import { useState } from "preact/hooks";
import type { DeadLetter } from "../../answers.ts";
import { Badge } from "../../components/badge.tsx";
import { FieldRow, TextField } from "../../components/fields.tsx";
import { MessageDialog } from "../../components/message_dialog.tsx";
import { Facts, PageHead, Panel } from "../../components/panel.tsx";
import { Notice } from "../../components/states.tsx";
import { type Column, PagedTable } from "../../components/table.tsx";
import { dateTime, plural } from "../../format.ts";
import { goTo, useFields, usePaged } from "../../hooks.ts";
import type { PageProps } from "../../pages.ts";
import { hrefOf } from "../../router.ts";
import { type LetterFilter, RedriveDialog } from "./redrive_dialog.tsx";

export function DeadLettersPage({ place }: PageProps) {
  const { topic = "", group = "", code = "", reason = "" } = place.query;
  const filter: LetterFilter = { topic, group, code, reason };
  const { fields, field } = useFields(filter);
  const paged = usePaged<DeadLetter>("/api/dlq", "deadLetters", { query: { ...filter } });
  const [shown, setShown] = useState<DeadLetter | null>(null);
  const [redriving, setRedriving] = useState<DeadLetter | "many" | null>(null);
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    goTo(hrefOf(place.path, { ...fields }), { replace: true });
    paged.reload();
  };
  const isMore = paged.next !== null && paged.value?.entries.length === 0;
  return (
    <>
      <PageHead
        title="Dead letters"
        lead="Messages that failed in a group until it gave up, oldest first by topic."
      >
        <button type="button" class="button" onClick={() => setRedriving("many")}>
          Redrive many…
        </button>
      </PageHead>
      <Panel title="Letters" isFlush>
        <form class="filter" onSubmit={submit}>
          <FieldRow>
            <TextField label="Topic" {...field("topic")} />
            <TextField label="Group" {...field("group")} />
            <TextField label="Code" {...field("code")} />
            <TextField label="Reason contains" {...field("reason")} />
            <button type="submit" class="button button-main">Filter</button>
          </FieldRow>
        </form>
        {isMore && (
          <Notice>
            <p>None among those that were looked at: the next page looks further.</p>
          </Notice>
        )}
        <PagedTable
          caption="Dead letters"
          columns={columnsOf(setShown, setRedriving)}
          paged={paged}
          rowKey={({ topic, partition, offset }) => `${topic}/${partition}/${offset}`}
          empty={isMore ? "Nothing on this page." : "No dead letter."}
        />
      </Panel>
      {shown !== null && (
        <MessageDialog message={shown} onClose={() => setShown(null)}>
          <Facts
            facts={[
              ["Failed in group", shown.origin.group],
              [
                "Came from",
                `${shown.origin.topic} ${shown.origin.partition}, offset ${shown.origin.offset}`,
              ],
              ["Reason", `${shown.code}: ${shown.reason}`],
              ["Attempts", `${shown.attempts}`],
            ]}
          />
        </MessageDialog>
      )}
      {redriving !== null && (
        <RedriveDialog
          letter={redriving === "many" ? null : redriving}
          filter={filter}
          onClose={() => setRedriving(null)}
        />
      )}
    </>
  );
}

function columnsOf(
  show: (letter: DeadLetter) => void,
  redrive: (letter: DeadLetter) => void,
): Column<DeadLetter>[] {
  return [
    {
      key: "letter",
      title: "Letter",
      isRowTitle: true,
      cell: (letter) => (
        <div>
          <button
            type="button"
            class="link"
            aria-label={`Show the letter ${letter.topic} ${letter.partition}, offset ${letter.offset}`}
            onClick={() => show(letter)}
          >
            {letter.topic} {letter.partition} / {letter.offset}
          </button>
          {letter.redriven && (
            <div>
              <Badge tone="quiet">redriven</Badge>
            </div>
          )}
        </div>
      ),
    },
    {
      key: "origin",
      title: "Came from",
      cell: ({ origin: { topic, partition, offset } }) => (
        <a
          href={hrefOf(["topics", topic], {
            tab: "messages",
            partition: `${partition}`,
            offset: `${offset}`,
          })}
        >
          {topic} {partition} / {offset}
        </a>
      ),
    },
    {
      key: "group",
      title: "Group",
      cell: ({ origin: { group } }) => <a href={hrefOf(["groups", group])}>{group}</a>,
    },
    {
      key: "why",
      title: "Why",
      cell: ({ code, reason, attempts }) => (
        <div>
          <b>{code}</b> {reason}
          <div class="soft">{plural(attempts, "attempt")}</div>
        </div>
      ),
    },
    { key: "at", title: "When", cell: ({ timestamp }) => dateTime(timestamp) },
    {
      key: "act",
      title: "Redrive",
      isBare: true,
      cell: (letter) => (
        <button
          type="button"
          class="button button-small"
          aria-label={`Redrive the letter ${letter.topic} ${letter.partition}, offset ${letter.offset}`}
          onClick={() => redrive(letter)}
        >
          Redrive…
        </button>
      ),
    },
  ];
}
