// Owns the alerts that are live, and taking care of them from here: acknowledge, silence.
// Refuses to own when alerts fire. Invariant: what is shown is what the broker answered last; an action is followed by a new look.
import { Fragment } from "preact";
import { useState } from "preact/hooks";
import { Badge } from "../../components/badge.tsx";
import { ActionDialog } from "../../components/dialog.tsx";
import { Select, TextField } from "../../components/fields.tsx";
import { Panel } from "../../components/panel.tsx";
import { Empty, WhenLoaded } from "../../components/states.tsx";
import { tell } from "../../components/toasts.tsx";
import { pathOf } from "../../api_client.ts";
import { clockTime, duration, plural } from "../../format.ts";
import { type Loaded, useAction } from "../../hooks.ts";
import { brokerNow } from "../../live/live_overview.ts";
import { hrefOf } from "../../router.ts";
import { api } from "../../session.ts";
import type { Alert } from "../../../../actors/threshold/types.ts";
import { type AlertGroup, alertGroups, startProblems } from "./alert_groups.ts";
import { alertValue, resourceName } from "./wording.ts";

const SILENCES = [
  { value: "900", label: "15 minutes" },
  { value: "3600", label: "1 hour" },
  { value: "14400", label: "4 hours" },
  { value: "86400", label: "24 hours" },
  { value: "0", label: "No time: end the silence" },
] as const;

/** Groups of alerts that are shown at first. */
const MAX_GROUPS = 4;
/** Alerts of one group that are told in lines of their own. */
const MAX_LINES = 5;

export function AlertsPanel({ alerts }: { alerts: Loaded<readonly Alert[]> }) {
  const [silencing, setSilencing] = useState<AlertGroup | null>(null);
  const [isWhole, setIsWhole] = useState(false);
  const firing = alerts.value?.filter(({ state }) => state === "firing") ?? [];
  const worst = firing.some(({ severity }) => severity === "P1") ? "bad" : "warn";
  return (
    <Panel
      title="Alerts"
      {...firing.length === 0 ? {} : { tone: worst }}
      aside={firing.length > 0 && <Badge tone={worst}>{firing.length} firing</Badge>}
    >
      <WhenLoaded loaded={alerts}>
        {(all) => {
          if (all.length === 0) return <Empty>No alert is firing or pending.</Empty>;
          const groups = alertGroups(all);
          const shown = isWhole ? groups : groups.slice(0, MAX_GROUPS);
          return (
            <>
              <ul class="alerts">
                {shown.map((group) => (
                  <AlertItem
                    key={`${group.key} ${group.state}`}
                    group={group}
                    onSilence={() => setSilencing(group)}
                    onChanged={alerts.reload}
                  />
                ))}
              </ul>
              {groups.length > MAX_GROUPS && (
                <button
                  type="button"
                  class="button"
                  aria-expanded={isWhole}
                  onClick={() => setIsWhole(!isWhole)}
                >
                  {isWhole
                    ? "Show fewer"
                    : `Show ${plural(groups.length - MAX_GROUPS, "more alert")}`}
                </button>
              )}
            </>
          );
        }}
      </WhenLoaded>
      {silencing !== null && (
        <SilenceDialog
          group={silencing}
          onDone={alerts.reload}
          onClose={() => setSilencing(null)}
        />
      )}
    </Panel>
  );
}

interface AlertItemProps {
  readonly group: AlertGroup;
  readonly onSilence: () => void;
  readonly onChanged: () => void;
}

function AlertItem({ group, onSilence, onChanged }: AlertItemProps) {
  const { alerts, state } = group;
  const first = alerts[0]!;
  const { name, resource, severity } = first;
  const open = alerts.filter(({ acknowledgedBy }) => acknowledgedBy === null);
  const { isBusy, run } = useAction();
  const acknowledge = () =>
    run(async () => {
      for (const { alertId } of open) {
        await api.post(`${pathOf("api", "alerts", alertId)}:acknowledge`);
      }
    }).then((isDone) => {
      if (isDone) tell(`${name} is acknowledged.`);
      onChanged();
    });
  return (
    <li class="alert">
      <div class="alert-main">
        <p class="alert-title">
          <Badge tone={severityTone(first)}>{`${severity} ${state}`}</Badge>
          <b>{name}</b>
          {resource.type === "group"
            ? <a href={hrefOf(["groups", resource.name])}>{resource.name}</a>
            : <span>{resourceName(resource)}</span>}
        </p>
        <ul class="plain-lines">
          {alerts.slice(0, MAX_LINES).map((alert) => (
            <AlertLine
              key={alert.alertId}
              alert={alert}
            />
          ))}
          {alerts.length > MAX_LINES && <li>and {alerts.length - MAX_LINES} more</li>}
        </ul>
        <AlertState group={group} />
      </div>
      <div class="actions">
        {state === "firing" && open.length > 0 && (
          <button
            type="button"
            class="button button-small"
            disabled={isBusy}
            onClick={acknowledge}
          >
            Acknowledge<span class="unseen">{` ${name} of ${resourceName(resource)}`}</span>
          </button>
        )}
        <button type="button" class="button button-small" onClick={onSilence}>
          Silence…<span class="unseen">{` ${name} of ${resourceName(resource)}`}</span>
        </button>
      </div>
    </li>
  );
}

/** What was measured, of which part of the resource. */
function AlertLine({ alert: { resource, value, limit, unit, detail } }: { alert: Alert }) {
  const labels = Object.entries(resource.labels).filter(([, text]) => text !== resource.name)
    .map(([label, text]) => `${label} ${text}`).join(", ");
  return (
    <li class="num">
      {labels !== "" && `${labels}: `}
      <b>{alertValue(value, unit)}</b>, limit {alertValue(limit, unit)}
      {detail !== null && <span class="soft">{`; ${detail}`}</span>}
    </li>
  );
}

/** Since when, who takes care of it, and what is done about it. */
function AlertState({ group: { alerts } }: { group: AlertGroup }) {
  const nowMs = brokerNow();
  const since = Math.min(...alerts.map((alert) => alert.since));
  const takers = [...new Set(alerts.flatMap(({ acknowledgedBy }) => acknowledgedBy ?? []))];
  const silent = Math.max(...alerts.map(({ silencedUntil }) => silencedUntil ?? 0));
  const executions = new Map(
    alerts.flatMap(({ executionId, runbook }) =>
      executionId === null ? [] : [[executionId, runbook] as const]
    ),
  );
  const problems = startProblems(alerts);
  return (
    <p class="soft num">
      {`for ${duration(Math.max(0, Math.floor((nowMs - since) / 1_000)))}, `}
      {`since ${clockTime(since, nowMs)}`}
      {takers.length > 0 && ` · acknowledged by ${takers.join(", ")}`}
      {silent > nowMs && ` · silent until ${clockTime(silent, nowMs)}`}
      {[...executions].map(([executionId, runbook]) => (
        <Fragment key={executionId}>
          {" · "}
          <a href={hrefOf(["runbooks", executionId])}>runbook {runbook}</a>
        </Fragment>
      ))}
      {problems.map((problem) => <Fragment key={problem}>{` · ${problem}`}</Fragment>)}
    </p>
  );
}

function severityTone({ state, severity }: Alert): "bad" | "warn" | "info" {
  if (state === "pending") return "info";
  return severity === "P1" ? "bad" : "warn";
}

interface SilenceDialogProps {
  readonly group: AlertGroup;
  readonly onDone: () => void;
  readonly onClose: () => void;
}

function SilenceDialog({ group, onDone, onClose }: SilenceDialogProps) {
  const { name, resource } = group.alerts[0]!;
  const [seconds, setSeconds] = useState<(typeof SILENCES)[number]["value"]>("3600");
  const [reason, setReason] = useState("");
  const silence = async () => {
    for (const { alertId } of group.alerts) {
      await api.post(`${pathOf("api", "alerts", alertId)}:silence`, {
        seconds: Number(seconds),
        ...(reason.trim() === "" ? {} : { reason: reason.trim() }),
      });
    }
    const { label } = SILENCES.find(({ value }) => value === seconds)!;
    tell(
      seconds === "0" ? `${name} is told again.` : `${name} is silent for ${label}.`,
    );
    onDone();
  };
  return (
    <ActionDialog
      title={`Silence ${name}`}
      confirm="Silence"
      action={silence}
      onClose={onClose}
    >
      <p class="soft">
        Nobody is told of {resourceName(resource)}{" "}
        under this threshold meanwhile. It stays listed, and its runbook is started all the same.
      </p>
      <Select label="For" value={seconds} options={SILENCES} onValue={setSeconds} />
      <TextField
        label="Reason"
        hint="For the audit log; may be left out."
        value={reason}
        onValue={setReason}
      />
    </ActionDialog>
  );
}
