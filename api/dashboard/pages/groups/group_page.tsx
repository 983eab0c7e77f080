// Owns a group's page: how it stands, what may be done to it, and its tabs.
// Refuses to own the tabs' content.
// Invariant: what is shown is asked for again every few seconds, and at once after something was done.
import { useState } from "preact/hooks";
import type { Group, GroupLag } from "../../answers.ts";
import { pathOf } from "../../api_client.ts";
import { Badge } from "../../components/badge.tsx";
import { Figure, Figures, PageHead, Panel } from "../../components/panel.tsx";
import { Notice, WhenLoaded } from "../../components/states.tsx";
import { Tabs } from "../../components/tabs.tsx";
import { ago, count, dateTime, duration, plural } from "../../format.ts";
import { type Loaded, useLoaded } from "../../hooks.ts";
import { brokerNow } from "../../live/live_overview.ts";
import { hrefOf, type Place } from "../../router.ts";
import { api } from "../../session.ts";
import { CanaryTab } from "./canary_tab.tsx";
import { GroupActions } from "./group_actions.tsx";
import { HistoryTab } from "./history_tab.tsx";
import { LagTab } from "./lag_tab.tsx";
import { MembersTab } from "./members_tab.tsx";
import { RebalancesTab } from "./rebalances_tab.tsx";
import { SnapshotsTab } from "./snapshots_tab.tsx";
import { TroubleNotice, useTrouble } from "./group_trouble.tsx";
import { phaseTone } from "./tones.ts";
import type { GroupTrouble } from "./trouble.ts";

const REFRESH_MS = 3_000;

export interface GroupProps {
  readonly group: Group;
  readonly reload: () => void;
}

export function GroupPage({ group: name, place }: { group: string; place: Place }) {
  const path = pathOf("api", "groups", name);
  const group = useLoaded(name, (signal) => api.get<Group>(path, {}, signal), {
    everyMs: REFRESH_MS,
  });
  const lag = useLoaded(name, (signal) => api.get<GroupLag>(`${path}/lag`, {}, signal), {
    everyMs: REFRESH_MS,
  });
  const trouble = useTrouble(group.value, lag.value);
  const [turn, setTurn] = useState(0);
  const reload = () => {
    group.reload();
    lag.reload();
    setTurn(turn + 1);
  };
  return (
    <>
      <PageHead
        title={name}
        lead={<a href={hrefOf(["groups"])}>All groups</a>}
      >
        <a class="button" href={hrefOf(["dead-letters"], { group: name })}>Dead letters</a>
        <a class="button" href={hrefOf(["runbooks"], { group: name })}>Runbooks</a>
        {group.value && <GroupActions group={group.value} reload={reload} />}
      </PageHead>
      <WhenLoaded loaded={group}>
        {(value) => (
          <>
            {value.paused && trouble?.kind !== "paused" && (
              <Notice tone="warn">
                <p>
                  Paused since {dateTime(value.paused.since)}{" "}
                  ({ago(value.paused.since, brokerNow())}
                  ): {value.paused.reason}
                </p>
              </Notice>
            )}
            <TroubleNotice group={name} trouble={trouble} />
            <Summary group={value} lag={lag} trouble={trouble} />
            <Tabs
              label={`Group ${name}`}
              place={place}
              tabs={[
                {
                  key: "lag",
                  title: "Lag",
                  content: () => <LagTab lag={lag} group={value} />,
                },
                {
                  key: "members",
                  title: "Members",
                  content: () => <MembersTab group={value} />,
                },
                {
                  key: "rebalances",
                  title: "Rebalances",
                  content: () => <RebalancesTab path={path} />,
                },
                {
                  key: "history",
                  title: "Offset history",
                  content: () => <HistoryTab path={path} key={turn} />,
                },
                {
                  key: "snapshots",
                  title: "Snapshots and rollback",
                  content: () => <SnapshotsTab group={value} reload={reload} key={turn} />,
                },
                {
                  key: "canary",
                  title: "Canary",
                  content: () => <CanaryTab group={value} reload={reload} />,
                },
              ]}
            />
          </>
        )}
      </WhenLoaded>
    </>
  );
}

function Summary(
  { group, lag, trouble }: {
    group: Group;
    lag: Loaded<GroupLag>;
    trouble: GroupTrouble | null;
  },
) {
  const behind = lag.value?.partitions.reduce(
    (most, { lagSeconds }) => Math.max(most, lagSeconds),
    0,
  );
  const stalled = lag.value?.partitions.filter(({ status }) => status === "stalled").length ?? 0;
  const { waiting, inHand } = group.retries;
  return (
    <Panel title="Now">
      <Figures>
        <Figure
          name="State"
          value={
            <>
              {trouble !== null && <Badge tone={trouble.tone}>{trouble.word}</Badge>}{" "}
              <Badge tone={trouble === null ? phaseTone(group.state) : "quiet"}>
                {group.state}
              </Badge>
            </>
          }
          note={`generation ${group.generation}, ${group.assignor}`}
        />
        <Figure name="Members" value={count(group.members.length)} />
        <Figure
          name="Lag"
          value={count(lag.value?.totalLag)}
          note={stalled > 0 ? `${plural(stalled, "partition")} stalled` : "messages to read"}
          tone={stalled > 0 ? "bad" : undefined}
        />
        <Figure name="Behind" value={duration(behind)} note="age of the oldest unread" />
        <Figure
          name="Retries"
          value={count(waiting)}
          note={`waiting; ${count(inHand)} being tried again`}
        />
      </Figures>
    </Panel>
  );
}
