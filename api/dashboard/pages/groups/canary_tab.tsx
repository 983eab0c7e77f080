// Owns a group's canary: how it does beside the rest, and its end.
// Refuses to own setting one (set_canary.tsx) and judging it: the group does.
// Invariant: rates stand beside each other with the counts they are of.
import { useState } from "preact/hooks";
import type { Group } from "../../answers.ts";
import { pathOf } from "../../api_client.ts";
import { Badge } from "../../components/badge.tsx";
import { Facts, Panel } from "../../components/panel.tsx";
import { ReasonDialog } from "../../components/reason_dialog.tsx";
import { Empty, Notice } from "../../components/states.tsx";
import { type Column, Table } from "../../components/table.tsx";
import { tell } from "../../components/toasts.tsx";
import { count, dateTime, duration, percent, plural } from "../../format.ts";
import { partitionsText } from "../../partition_text.ts";
import { api } from "../../session.ts";
import type { GroupProps } from "./group_page.tsx";
import { SetCanary } from "./set_canary.tsx";
import { canaryTone } from "./tones.ts";

type Canary = NonNullable<Group["canary"]>;

export function CanaryTab({ group, reload }: GroupProps) {
  const { canary, groupId } = group;
  const [open, setOpen] = useState<"set" | "promote" | "remove" | null>(null);
  const path = `${pathOf("api", "groups", groupId)}/canary`;
  // It may go while a dialog is open.
  const version = canary?.version ?? "the canary";
  const close = () => setOpen(null);
  return (
    <>
      <Panel
        title="Canary"
        aside={canary && <Badge tone={canaryTone(canary.state)}>{canary.state}</Badge>}
        actions={
          <>
            <button type="button" class="button" onClick={() => setOpen("set")}>
              {canary === null ? "Set a canary…" : "Change…"}
            </button>
            {canary?.state === "running" && (
              <button
                type="button"
                class="button"
                onClick={() => setOpen("promote")}
              >
                Promote…
              </button>
            )}
            {canary !== null && (
              <button
                type="button"
                class="button button-danger"
                onClick={() => setOpen("remove")}
              >
                Remove…
              </button>
            )}
          </>
        }
      >
        {canary === null
          ? (
            <Empty>
              No version is on trial. A canary gives members of one version a share of the
              partitions, and takes it back when they do worse than the rest.
            </Empty>
          )
          : <CanaryState canary={canary} />}
      </Panel>
      {open === "set" && <SetCanary group={group} onClose={close} onSet={reload} />}
      {open === "promote" && (
        <ReasonDialog
          title={`Promote ${version}`}
          confirm="Promote"
          isReasonNeeded={false}
          onClose={close}
          action={async (reason) => {
            await api.post(`${path}:promote`, { reason });
            tell(`${version} is promoted`);
            reload();
          }}
        >
          <p>
            The trial ends well: all versions share the partitions evenly again, and nothing is
            compared any more.
          </p>
        </ReasonDialog>
      )}
      {open === "remove" && (
        <ReasonDialog
          title={`Remove the canary ${version}`}
          confirm="Remove"
          isDangerous
          isReasonNeeded={false}
          onClose={close}
          action={async (reason) => {
            await api.delete(path, { query: { reason } });
            tell("The canary is removed");
            reload();
          }}
        >
          <p>
            No version is favoured or held back any more: members of {version}{" "}
            get partitions like all others.
          </p>
        </ReasonDialog>
      )}
    </>
  );
}

function CanaryState({ canary }: { canary: Canary }) {
  const { verdict } = canary;
  const tone = verdict.state === "worse" ? "bad" : verdict.state === "ok" ? "ok" : "info";
  return (
    <>
      <Notice tone={tone}>
        <p>{verdict.text}</p>
      </Notice>
      {canary.note !== null && (
        <Notice tone="warn">
          <p>{canary.note}</p>
        </Notice>
      )}
      <Table
        caption="The canary beside the rest"
        columns={COLUMNS}
        rows={[
          { side: `Canary (${canary.version})`, rates: canary.canary },
          { side: "The rest", rates: canary.rest },
        ]}
        rowKey={({ side }) => side}
        empty=""
      />
      <Facts
        facts={[
          [
            "Share",
            `${canary.percent}%: ${canary.partitions.length} of ${
              plural(canary.ofPartitions, "partition")
            }`,
          ],
          ["Partitions", partitionsText(canary.partitions) || "none"],
          ["Members of the version", count(canary.members)],
          ["On trial since", dateTime(canary.since)],
          [
            "Worse is",
            `${canary.factor} times the rest's rate and ${percent(canary.margin)} above it, over ${
              duration(canary.windowSeconds)
            }, with ${plural(canary.minObservations, "message")} on each side`,
          ],
          ["Last changed", `${dateTime(canary.changedAt)} by ${canary.changedBy}`],
          ["Reason", canary.reason ?? "–"],
        ]}
      />
    </>
  );
}

interface Side {
  readonly side: string;
  readonly rates: Canary["rest"];
}

const COLUMNS: readonly Column<Side>[] = [
  { key: "side", title: "Members", isRowTitle: true, cell: ({ side }) => side },
  {
    key: "answered",
    title: "Answered",
    isNumber: true,
    cell: ({ rates }) => count(rates.answered),
  },
  {
    key: "nacked",
    title: "Nacked",
    isNumber: true,
    cell: ({ rates }) => `${count(rates.nacked)} (${percent(rates.nackRate)})`,
  },
  {
    key: "dead",
    title: "Dead-lettered",
    isNumber: true,
    cell: ({ rates }) => `${count(rates.deadLettered)} (${percent(rates.deadLetterRate)})`,
  },
  {
    key: "lost",
    title: "Lost sessions",
    isNumber: true,
    cell: ({ rates }) => count(rates.lostSessions),
  },
];
