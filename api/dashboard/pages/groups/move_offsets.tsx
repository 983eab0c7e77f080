// Owns the dialog that moves a group's offsets: back to a snapshot or a time, or to a place of a topic.
// Refuses to own moving them. Invariant: what is confirmed is the request that was looked at, with its reason.
import { useState } from "preact/hooks";
import type { MovedOffsets } from "../../answers.ts";
import { pathOf } from "../../api_client.ts";
import { FieldRow, Select, TextField } from "../../components/fields.tsx";
import { PreviewDialog } from "../../components/preview_dialog.tsx";
import { ReasonField } from "../../components/reason_dialog.tsx";
import { Notice } from "../../components/states.tsx";
import { type Column, Table } from "../../components/table.tsx";
import { tell } from "../../components/toasts.tsx";
import { count, plural } from "../../format.ts";
import { api } from "../../session.ts";

type How = "snapshot" | "time" | "reset";

const HOWS: readonly { readonly value: How; readonly label: string }[] = [
  { value: "snapshot", label: "Back to a snapshot" },
  { value: "time", label: "Back to where the group was at a time" },
  { value: "reset", label: "To a place in a topic" },
];

export function MoveOffsets(
  { groupId, snapshotId, onClose, onMoved }: {
    groupId: string;
    snapshotId: string | null;
    onClose: () => void;
    onMoved: () => void;
  },
) {
  const [how, setHow] = useState<How>(snapshotId === null ? "time" : "snapshot");
  const [snapshot, setSnapshot] = useState(snapshotId ?? "");
  const [time, setTime] = useState("");
  const [place, setPlace] = useState("earliest");
  const [topic, setTopic] = useState("");
  const [partition, setPartition] = useState("");
  const [reason, setReason] = useState("");
  const only = {
    ...(topic === "" ? {} : { topic }),
    ...(partition === "" ? {} : { partition: Number(partition) }),
  };
  const at = new Date(time).getTime();
  const action = how === "reset" ? "reset" : "rollback";
  const to = how === "snapshot"
    ? { snapshotId: snapshot.trim() }
    : how === "time"
    ? { time: Number.isNaN(at) ? null : at }
    : /^\d+$/.test(place.trim())
    ? Number(place)
    : place.trim();
  const isPlaced = how === "snapshot"
    ? snapshot.trim() !== ""
    : how === "time"
    ? !Number.isNaN(at)
    : topic !== "" && place.trim() !== "";
  const body = { to, ...only, reason: reason.trim() };
  const ask = (dryRun: boolean) =>
    api.post<MovedOffsets>(`${pathOf("api", "groups", groupId)}/offsets:${action}`, {
      ...body,
      dryRun,
    });
  return (
    <PreviewDialog<MovedOffsets>
      title={`Move the offsets of ${groupId}`}
      isDangerous
      isReady={isPlaced && reason.trim() !== ""}
      request={JSON.stringify([action, body])}
      preview={() => ask(true)}
      show={(moved) => <WouldMove moved={moved} />}
      hasWork={({ changes, blockedBy }) => changes.length > 0 && blockedBy === null}
      confirm={({ changes }) => `Move ${plural(changes.length, "offset")}`}
      action={async () => {
        const { changes, totalRedeliver } = await ask(false);
        tell(
          `${plural(changes.length, "offset")} moved; ` +
            `${plural(totalRedeliver, "message")} will be delivered again`,
        );
        onMoved();
      }}
      onClose={onClose}
    >
      <Select label="Move" value={how} onValue={setHow} options={HOWS} />
      {how === "snapshot" && (
        <TextField label="Snapshot id" value={snapshot} onValue={setSnapshot} required />
      )}
      {how === "time" && (
        <TextField
          label="Time"
          type="datetime-local"
          step={1}
          hint="In this browser's time zone."
          value={time}
          onValue={setTime}
          required
        />
      )}
      {how === "reset" && (
        <TextField
          label="Place"
          hint="An offset, earliest, latest, @ and a time (RFC 3339 or ms), or +n or -n from what is committed."
          value={place}
          onValue={setPlace}
          required
        />
      )}
      <FieldRow>
        <TextField
          label={how === "reset" ? "Topic" : "Only topic (optional)"}
          value={topic}
          onValue={setTopic}
          required={how === "reset"}
        />
        <TextField
          label="Only partition (optional)"
          type="number"
          min={0}
          value={partition}
          onValue={setPartition}
        />
      </FieldRow>
      <ReasonField value={reason} onValue={setReason} />
    </PreviewDialog>
  );
}

function WouldMove({ moved: { changes, totalRedeliver, blockedBy } }: { moved: MovedOffsets }) {
  if (changes.length === 0) {
    return (
      <Notice>
        <p>Nothing would change: the group stands there already.</p>
      </Notice>
    );
  }
  return (
    <>
      <Notice tone="warn">
        <p>
          {plural(changes.length, "offset")} would move, and{" "}
          <b>{plural(totalRedeliver, "message")}</b> would be delivered again.
        </p>
      </Notice>
      {blockedBy !== null && (
        <Notice tone="bad">
          <p>Not yet: {blockedBy.detail}.</p>
        </Notice>
      )}
      <Table
        caption="What would change"
        columns={COLUMNS}
        rows={changes}
        rowKey={({ topic, partition }) => `${topic}/${partition}`}
        pageSize={8}
        empty=""
      />
    </>
  );
}

const COLUMNS: readonly Column<MovedOffsets["changes"][number]>[] = [
  {
    key: "partition",
    title: "Partition",
    isRowTitle: true,
    cell: ({ topic, partition }) => `${topic} ${partition}`,
    sortBy: ({ topic, partition }) => `${topic} ${partition}`,
  },
  { key: "from", title: "From", isNumber: true, cell: ({ from }) => count(from) },
  { key: "to", title: "To", isNumber: true, cell: ({ to }) => count(to) },
  {
    key: "redeliver",
    title: "Delivered again",
    isNumber: true,
    cell: ({ redeliver }) => count(redeliver),
    sortBy: ({ redeliver }) => redeliver,
  },
];
