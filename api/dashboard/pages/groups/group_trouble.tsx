// Owns telling of one group what is wrong with it, since when and why, with what repairs it.
// Refuses to own what trouble is: the overview says, and where somebody may not see that, the group's own lag.
// Invariant: a group that is behind with a stalled partition is never told as well.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Group, GroupLag } from "../../answers.ts";
import { Badge } from "../../components/badge.tsx";
import { Panel } from "../../components/panel.tsx";
import { clockTime, duration } from "../../format.ts";
import { useStore } from "../../hooks.ts";
import { brokerNow, live } from "../../live/live_overview.ts";
import { groupsInTrouble } from "../overview/summary.ts";
import { TROUBLE_WORDS, troubleTone, troubleWord } from "../overview/wording.ts";
import { RepairButtons, RepairDialog } from "./repair_buttons.tsx";
import { type GroupTrouble, troubleOfLag } from "./trouble.ts";

/** The group's trouble as it is now; null: none is known. */
export function useTrouble(group: Group | null, lag: GroupLag | null): GroupTrouble | null {
  const { overview } = useStore(live);
  if (group === null) return null;
  const one = overview === null
    ? undefined
    : groupsInTrouble(overview).find((told) => told.group === group.groupId);
  if (one !== undefined) {
    const { kind, since, why } = one.trouble;
    return { word: troubleWord(one), tone: troubleTone(one), kind, since, why };
  }
  // A group that the overview has found well is well; of one that it does not tell of, the lag is asked.
  const isTold = overview?.now?.groups.some((told) => told.group === group.groupId) ?? false;
  const own = isTold || lag === null ? null : troubleOfLag(group, lag);
  return own && { ...own, word: TROUBLE_WORDS[own.kind] };
}

/** Its dialog stays open when the trouble goes meanwhile. */
export function TroubleNotice({ group, trouble }: { group: string; trouble: GroupTrouble | null }) {
  const [open, setOpen] = useState<string | null>(null);
  const repairs = <RepairButtons group={group} onOpen={setOpen} />;
  return (
    <>
      {trouble === null
        ? (
          <details class="repairs">
            <summary>Repair it…</summary>
            {repairs}
          </details>
        )
        : <TroublePanel trouble={trouble}>{repairs}</TroublePanel>}
      {open !== null && <RepairDialog name={open} group={group} onClose={() => setOpen(null)} />}
    </>
  );
}

function TroublePanel(
  { trouble, children }: { trouble: GroupTrouble; children: ComponentChildren },
) {
  const { word, tone, since, why } = trouble;
  const nowMs = brokerNow();
  return (
    <Panel
      title="In trouble"
      {...tone === "quiet" ? {} : { tone }}
      aside={<Badge tone={tone}>{word}</Badge>}
    >
      <p class="trouble-why">{why}</p>
      {since !== null && (
        <p class="soft num">
          for {duration(Math.max(0, Math.floor((nowMs - since) / 1_000)))}, since{" "}
          <time dateTime={new Date(since).toISOString()}>{clockTime(since, nowMs)}</time>
        </p>
      )}
      {children}
    </Panel>
  );
}
