// Owns the runbooks that run or wait for somebody, on the first page.
// Refuses to own executing them (the page of runbooks). Invariant: the step under way is named.
import { Badge } from "../../components/badge.tsx";
import { Panel } from "../../components/panel.tsx";
import { Empty, Progress, WhenLoaded } from "../../components/states.tsx";
import { ago } from "../../format.ts";
import type { Loaded } from "../../hooks.ts";
import { brokerNow } from "../../live/live_overview.ts";
import { hrefOf } from "../../router.ts";
import type { Execution } from "../../../../actors/runbook/types.ts";

export function RunbooksPanel({ executions }: { executions: Loaded<readonly Execution[]> }) {
  const waiting = executions.value?.filter(({ state }) => state === "waiting").length ?? 0;
  return (
    <Panel
      title="Runbooks under way"
      {...waiting > 0 ? { tone: "warn" as const } : {}}
      aside={waiting > 0 && <Badge tone="warn">{waiting} waiting for approval</Badge>}
      actions={<a href={hrefOf(["runbooks"])}>All runbooks</a>}
    >
      <WhenLoaded loaded={executions}>
        {(all) =>
          all.length === 0 ? <Empty>No runbook is running.</Empty> : (
            <ul class="alerts">
              {all.map((one) => <ExecutionItem key={one.executionId} execution={one} />)}
            </ul>
          )}
      </WhenLoaded>
    </Panel>
  );
}

function ExecutionItem({ execution }: { execution: Execution }) {
  const { executionId, name, target, state, steps, startedAt, mode, by } = execution;
  const isOver = (step: (typeof steps)[number]) =>
    step.state !== "pending" && step.state !== "running" && step.state !== "waiting";
  const done = steps.filter(isOver).length;
  const current = steps.find((step) => step.state === "running" || step.state === "waiting");
  return (
    <li class="alert">
      <div class="alert-main">
        <p class="alert-title">
          <Badge tone={state === "waiting" ? "warn" : "info"}>{state}</Badge>
          <b>
            <a href={hrefOf(["runbooks", executionId])}>{name}</a>
          </b>
          <span>{target.name === "" ? target.type : `${target.type} ${target.name}`}</span>
        </p>
        {current && <p>{current.title}{current.detail === null ? "" : `: ${current.detail}`}</p>}
        <Progress
          share={steps.length === 0 ? 0 : done / steps.length}
          label={`Steps of ${name} that are over`}
        />
        <p class="soft">
          {done} of {steps.length} steps · mode {mode} · started {ago(startedAt, brokerNow())} by
          {" "}
          {by}
        </p>
      </div>
    </li>
  );
}
