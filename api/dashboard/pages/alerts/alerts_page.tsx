// Owns the page of alerts and thresholds: what is live, what is over, and the limits that decide.
// Refuses to own acknowledging and silencing (../overview/alerts_panel.tsx) and editing a limit (threshold_dialog.tsx).
// Invariant: what is over stands apart from what is live.
import type { Alert } from "../../answers.ts";
import { Badge } from "../../components/badge.tsx";
import { PageHead, Panel } from "../../components/panel.tsx";
import { type Column, PagedTable } from "../../components/table.tsx";
import { ago, dateTime, duration } from "../../format.ts";
import { useLoaded, usePaged } from "../../hooks.ts";
import { brokerNow } from "../../live/live_overview.ts";
import type { PageProps } from "../../pages.ts";
import { hrefOf } from "../../router.ts";
import { api } from "../../session.ts";
import { AlertsPanel } from "../overview/alerts_panel.tsx";
import { alertValue, resourceName } from "../overview/wording.ts";
import { AlertPanel } from "./alert_panel.tsx";
import { ThresholdsPanel } from "./thresholds_panel.tsx";

const REFRESH_MS = 2_000;
const MAX_LIVE = 500;

export function AlertsPage({ place }: PageProps) {
  const all = useLoaded("live alerts", async (signal) => {
    const { entries } = await api.page<Alert>("/api/alerts", "alerts", {
      query: { limit: MAX_LIVE },
      signal,
    });
    return entries.filter(({ state }) => state !== "resolved");
  }, { everyMs: REFRESH_MS });
  const resolved = usePaged<Alert>("/api/alerts", "alerts", {
    query: { state: "resolved" },
    limit: 10,
    everyMs: 5 * REFRESH_MS,
  });
  return (
    <>
      <PageHead title="Alerts" lead="What is wrong, what was, and the limits that decide." />
      {place.query.alert !== undefined && <AlertPanel alertId={place.query.alert} />}
      <AlertsPanel alerts={all} />
      <ThresholdsPanel />
      <Panel title="Resolved alerts" aside="newest first, the last 500" isFlush>
        <PagedTable
          caption="Resolved alerts"
          columns={COLUMNS}
          paged={resolved}
          rowKey={({ alertId }) => alertId}
          empty="No alert was resolved yet."
        />
      </Panel>
    </>
  );
}

const COLUMNS: readonly Column<Alert>[] = [
  {
    key: "name",
    title: "Alert",
    isRowTitle: true,
    cell: ({ name, resource }) => (
      <div>
        {name}
        <div class="soft">{resourceName(resource)}</div>
      </div>
    ),
  },
  {
    key: "severity",
    title: "Severity",
    cell: ({ severity }) => <Badge tone="quiet">{severity}</Badge>,
  },
  {
    key: "worst",
    title: "Worst (limit)",
    isNumber: true,
    cell: ({ worst, limit, unit }) => `${alertValue(worst, unit)} (${alertValue(limit, unit)})`,
  },
  { key: "since", title: "Since", cell: ({ since }) => dateTime(since) },
  {
    key: "resolved",
    title: "Resolved",
    cell: ({ resolvedAt, since }) =>
      `${ago(resolvedAt, brokerNow())}, after ${duration(((resolvedAt ?? since) - since) / 1_000)}`,
  },
  {
    key: "runbook",
    title: "Runbook",
    cell: ({ runbook, executionId }) =>
      executionId === null
        ? <span class="soft">none was started</span>
        : <a href={hrefOf(["runbooks", executionId])}>{runbook}</a>,
  },
  {
    key: "who",
    title: "Acknowledged",
    cell: ({ acknowledgedBy }) => acknowledgedBy ?? "by nobody",
  },
];
