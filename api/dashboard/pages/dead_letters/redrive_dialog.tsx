// Owns the dialog that sends dead letters back: one, or all that match.
// Refuses to own the job. Invariant: the count that is confirmed is a dry run's of the same request.
import { useState } from "preact/hooks";
import type { DeadLetter, Job } from "../../answers.ts";
import { Checkbox, FieldRow, Select, TextField } from "../../components/fields.tsx";
import { JobPreview } from "../../components/job_preview.tsx";
import { PreviewDialog } from "../../components/preview_dialog.tsx";
import { ReasonField } from "../../components/reason_dialog.tsx";
import { tell } from "../../components/toasts.tsx";
import { plural } from "../../format.ts";
import { goTo } from "../../hooks.ts";
import { dryRun } from "../../jobs.ts";
import { hrefOf } from "../../router.ts";
import { api } from "../../session.ts";

const PATH = "/api/dlq:redrive";

export interface LetterFilter {
  readonly topic: string;
  readonly group: string;
  readonly code: string;
  readonly reason: string;
}

export function RedriveDialog(
  { letter, filter, onClose }: {
    letter: DeadLetter | null;
    filter: LetterFilter;
    onClose: () => void;
  },
) {
  const [fields, setFields] = useState(filter);
  const [to, setTo] = useState<"origin" | "group">("origin");
  const [rate, setRate] = useState("");
  const [includeRedriven, setInclude] = useState(false);
  const [reason, setReason] = useState("");
  const set = (changed: Partial<LetterFilter>) => setFields({ ...fields, ...changed });
  const group = letter?.origin.group ?? fields.group;
  const body = {
    ...(letter === null ? many(fields) : one(letter)),
    ...(to === "group" ? { group } : {}),
    ...(rate === "" ? {} : { ratePerSecond: Number(rate) }),
    includeRedriven,
    reason: reason.trim(),
  };
  const isReady = reason.trim() !== "" && (letter !== null || fields.topic !== "") &&
    (to === "origin" || group !== "");
  return (
    <PreviewDialog<Job>
      title={letter === null
        ? "Redrive dead letters"
        : `Redrive ${letter.topic} ${letter.partition} / ${letter.offset}`}
      isReady={isReady}
      request={JSON.stringify(body)}
      preview={() => dryRun(PATH, body)}
      show={(job) => <JobPreview job={job} />}
      hasWork={({ total }) => total > 0}
      confirm={({ total }) => `Redrive ${plural(total, "letter")}`}
      action={async () => {
        const { jobId } = await api.post<Job>(PATH, { ...body, dryRun: false });
        tell("The redrive has begun");
        onClose();
        goTo(hrefOf(["replays", jobId]));
      }}
      onClose={onClose}
    >
      {letter === null && (
        <FieldRow>
          <TextField
            label="Topic"
            value={fields.topic}
            onValue={(topic) => set({ topic })}
            required
          />
          <TextField
            label={to === "group" ? "Group" : "Failed in group (optional)"}
            value={fields.group}
            onValue={(group) => set({ group })}
            required={to === "group"}
          />
          <TextField
            label="Code (optional)"
            value={fields.code}
            onValue={(code) => set({ code })}
          />
          <TextField
            label="Reason contains (optional)"
            value={fields.reason}
            onValue={(reason) => set({ reason })}
          />
        </FieldRow>
      )}
      <Select
        label="Send to"
        value={to}
        onValue={setTo}
        options={[
          { value: "origin", label: "Their topic: every group gets them again" },
          {
            value: "group",
            label: `Only ${group === "" ? "the group they failed in" : `group ${group}`}`,
          },
        ]}
      />
      <FieldRow>
        <TextField
          label="Messages a second at most (optional)"
          type="number"
          min={0.1}
          step="any"
          value={rate}
          onValue={setRate}
        />
        <Checkbox
          label="Also those redriven before"
          checked={includeRedriven}
          onChecked={setInclude}
        />
      </FieldRow>
      <ReasonField value={reason} onValue={setReason} />
    </PreviewDialog>
  );
}

function one({ topic, partition, offset }: DeadLetter) {
  return { topic, partition, from: offset, to: offset + 1 };
}

function many({ topic, group, code, reason }: LetterFilter) {
  const given = Object.entries({ group, code, reason }).filter(([, value]) => value !== "");
  return { topic, filter: Object.fromEntries(given) };
}
