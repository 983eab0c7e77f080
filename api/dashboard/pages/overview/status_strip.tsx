// Owns the strip at the top: in one line, whether anything is the matter, each with the way to it.
// Refuses to own details. Invariant: what is not known yet is not shown as good.
import type { ComponentChildren } from "preact";
import { Badge } from "../../components/badge.tsx";
import type { Tone } from "../../tone.ts";
import { plural, shortCount } from "../../format.ts";
import type { Loaded } from "../../hooks.ts";
import type { Alert } from "../../../../actors/threshold/types.ts";
import type { Execution } from "../../../../actors/runbook/types.ts";
import { groupsInTrouble, type OverviewSeen } from "./summary.ts";
import { worstTone } from "./wording.ts";

export interface StatusProps {
  readonly overview: OverviewSeen;
  readonly alerts: Loaded<readonly Alert[]>;
  readonly executions: Loaded<readonly Execution[]>;
}

export function StatusStrip({ overview, alerts, executions }: StatusProps) {
  const { ready, problems, point } = overview.now!;
  const inTrouble = groupsInTrouble(overview);
  const forgotten = inTrouble.filter(({ isForgotten }) => isForgotten).length;
  const firing = alerts.value?.filter(({ state }) => state === "firing") ?? null;
  const isUrgent = firing?.some(({ severity }) => severity === "P1") ?? false;
  const waiting = executions.value?.filter(({ state }) => state === "waiting").length ?? 0;
  return (
    <ul class="strip" aria-label="State of the broker">
      <Item
        name="Broker"
        tone={ready ? "ok" : "bad"}
        word={ready ? "Ready" : plural(problems.length, "problem")}
      >
        {shortCount(point.publishedMessagesPerSecond)}/s in,{" "}
        {shortCount(point.deliveredMessagesPerSecond)}/s out
      </Item>
      <Item
        name="Groups"
        tone={worstTone(inTrouble)}
        word={inTrouble.length > forgotten
          ? `${inTrouble.length - forgotten} in trouble`
          : "Keep up"}
      >
        {plural(point.totalLag, "message")} behind{forgotten > 0 && `, ${forgotten} forgotten`}
      </Item>
      <Item
        name="Alerts"
        tone={firing === null ? "quiet" : firing.length === 0 ? "ok" : isUrgent ? "bad" : "warn"}
        word={firing === null
          ? "Not known"
          : firing.length === 0
          ? "None"
          : `${firing.length} firing`}
      >
        {firing === null
          ? ""
          : `${
            firing.filter(({ acknowledgedBy }) => acknowledgedBy === null).length
          } not acknowledged`}
      </Item>
      <Item
        name="Runbooks"
        tone={executions.value === null
          ? "quiet"
          : waiting > 0
          ? "warn"
          : executions.value.length > 0
          ? "info"
          : "ok"}
        word={executions.value === null
          ? "Not known"
          : executions.value.length === 0
          ? "None"
          : `${executions.value.length} under way`}
      >
        {waiting > 0 ? `${waiting} waiting for approval` : "none waits for approval"}
      </Item>
    </ul>
  );
}

function Item(
  { name, tone, word, children }: {
    name: string;
    tone: Tone;
    word: string;
    children: ComponentChildren;
  },
) {
  return (
    <li class={`strip-item strip-${tone}`}>
      <span class="strip-name">{name}</span>
      <Badge tone={tone}>{word}</Badge>
      <span class="strip-note soft num">{children}</span>
    </li>
  );
}
