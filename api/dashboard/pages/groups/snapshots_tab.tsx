// Owns a group's snapshots: list them, take one, roll back to one.
// Refuses to own the rollback's dialog (move_offsets.tsx). Invariant: newest first, page by page.
import { useState } from "preact/hooks";
import type { Snapshot } from "../../answers.ts";
import { pathOf } from "../../api_client.ts";
import { Badge } from "../../components/badge.tsx";
import { Panel } from "../../components/panel.tsx";
import { ErrorBox, Notice } from "../../components/states.tsx";
import { type Column, PagedTable } from "../../components/table.tsx";
import { tell } from "../../components/toasts.tsx";
import { count, dateTime, plural } from "../../format.ts";
import { useAction, usePaged } from "../../hooks.ts";
import { api } from "../../session.ts";
import type { GroupProps } from "./group_page.tsx";
import { MoveOffsets } from "./move_offsets.tsx";

export function SnapshotsTab({ group, reload }: GroupProps) {
  const path = pathOf("api", "groups", group.groupId);
  const paged = usePaged<Snapshot>(`${path}/offsets/snapshots`, "snapshots");
  const take = useAction();
  const [to, setTo] = useState<{ snapshotId: string | null } | null>(null);
  const mayMove = group.paused !== null || group.members.length === 0;
  const takeOne = () =>
    take.run(async () => {
      const { snapshotId } = await api.post<Snapshot>(`${path}/offsets:snapshot`);
      tell(`Snapshot ${snapshotId} is taken`);
      paged.reload();
    });
  return (
    <>
      {!mayMove && (
        <Notice>
          <p>
            Offsets are moved while the group is paused or has no members: pause it first. What
            would happen can be looked at before.
          </p>
        </Notice>
      )}
      {take.error !== null && <ErrorBox text={take.error} />}
      <Panel
        title="Snapshots"
        aside="newest first"
        isFlush
        actions={
          <>
            <button type="button" class="button" disabled={take.isBusy} onClick={takeOne}>
              Take a snapshot
            </button>
            <button
              type="button"
              class="button button-danger"
              onClick={() => setTo({ snapshotId: null })}
            >
              Move offsets…
            </button>
          </>
        }
      >
        <PagedTable
          caption="Snapshots of the group's offsets"
          columns={columnsOf((snapshotId) => setTo({ snapshotId }))}
          paged={paged}
          rowKey={({ snapshotId }) => snapshotId}
          empty="No snapshot yet. The broker takes them by itself while offsets change."
        />
      </Panel>
      {to !== null && (
        <MoveOffsets
          groupId={group.groupId}
          snapshotId={to.snapshotId}
          onClose={() => setTo(null)}
          onMoved={reload}
        />
      )}
    </>
  );
}

function columnsOf(rollBack: (snapshotId: string) => void): Column<Snapshot>[] {
  return [
    { key: "at", title: "Taken", isRowTitle: true, cell: ({ at }) => dateTime(at) },
    {
      key: "by",
      title: "By",
      cell: ({ automatic, principal }) =>
        automatic ? <Badge tone="quiet">the broker</Badge> : principal ?? "anonymous",
    },
    {
      key: "offsets",
      title: "Offsets",
      cell: ({ offsets }) => (
        <details>
          <summary>{plural(offsets.length, "partition")}</summary>
          {offsets.map(({ topic, partition, offset }) => (
            <div key={`${topic}/${partition}`} class="soft">
              {topic} {partition}: <span class="num">{count(offset)}</span>
            </div>
          ))}
        </details>
      ),
    },
    { key: "id", title: "Id", cell: ({ snapshotId }) => <span class="mono">{snapshotId}</span> },
    {
      key: "act",
      title: "Roll back",
      isBare: true,
      cell: ({ snapshotId, at }) => (
        <button
          type="button"
          class="button button-small"
          aria-label={`Roll back to the snapshot of ${dateTime(at)}`}
          onClick={() => rollBack(snapshotId)}
        >
          Roll back…
        </button>
      ),
    },
  ];
}
