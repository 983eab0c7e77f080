// Owns the page of runbooks: what ran and runs, and what there is to execute.
// Refuses to own an execution's page and the dialog that starts one. Invariant: executions stand newest first.
import { useState } from "preact/hooks";
import type { Execution, Runbook } from "../../answers.ts";
import { Badge } from "../../components/badge.tsx";
import { FieldRow, Select } from "../../components/fields.tsx";
import { PageHead, Panel } from "../../components/panel.tsx";
import { WhenLoaded } from "../../components/states.tsx";
import { type Column, PagedTable, Table } from "../../components/table.tsx";
import { ago, duration, plural } from "../../format.ts";
import { useLoaded, usePaged } from "../../hooks.ts";
import { brokerNow } from "../../live/live_overview.ts";
import type { PageProps } from "../../pages.ts";
import { hrefOf } from "../../router.ts";
import { api } from "../../session.ts";
import { ExecuteDialog } from "./execute_dialog.tsx";
import { ExecutionPage } from "./execution_page.tsx";
import type { Tone } from "../../tone.ts";
import { executionTone, recoveryText, targetName } from "./wording.ts";

const REFRESH_MS = 2_000;
const MAX_RUNBOOKS = 200;

type State = Execution["state"] | "";

const STATES: readonly { readonly value: State; readonly label: string }[] = [
  { value: "", label: "All" },
  { value: "waiting", label: "Waiting for approval" },
  { value: "running", label: "Running" },
  { value: "verified", label: "Verified" },
  { value: "partial", label: "Partial" },
  { value: "aborted", label: "Aborted" },
];

export function RunbooksPage({ place }: PageProps) {
  const executionId = place.path[1];
  return executionId === undefined
    ? <Runbooks group={place.query.group} />
    : <ExecutionPage executionId={executionId} />;
}

/** `group`: somebody came from its page to repair it. */
function Runbooks({ group }: { group: string | undefined }) {
  const [executing, setExecuting] = useState<Runbook | null>(null);
  const [state, setState] = useState<State>("");
  const executions = usePaged<Execution>("/api/runbooks/executions", "executions", {
    query: { state, target: group === undefined ? undefined : `group:${group}` },
    limit: 10,
    everyMs: REFRESH_MS,
  });
  const runbooks = useLoaded(
    "runbooks",
    (signal) =>
      api.page<Runbook>("/api/runbooks", "runbooks", { query: { limit: MAX_RUNBOOKS }, signal }),
  );
  return (
    <>
      <PageHead title="Runbooks" lead="Repairs that check first, act, and verify what they did." />
      <Panel
        title={group === undefined ? "Executions" : `Executions for group ${group}`}
        aside="newest first"
        isFlush
        {...group === undefined ? {} : { actions: <a href={hrefOf(["runbooks"])}>All</a> }}
      >
        <FieldRow>
          <Select label="State" value={state} onValue={setState} options={STATES} />
        </FieldRow>
        <PagedTable
          caption="Executions of runbooks"
          columns={EXECUTIONS}
          paged={executions}
          rowKey={({ executionId }) => executionId}
          rowTone={(execution) => rowTone(executionTone(execution))}
          empty="None."
        />
      </Panel>
      <Panel title="Runbooks" isFlush>
        <WhenLoaded loaded={runbooks}>
          {({ entries }) => (
            <Table
              caption="Runbooks"
              columns={runbookColumns(setExecuting)}
              rows={entries}
              rowKey={({ name }) => name}
              empty="There is none."
            />
          )}
        </WhenLoaded>
      </Panel>
      {executing !== null && (
        <ExecuteDialog
          group={group}
          runbook={executing}
          onClose={() => setExecuting(null)}
        />
      )}
    </>
  );
}

const EXECUTIONS: readonly Column<Execution>[] = [
  {
    key: "name",
    title: "Runbook",
    isRowTitle: true,
    cell: ({ executionId, name }) => <a href={hrefOf(["runbooks", executionId])}>{name}</a>,
  },
  {
    key: "state",
    title: "State",
    cell: (execution) => <Badge tone={executionTone(execution)}>{execution.state}</Badge>,
  },
  { key: "target", title: "Target", cell: targetName },
  { key: "mode", title: "Mode", cell: ({ mode }) => mode },
  {
    key: "rto",
    title: "RTO (target)",
    cell: ({ rtoMs, targets }) => recoveryText(rtoMs, targets.rtoMs),
  },
  {
    key: "rpo",
    title: "RPO (target)",
    cell: ({ rpo, targets }) => recoveryText(rpo?.ms ?? null, targets.rpoMs),
  },
  {
    key: "started",
    title: "Started",
    cell: ({ startedAt, by }) => `${ago(startedAt, brokerNow())} by ${by}`,
  },
];

function runbookColumns(execute: (runbook: Runbook) => void): Column<Runbook>[] {
  return [
    {
      key: "name",
      title: "Runbook",
      isRowTitle: true,
      cell: ({ name, title }) => (
        <div>
          {name}
          <div class="soft">{title}</div>
        </div>
      ),
    },
    {
      key: "describes",
      title: "What it does",
      cell: ({ describes, steps }) => (
        <div>
          {describes}
          <details>
            <summary>{plural(steps.length, "step")}</summary>
            <ol>
              {steps.map(({ name, title, kind, undo }) => (
                <li key={name}>
                  {title} <span class="soft">({kind}{undo === undefined ? "" : `; ${undo}`})</span>
                </li>
              ))}
            </ol>
          </details>
        </div>
      ),
    },
    { key: "kinds", title: "For", cell: ({ targetKinds }) => targetKinds.join(", ") },
    {
      key: "targets",
      title: "RTO / RPO",
      cell: ({ targets }) =>
        targets.rtoMs === null && targets.rpoMs === null
          ? "–"
          : `${within(targets.rtoMs)} / ${within(targets.rpoMs)}`,
    },
    {
      key: "act",
      title: "Execute",
      isBare: true,
      cell: (runbook) => (
        <button
          type="button"
          class="button button-small"
          disabled={!runbook.available}
          aria-label={`Execute ${runbook.name}`}
          title={runbook.available
            ? undefined
            : "Declared: it needs more than a broker that is alone"}
          onClick={() => execute(runbook)}
        >
          Execute…
        </button>
      ),
    },
  ];
}

function within(ms: number | null): string {
  return ms === null ? "–" : duration(ms / 1_000);
}

/** Rows stand out where somebody is needed. */
function rowTone(tone: Tone): "warn" | "bad" | null {
  return tone === "warn" || tone === "bad" ? tone : null;
}
