// Owns the table of thresholds. Refuses to own changing one (threshold_dialog.tsx).
// Invariant: what somebody changed is told apart from what is so by default.
import { useState } from "preact/hooks";
import type { Threshold } from "../../answers.ts";
import { pathOf } from "../../api_client.ts";
import { Badge } from "../../components/badge.tsx";
import { ActionDialog } from "../../components/dialog.tsx";
import { Panel } from "../../components/panel.tsx";
import { WhenLoaded } from "../../components/states.tsx";
import { type Column, Table } from "../../components/table.tsx";
import { tell } from "../../components/toasts.tsx";
import { ago, duration } from "../../format.ts";
import { useLoaded } from "../../hooks.ts";
import { brokerNow } from "../../live/live_overview.ts";
import { api } from "../../session.ts";
import { alertValue } from "../overview/wording.ts";
import { ThresholdDialog } from "./threshold_dialog.tsx";

const MAX_THRESHOLDS = 200;

export function ThresholdsPanel() {
  const loaded = useLoaded(
    "thresholds",
    (signal) =>
      api.page<Threshold>("/api/thresholds", "thresholds", {
        query: { limit: MAX_THRESHOLDS },
        signal,
      }),
  );
  const [editing, setEditing] = useState<Threshold | null>(null);
  const [resetting, setResetting] = useState<Threshold | null>(null);
  return (
    <Panel title="Thresholds" isFlush>
      <WhenLoaded loaded={loaded}>
        {({ entries }) => (
          <Table
            caption="Thresholds"
            columns={columnsOf(setEditing, setResetting)}
            rows={entries}
            rowKey={({ name }) => name}
            empty="There is none."
          />
        )}
      </WhenLoaded>
      {editing !== null && (
        <ThresholdDialog
          threshold={editing}
          onClose={() => setEditing(null)}
          onSet={loaded.reload}
        />
      )}
      {resetting !== null && (
        <ActionDialog
          title={`Put ${resetting.name} back`}
          confirm="Put it back to the default"
          onClose={() => setResetting(null)}
          action={async () => {
            await api.delete(pathOf("api", "thresholds", resetting.name));
            tell(`${resetting.name} is as by default`);
            loaded.reload();
          }}
        >
          <p>Its limit, durations, severity, runbook and mode are as by default from now on.</p>
        </ActionDialog>
      )}
    </Panel>
  );
}

function columnsOf(
  edit: (threshold: Threshold) => void,
  reset: (threshold: Threshold) => void,
): Column<Threshold>[] {
  return [
    {
      key: "name",
      title: "Threshold",
      isRowTitle: true,
      cell: ({ name, describes }) => (
        <div>
          {name}
          <div class="soft">{describes}</div>
        </div>
      ),
    },
    {
      key: "limit",
      title: "Fires above",
      cell: ({ limit, unit, forSeconds, windowSeconds }) => (
        <div>
          <b class="nowrap">{alertValue(limit, unit)}</b>
          <div class="soft">
            {forSeconds === 0 ? "at once" : `for ${duration(forSeconds)}`}
            {windowSeconds > 0 && `, over ${duration(windowSeconds)}`}
          </div>
        </div>
      ),
    },
    { key: "severity", title: "Severity", cell: ({ severity }) => severity },
    {
      key: "runbook",
      title: "Runbook",
      cell: ({ runbook, mode }) =>
        runbook === null ? <span class="soft">none</span> : `${runbook} (${mode})`,
    },
    {
      key: "state",
      title: "State",
      cell: ({ enabled, updatedAt, updatedBy }) => (
        <div>
          <Badge tone={enabled ? "ok" : "quiet"}>{enabled ? "on" : "off"}</Badge>
          {updatedAt !== null && (
            <div class="soft">changed {ago(updatedAt, brokerNow())} by {updatedBy}</div>
          )}
        </div>
      ),
    },
    {
      key: "act",
      title: "Change",
      isBare: true,
      cell: (threshold) => (
        <span class="actions">
          <button
            type="button"
            class="button button-small"
            aria-label={`Change the threshold ${threshold.name}`}
            onClick={() => edit(threshold)}
          >
            Change…
          </button>
          {threshold.updatedAt !== null && (
            <button
              type="button"
              class="button button-small"
              aria-label={`Put the threshold ${threshold.name} back`}
              onClick={() => reset(threshold)}
            >
              Default…
            </button>
          )}
        </span>
      ),
    },
  ];
}
