// Owns one alert, whatever its state, for who comes from what was started for it.
// Refuses to own taking care of it (../overview/alerts_panel.tsx). Invariant: what is shown is what the broker answered last.
import type { Alert } from "../../answers.ts";
import { pathOf } from "../../api_client.ts";
import { Facts, Panel } from "../../components/panel.tsx";
import { WhenLoaded } from "../../components/states.tsx";
import { dateTime } from "../../format.ts";
import { useLoaded } from "../../hooks.ts";
import { hrefOf } from "../../router.ts";
import { api } from "../../session.ts";
import { startProblems } from "../overview/alert_groups.ts";
import { alertValue, resourceName } from "../overview/wording.ts";

const REFRESH_MS = 2_000;

export function AlertPanel({ alertId }: { alertId: string }) {
  const loaded = useLoaded(
    alertId,
    (signal) => api.get<Alert>(pathOf("api", "alerts", alertId), {}, signal),
    { everyMs: REFRESH_MS },
  );
  return (
    <Panel title="One alert" actions={<a href={hrefOf(["alerts"])}>All alerts</a>}>
      <WhenLoaded loaded={loaded}>{(alert) => <Facts facts={factsOf(alert)} />}</WhenLoaded>
    </Panel>
  );
}

function factsOf(alert: Alert) {
  const { name, resource, severity, state, value, worst, limit, unit, detail } = alert;
  const labels = Object.entries(resource.labels).map(([label, text]) => `${label} ${text}`);
  return [
    ["Alert", `${name}, ${severity} ${state}`],
    [
      "Of",
      resource.type === "group"
        ? <a key="of" href={hrefOf(["groups", resource.name])}>{resourceName(resource)}</a>
        : resourceName(resource),
    ],
    ["Part", labels.join(", ") || "–"],
    [
      "Value",
      `${alertValue(value, unit)}, at worst ${alertValue(worst, unit)}, limit ${
        alertValue(limit, unit)
      }`,
    ],
    ["Detail", detail ?? "–"],
    ["Since", dateTime(alert.since)],
    ["Fired", dateTime(alert.firedAt)],
    ["Resolved", dateTime(alert.resolvedAt)],
    [
      "Runbook",
      alert.executionId === null
        ? startProblems([alert])[0] ?? "none was started"
        : <a key="runbook" href={hrefOf(["runbooks", alert.executionId])}>{alert.runbook}</a>,
    ],
    ["Acknowledged by", alert.acknowledgedBy ?? "nobody"],
  ] as const;
}
