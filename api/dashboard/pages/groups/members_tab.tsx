// Owns the table of a group's members. Refuses to own membership.
// Invariant: what a member still holds but is to give up is told beside what it holds.
import type { Group } from "../../answers.ts";
import { Panel } from "../../components/panel.tsx";
import { type Column, Table } from "../../components/table.tsx";
import { ago, duration } from "../../format.ts";
import { brokerNow } from "../../live/live_overview.ts";
import { partitionsText } from "../../partition_text.ts";

type Member = Group["members"][number];

export function MembersTab({ group }: { group: Group }) {
  return (
    <Panel title="Members" isFlush>
      <Table
        caption={`Members of group ${group.groupId}`}
        columns={COLUMNS}
        rows={group.members}
        rowKey={({ memberId }) => memberId}
        initialSort={{ key: "member", direction: "ascending" }}
        empty="No member: nobody reads for this group now."
      />
    </Panel>
  );
}

const COLUMNS: readonly Column<Member>[] = [
  {
    key: "member",
    title: "Member",
    isRowTitle: true,
    cell: ({ memberId, clientId, instanceId }) => (
      <div>
        <span class="mono">{memberId}</span>
        {(clientId !== null || instanceId !== null) && (
          <div class="soft">
            {[clientId && `client ${clientId}`, instanceId && `instance ${instanceId}`]
              .filter(Boolean).join(", ")}
          </div>
        )}
      </div>
    ),
    sortBy: ({ memberId }) => memberId,
  },
  {
    key: "version",
    title: "Version",
    cell: ({ version }) => version ?? <span class="soft">not said</span>,
    sortBy: ({ version }) => version,
  },
  {
    key: "partitions",
    title: "Partitions",
    cell: ({ assignment, revoking }) => (
      <div>
        {assignment.length === 0 ? <span class="soft">none</span> : partitionsText(assignment)}
        {revoking.length > 0 && <div class="soft">to be given up: {partitionsText(revoking)}</div>}
      </div>
    ),
    sortBy: ({ assignment }) => assignment.length,
  },
  {
    key: "transport",
    title: "Transport",
    cell: ({ transport }) => transport === "http" ? "HTTP" : "WebSocket",
    sortBy: ({ transport }) => transport,
  },
  {
    key: "joined",
    title: "Joined",
    cell: ({ joinedAt }) => ago(joinedAt, brokerNow()),
    sortBy: ({ joinedAt }) => joinedAt,
  },
  {
    key: "session",
    title: "Session ends in",
    cell: ({ sessionEndsAt, sessionTimeoutMs }) => (
      <span title="Each sign of life puts it off by the session timeout">
        {sessionEndsAt === null
          ? "–"
          : duration(Math.max(0, Math.round((sessionEndsAt - brokerNow()) / 1_000)))}{" "}
        <span class="soft">of {duration(sessionTimeoutMs / 1_000)}</span>
      </span>
    ),
    sortBy: ({ sessionEndsAt }) => sessionEndsAt,
  },
  {
    key: "principal",
    title: "Principal",
    cell: ({ principal }) => principal ?? <span class="soft">anonymous</span>,
    sortBy: ({ principal }) => principal,
  },
];
