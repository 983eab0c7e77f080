// Owns the page of the audit log: find entries, look at one, verify the chain, export.
// Refuses to own the log. Invariant: an export asks for what the filter shows, with the credential in a header.
import { useState } from "preact/hooks";
import type { AuditEntry } from "../../answers.ts";
import { Badge } from "../../components/badge.tsx";
import type { Tone } from "../../tone.ts";
import { Dialog } from "../../components/dialog.tsx";
import { Checkbox, FieldRow, Select, TextField } from "../../components/fields.tsx";
import { Facts, PageHead, Panel } from "../../components/panel.tsx";
import { ErrorBox } from "../../components/states.tsx";
import { type Column, PagedTable } from "../../components/table.tsx";
import { tell } from "../../components/toasts.tsx";
import { saveAs } from "../../download.ts";
import { dateTime } from "../../format.ts";
import { useAction, useFields, usePaged } from "../../hooks.ts";
import { api } from "../../session.ts";
import { VerifyPanel } from "./verify_panel.tsx";

type Outcome = AuditEntry["outcome"] | "";

const TONES: Readonly<Record<AuditEntry["outcome"], Tone>> = {
  success: "ok",
  failure: "bad",
  intended: "info",
  unknown: "warn",
};

const OUTCOMES: readonly { readonly value: Outcome; readonly label: string }[] = [
  { value: "", label: "All" },
  { value: "success", label: "success" },
  { value: "failure", label: "failure" },
  { value: "intended", label: "intended" },
  { value: "unknown", label: "unknown" },
];

interface Filter {
  readonly actor: string;
  readonly action: string;
  readonly resource: string;
  readonly outcome: Outcome;
  readonly from: string;
  readonly to: string;
  readonly all: boolean;
}

const EVERYTHING: Filter = {
  actor: "",
  action: "",
  resource: "",
  outcome: "",
  from: "",
  to: "",
  all: false,
};

export function AuditPage() {
  const { fields, set, field } = useFields(EVERYTHING);
  const [filter, setFilter] = useState(EVERYTHING);
  const paged = usePaged<AuditEntry>("/api/audit", "entries", { query: queryOf(filter) });
  const [shown, setShown] = useState<AuditEntry | null>(null);
  const exported = useAction();
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    setFilter(fields);
    paged.reload();
  };
  const exportAll = () =>
    exported.run(async () => {
      const response = await api.send("GET", `/api/audit${searchText(filter)}`, {
        headers: { accept: "application/x-ndjson" },
      });
      saveAs("audit.ndjson", await response.blob());
      tell("The export is saved as audit.ndjson");
    });
  return (
    <>
      <PageHead title="Audit" lead="Who changed what, newest first. Entries form a hash chain.">
        <button type="button" class="button" disabled={exported.isBusy} onClick={exportAll}>
          {exported.isBusy ? "Exporting…" : "Export NDJSON"}
        </button>
      </PageHead>
      {exported.error !== null && <ErrorBox text={exported.error} />}
      <VerifyPanel />
      <Panel title="Entries" isFlush>
        <form class="filter" onSubmit={submit}>
          <FieldRow>
            <TextField label="Actor" {...field("actor")} />
            <TextField label="Action" placeholder="topic.*" {...field("action")} />
            <TextField label="Resource" placeholder="topic:orders" {...field("resource")} />
            <Select label="Outcome" {...field("outcome")} options={OUTCOMES} />
          </FieldRow>
          <FieldRow>
            <TextField label="From" type="datetime-local" {...field("from")} />
            <TextField label="To" type="datetime-local" {...field("to")} />
            <Checkbox
              label="Intents too"
              checked={fields.all}
              onChecked={(all) => set({ all })}
            />
            <button type="submit" class="button button-main">Filter</button>
          </FieldRow>
        </form>
        <PagedTable
          caption="Entries of the audit log"
          columns={columnsOf(setShown)}
          paged={paged}
          rowKey={({ sequence }) => `${sequence}`}
          rowTone={({ outcome }) => outcome === "unknown" ? "warn" : null}
          empty="No entry on this page."
        />
      </Panel>
      {shown !== null && <EntryDialog entry={shown} onClose={() => setShown(null)} />}
    </>
  );
}

function queryOf({ from, to, all, ...rest }: Filter) {
  return { ...rest, from: timeOf(from), to: timeOf(to), ...(all ? { all } : {}) };
}

function timeOf(local: string): number | undefined {
  return local === "" ? undefined : new Date(local).getTime();
}

function searchText(filter: Filter): string {
  const given = Object.entries(queryOf(filter))
    .filter(([name, value]) => value !== undefined && value !== "" && name !== "all")
    .map(([name, value]) => [name, String(value)]);
  return given.length === 0 ? "" : `?${new URLSearchParams(given)}`;
}

function columnsOf(show: (entry: AuditEntry) => void): Column<AuditEntry>[] {
  return [
    {
      key: "sequence",
      title: "Entry",
      isRowTitle: true,
      cell: (entry) => (
        <button
          type="button"
          class="link"
          aria-label={`Show entry ${entry.sequence}`}
          onClick={() => show(entry)}
        >
          {entry.sequence}
        </button>
      ),
    },
    { key: "at", title: "When", cell: ({ at }) => <span class="nowrap">{dateTime(at)}</span> },
    { key: "actor", title: "Actor", cell: ({ actor }) => actor },
    { key: "action", title: "Action", cell: ({ action }) => <span class="nowrap">{action}</span> },
    {
      key: "resource",
      title: "Resource",
      cell: ({ resource }) => resource === null ? "–" : `${resource.type} ${resource.name}`,
    },
    {
      key: "outcome",
      title: "Outcome",
      cell: ({ outcome, code }) => (
        <span>
          <Badge tone={TONES[outcome]}>{outcome}</Badge> {code !== null && <code>{code}</code>}
        </span>
      ),
    },
    { key: "reason", title: "Reason", cell: ({ reason }) => reason ?? "–" },
  ];
}

function EntryDialog({ entry, onClose }: { entry: AuditEntry; onClose: () => void }) {
  const { before, after } = entry;
  return (
    <Dialog title={`Entry ${entry.sequence}: ${entry.action}`} onClose={onClose} isWide>
      <div class="dialog-body">
        <Facts
          facts={[
            ["When", dateTime(entry.at)],
            ["Actor", entry.actor],
            ["Tenant", entry.tenant ?? "–"],
            ["From address", entry.remoteAddress],
            ["Outcome", entry.code === null ? entry.outcome : `${entry.outcome}: ${entry.code}`],
            ["Outcome of intent", entry.intent === null ? "–" : `${entry.intent}`],
            ["Reason", entry.reason ?? "–"],
            ["Request", entry.requestId ?? "–"],
            ["Hash", <span key="hash" class="mono">{entry.hash}</span>],
          ]}
        />
        {before !== null && before !== undefined && <Json title="Before" value={before} />}
        {after !== null && after !== undefined && <Json title="After" value={after} />}
        <div class="dialog-actions">
          <button type="button" class="button button-main" onClick={onClose}>Close</button>
        </div>
      </div>
    </Dialog>
  );
}

function Json({ title, value }: { title: string; value: unknown }) {
  return (
    <>
      <h3>{title}</h3>
      <pre tabIndex={0} class="value">{JSON.stringify(value, null, 2)}</pre>
    </>
  );
}
