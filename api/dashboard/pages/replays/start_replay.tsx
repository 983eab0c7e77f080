// Owns the dialog that replays a range of a partition. Refuses to own the job.
// Invariant: the count that is confirmed is a dry run's of the same request.
import { useState } from "preact/hooks";
import type { Job } from "../../answers.ts";
import { FieldRow, Select, TextField } from "../../components/fields.tsx";
import { JobPreview } from "../../components/job_preview.tsx";
import { PreviewDialog } from "../../components/preview_dialog.tsx";
import { ReasonField } from "../../components/reason_dialog.tsx";
import { tell } from "../../components/toasts.tsx";
import { plural } from "../../format.ts";
import { goTo } from "../../hooks.ts";
import { dryRun } from "../../jobs.ts";
import { hrefOf } from "../../router.ts";
import { api } from "../../session.ts";

const PATH = "/api/messages:replay";
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
  const [reason, setReason] = useState("");
  const body = {
    topic: topic.trim(),
    partition: Number(partition),
    from: placeOf(from),
    to: placeOf(to),
    ...(target === "same" ? {} : { target: { [target]: name.trim() } }),
    ...(rate === "" ? {} : { ratePerSecond: Number(rate) }),
    reason: reason.trim(),
  };
  const isReady = [topic, partition, from, to, reason].every((text) => text.trim() !== "") &&
    (target === "same" || name.trim() !== "");
  return (
    <PreviewDialog<Job>
      title="Replay messages"
      isReady={isReady}
      request={JSON.stringify(body)}
      preview={() => dryRun(PATH, body)}
      show={(job) => <JobPreview job={job} />}
      hasWork={({ total }) => total > 0}
      confirm={({ total }) => `Replay ${plural(total, "message")}`}
      action={async () => {
        const { jobId } = await api.post<Job>(PATH, { ...body, dryRun: false });
        tell("The replay has begun");
        onClose();
        goTo(hrefOf(["replays", jobId]));
      }}
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
        <TextField
          label="Messages a second at most (optional)"
          type="number"
          min={0.1}
          step="any"
          value={rate}
          onValue={setRate}
        />
      </FieldRow>
      <ReasonField value={reason} onValue={setReason} />
    </PreviewDialog>
  );
}

function placeOf(text: string): string | number {
  return /^\d+$/.test(text.trim()) ? Number(text) : text.trim();
}
