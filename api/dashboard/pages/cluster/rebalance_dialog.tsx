// Owns asking for a rebalance: the plan first, then its moves.
// Refuses to own the plan: the broker makes it. Invariant: nothing moves before somebody has seen what would.
import { useState } from "preact/hooks";
import type { ReassignPlan } from "../../answers.ts";
import { TextField } from "../../components/fields.tsx";
import { PreviewDialog } from "../../components/preview_dialog.tsx";
import { Table } from "../../components/table.tsx";
import { tell } from "../../components/toasts.tsx";
import { plural } from "../../format.ts";
import { api } from "../../session.ts";

const PATH = "/api/partitions:reassign";
const SHOWN_MOVES = 10;
const MEBIBYTE = 1_048_576;

export function RebalanceDialog(
  { onClose, onBegun }: { onClose: () => void; onBegun: () => void },
) {
  const [throttle, setThrottle] = useState("");
  const rate = throttle === "" ? undefined : Math.round(Number(throttle) * MEBIBYTE);
  const body = {
    moves: "rebalance",
    ...(rate === undefined ? {} : { throttleBytesPerSecond: rate }),
  };
  return (
    <PreviewDialog<ReassignPlan>
      title="Rebalance the cluster"
      confirm={({ moves }) => `Move ${plural(moves.length, "partition")}`}
      isReady={rate === undefined || rate >= 1}
      hasWork={({ moves }) => moves.length > 0}
      request={JSON.stringify(body)}
      preview={() => api.post<ReassignPlan>(PATH, { ...body, dryRun: true })}
      show={({ moves }) => <Plan moves={moves} />}
      action={async () => {
        const { moves } = await api.post<ReassignPlan>(PATH, body);
        tell(`${plural(moves.length, "partition")} on the way`);
        onBegun();
      }}
      onClose={onClose}
    >
      <p>
        Replicas and leaders are spread evenly over brokers. Partitions are served while they move.
      </p>
      <TextField
        label="Catch up at most at, MiB/s"
        hint="From each broker to each other one. Left empty: as it was."
        type="number"
        min={0}
        step="any"
        value={throttle}
        onValue={setThrottle}
      />
    </PreviewDialog>
  );
}

function Plan({ moves }: Pick<ReassignPlan, "moves">) {
  return (
    <Table
      caption="Moves of the plan"
      columns={[
        {
          key: "partition",
          title: "Partition",
          isRowTitle: true,
          cell: ({ topic, partition }) => `${topic} ${partition}`,
        },
        { key: "from", title: "From", cell: ({ from }) => from.join(", ") },
        { key: "to", title: "To", cell: ({ to }) => to.join(", ") },
      ]}
      rows={moves}
      rowKey={({ topic, partition }) => `${topic}/${partition}`}
      pageSize={SHOWN_MOVES}
      empty="Everything is even already: nothing would move."
    />
  );
}
