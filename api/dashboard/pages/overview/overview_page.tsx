// Owns the first page: how the broker stands, in the order in which an operator asks.
// Refuses to own measuring. Invariant: what is in trouble stands first, with since when and why.
import { PageHead, Panel } from "../../components/panel.tsx";
import { ErrorBox, Loading, Notice } from "../../components/states.tsx";
import { type Loaded, useLoaded, useStore } from "../../hooks.ts";
import { live } from "../../live/live_overview.ts";
import { api } from "../../session.ts";
import type { Execution } from "../../../../actors/runbook/types.ts";
import type { Alert } from "../../../../actors/threshold/types.ts";
import { AlertsPanel } from "./alerts_panel.tsx";
import { ChartPanels } from "./charts.tsx";
import { FigurePanels } from "./figures.tsx";
import { LagPanel } from "./lag_table.tsx";
import { RunbooksPanel } from "./runbooks_panel.tsx";
import { StatusStrip } from "./status_strip.tsx";
import { groupsAlerted } from "./summary.ts";
import { TroublePanel } from "./trouble_panel.tsx";

const LOOK_AGAIN_MS = 2_000;
/** Alerts and executions shown here; their own pages show them all. */
const MAX_SHOWN = 200;

export function OverviewPage() {
  const { overview, problem, connection } = useStore(live);
  if (overview === null) {
    return (
      <>
        <PageHead title="Overview" />
        {problem === null ? <Loading what="Connecting" /> : <ErrorBox text={problem} />}
        {connection === "refused" && (
          <p class="soft">
            This page tells of the whole broker, which takes the right to describe the cluster. The
            other pages show what this token may see.
          </p>
        )}
      </>
    );
  }
  return (
    <>
      <PageHead title="Overview" lead="The last 15 minutes of this broker, live." />
      {connection === "lost" && (
        <Notice tone="bad">
          <p role="alert">Not live: {problem}. What follows is as it was; connecting again.</p>
        </Notice>
      )}
      {overview.now === null ? <Loading what="The broker is in its first second" /> : <Content />}
    </>
  );
}

function Content() {
  const alerts = useAlerts();
  const overview = {
    ...useStore(live).overview!,
    alerted: groupsAlerted(alerts.value ?? []),
  };
  const executions = useExecutions();
  const { ready, problems } = overview.now!;
  return (
    <>
      <StatusStrip overview={overview} alerts={alerts} executions={executions} />
      {!ready && (
        <Panel title="Problems of the broker" tone="bad">
          <ul class="plain">{problems.map((one) => <li key={one}>{one}</li>)}</ul>
        </Panel>
      )}
      <TroublePanel overview={overview} />
      <AlertsPanel alerts={alerts} />
      {(executions.error !== null || (executions.value?.length ?? 0) > 0) && (
        <RunbooksPanel executions={executions} />
      )}
      <LagPanel overview={overview} />
      <ChartPanels history={overview.history} />
      <FigurePanels overview={overview} />
    </>
  );
}

/** Firing ones first, the most urgent and oldest of them first. */
function useAlerts(): Loaded<readonly Alert[]> {
  return useLoaded("alerts", async (signal) => {
    const lists = await Promise.all(
      (["firing", "pending"] as const).map((state) =>
        api.page<Alert>("/api/alerts", "alerts", { query: { state, limit: MAX_SHOWN }, signal })
      ),
    );
    return lists.flatMap(({ entries }) =>
      entries.toSorted((a, b) => a.severity.localeCompare(b.severity) || a.since - b.since)
    );
  }, { everyMs: LOOK_AGAIN_MS });
}

/** Those that wait for somebody first. */
function useExecutions(): Loaded<readonly Execution[]> {
  return useLoaded("executions", async (signal) => {
    const lists = await Promise.all(
      (["waiting", "running"] as const).map((state) =>
        api.page<Execution>("/api/runbooks/executions", "executions", {
          query: { state, limit: MAX_SHOWN },
          signal,
        })
      ),
    );
    return lists.flatMap(({ entries }) => entries);
  }, { everyMs: LOOK_AGAIN_MS });
}
