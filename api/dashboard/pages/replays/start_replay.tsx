// Owns what the dialog that replays a range of a partition asks for.
// Refuses to own how a job begins (../../components/job_dialog.tsx).
// Invariant: places are sent as they were typed; the broker resolves them.
import { useState } from "preact/hooks";
import { FieldRow, Select, TextField } from "../../components/fields.tsx";
import { JobDialog, RateField, rateOf } from "../../components/job_dialog.tsx";
import { plural } from "../../format.ts";

const PLACE_HINT = "An offset, earliest, latest, or @ and a time (RFC 3339 or ms).";

type Target = "same" | "topic" | "group";

export function StartReplay({ onClose }: { onClose: () => void }) {
  const [topic, setTopic] = useState("");
  const [partition, setPartition] = useState("0");
  const [from, setFrom] = useState("");
  const [to, setTo] = useState("latest");
  const [target, setTarget] = useState<Target>("group");
  const [name, setName] = useState("");
  const [rate, setRate] = useState("");
  const request = {
    topic: topic.trim(),
    partition: Number(partition),
    from: placeOf(from),
    to: placeOf(to),
    ...(target === "same" ? {} : { target: { [target]: name.trim() } }),
    ...rateOf(rate),
  };
  const isReady = [topic, partition, from, to].every((text) => text.trim() !== "") &&
    (target === "same" || name.trim() !== "");
  return (
    <JobDialog
      title="Replay messages"
      path="/api/messages:replay"
      request={request}
      isReady={isReady}
      confirm={(total) => `Replay ${plural(total, "message")}`}
      begun="The replay has begun"
      onClose={onClose}
    >
      <FieldRow>
        <TextField label="Topic" value={topic} onValue={setTopic} required />
        <TextField
          label="Partition"
          type="number"
          min={0}
          value={partition}
          onValue={setPartition}
          required
        />
      </FieldRow>
      <FieldRow>
        <TextField label="From" hint={PLACE_HINT} value={from} onValue={setFrom} required />
        <TextField
          label="To, not included"
          hint={PLACE_HINT}
          value={to}
          onValue={setTo}
          required
        />
      </FieldRow>
      <FieldRow>
        <Select
          label="Send to"
          value={target}
          onValue={setTarget}
          options={[
            { value: "group", label: "One group alone" },
            { value: "topic", label: "Another topic" },
            { value: "same", label: "The same topic: every group gets them" },
          ]}
        />
        {target !== "same" && (
          <TextField
            label={target === "group" ? "Group" : "Target topic"}
            value={name}
            onValue={setName}
            required
          />
        )}
        <RateField value={rate} onValue={setRate} />
      </FieldRow>
    </JobDialog>
  );
}

function placeOf(text: string): string | number {
  return /^\d+$/.test(text.trim()) ? Number(text) : text.trim();
}
