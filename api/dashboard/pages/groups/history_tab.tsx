// Owns the list of changes of a group's offsets. Refuses to own the ledger.
// Invariant: newest first, as the broker pages and filters it.
import { useState } from "preact/hooks";
import type { HistoryEntry } from "../../answers.ts";
import { Badge } from "../../components/badge.tsx";
import type { Tone } from "../../tone.ts";
import { Select, TextField } from "../../components/fields.tsx";
import { Panel } from "../../components/panel.tsx";
import { type Column, PagedTable } from "../../components/table.tsx";
import { count, dateTime } from "../../format.ts";
import { usePaged } from "../../hooks.ts";

type Action = HistoryEntry["action"];

const TONES: Readonly<Record<Action, Tone>> = {
  commit: "quiet",
  rewind: "warn",
  rollback: "warn",
  reset: "warn",
  dropped: "bad",
  deleted: "bad",
  refused: "bad",
};

const ACTIONS: readonly { readonly value: Action | ""; readonly label: string }[] = [
  { value: "", label: "All changes" },
  { value: "commit", label: "Commits" },
  { value: "rewind", label: "Commits that went back" },
  { value: "refused", label: "Refused commits" },
  { value: "rollback", label: "Rollbacks" },
  { value: "reset", label: "Resets" },
];

export function HistoryTab({ path }: { path: string }) {
  const [action, setAction] = useState<Action | "">("");
  const [topic, setTopic] = useState("");
  const paged = usePaged<HistoryEntry>(`${path}/offsets/history`, "history", {
    query: { action, topic },
  });
  return (
    <Panel
      title="Offset history"
      aside="newest first"
      isFlush
      actions={<button type="button" class="button" onClick={paged.reload}>Refresh</button>}
    >
      <div class="field-row">
        <Select label="Show" value={action} onValue={setAction} options={ACTIONS} />
        <TextField label="Only topic" value={topic} onValue={setTopic} />
      </div>
      <PagedTable
        caption="Changes of the group's offsets"
        columns={COLUMNS}
        paged={paged}
        rowKey={({ at, topic, partition, offset, action }) =>
          `${at}/${topic}/${partition}/${offset}/${action}`}
        empty="No change is known."
      />
    </Panel>
  );
}

const COLUMNS: readonly Column<HistoryEntry>[] = [
  { key: "at", title: "When", isRowTitle: true, cell: ({ at }) => dateTime(at) },
  {
    key: "action",
    title: "What",
    cell: ({ action }) => <Badge tone={TONES[action]}>{action}</Badge>,
  },
  {
    key: "partition",
    title: "Partition",
    cell: ({ topic, partition }) => `${topic} ${partition}`,
  },
  {
    key: "change",
    title: "From → to",
    isNumber: true,
    cell: ({ previous, offset }) => `${count(previous)} → ${count(offset)}`,
  },
  {
    key: "who",
    title: "Who",
    cell: ({ principal, memberId }) => (
      <div>
        {principal ?? "the broker"}
        {memberId !== null && <div class="soft mono">{memberId}</div>}
      </div>
    ),
  },
  {
    key: "why",
    title: "Why",
    cell: ({ reason, cause }) => [reason, cause && `to ${cause}`].filter(Boolean).join("; ") || "–",
  },
];
