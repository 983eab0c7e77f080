// Owns the table of moves of replicas under way, how far each is, and cancelling them.
// Refuses to own beginning them (rebalance_dialog.tsx). Invariant: a page at a time.
import { useState } from "preact/hooks";
import type { Move } from "../../answers.ts";
import { ActionDialog } from "../../components/dialog.tsx";
import { Panel } from "../../components/panel.tsx";
import { type Column, PagedTable } from "../../components/table.tsx";
import { tell } from "../../components/toasts.tsx";
import { count, plural } from "../../format.ts";
import { usePaged } from "../../hooks.ts";
import { api } from "../../session.ts";

const PATH = "/api/partitions:reassign";
const REFRESH_MS = 2_000;

export function MovesPanel({ total, onChanged }: { total: number; onChanged: () => void }) {
  const paged = usePaged<Move>(PATH, "moves", { everyMs: REFRESH_MS, limit: 10 });
  const [cancelling, setCancelling] = useState<Move | "all" | null>(null);
  const reload = () => {
    paged.reload();
    onChanged();
  };
  return (
    <Panel
      title="Moves under way"
      aside={count(total)}
      actions={
        <button
          type="button"
          class="button button-small"
          onClick={() => setCancelling("all")}
        >
          Cancel all…
        </button>
      }
      isFlush
    >
      <PagedTable
        caption="Moves of replicas under way"
        columns={columnsOf(setCancelling)}
        paged={paged}
        rowKey={({ topic, partition }) => `${topic}/${partition}`}
        empty="Nothing moves."
      />
      {cancelling !== null && (
        <CancelDialog
          move={cancelling}
          onClose={() => setCancelling(null)}
          onDone={reload}
        />
      )}
    </Panel>
  );
}

function columnsOf(cancel: (move: Move) => void): Column<Move>[] {
  return [
    {
      key: "partition",
      title: "Partition",
      isRowTitle: true,
      cell: ({ topic, partition }) => `${topic} ${partition}`,
    },
    { key: "from", title: "From", cell: ({ from }) => from.join(", ") },
    { key: "to", title: "To", cell: ({ to }) => to.join(", ") },
    { key: "progress", title: "In sync", cell: (move) => <Progress move={move} /> },
    {
      key: "lag",
      title: "Still to come",
      isNumber: true,
      cell: ({ lagMessages }) => lagMessages === null ? "not known" : count(lagMessages),
    },
    {
      key: "act",
      title: "Change",
      isBare: true,
      cell: (move) => (
        <button
          type="button"
          class="button button-small"
          aria-label={`Cancel the move of ${move.topic} ${move.partition}`}
          onClick={() => cancel(move)}
        >
          Cancel…
        </button>
      ),
    },
  ];
}

function Progress({ move: { topic, partition, to, missing } }: { move: Move }) {
  const inSync = to.length - missing.length;
  return (
    <div>
      <progress
        aria-label={`Replicas of ${topic} ${partition} in sync`}
        max={to.length}
        value={inSync}
      />
      <div class="soft">
        {inSync} of {to.length}
        {missing.length > 0 && `, not yet ${missing.join(", ")}`}
      </div>
    </div>
  );
}

function CancelDialog(
  { move, onClose, onDone }: { move: Move | "all"; onClose: () => void; onDone: () => void },
) {
  const what = move === "all" ? "all moves" : `the move of ${move.topic} ${move.partition}`;
  const query = move === "all" ? {} : { topic: move.topic, partition: move.partition };
  return (
    <ActionDialog
      title={`Cancel ${what}`}
      confirm={move === "all" ? "Cancel all moves" : "Cancel the move"}
      isDangerous
      onClose={onClose}
      action={async () => {
        const { moves } = await api.ask<{ moves: readonly unknown[] }>("DELETE", PATH, { query });
        tell(`${plural(moves.length, "move")} cancelled`);
        onDone();
      }}
    >
      <p>
        The replicas are as before. Where those have fallen behind meanwhile, it is moved back. What
        a drained broker holds begins to move again by itself.
      </p>
    </ActionDialog>
  );
}
