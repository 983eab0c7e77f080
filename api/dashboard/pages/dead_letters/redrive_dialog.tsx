// Owns what the dialog that sends dead letters back asks for: one, or all that match.
// Refuses to own how a job begins (../../components/job_dialog.tsx).
// Invariant: a letter that was picked is redriven alone, whatever the filter says.
import { useState } from "preact/hooks";
import type { DeadLetter } from "../../answers.ts";
import { Checkbox, FieldRow, Select, TextField } from "../../components/fields.tsx";
import { JobDialog, RateField, rateOf } from "../../components/job_dialog.tsx";
import { plural } from "../../format.ts";
import { useFields } from "../../hooks.ts";

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
  const { fields, field } = useFields(filter);
  const [to, setTo] = useState<"origin" | "group">("origin");
  const [rate, setRate] = useState("");
  const [includeRedriven, setInclude] = useState(false);
  const group = letter?.origin.group ?? fields.group;
  const request = {
    ...(letter === null ? many(fields) : one(letter)),
    ...(to === "group" ? { group } : {}),
    ...rateOf(rate),
    includeRedriven,
  };
  const isReady = (letter !== null || fields.topic !== "") && (to === "origin" || group !== "");
  return (
    <JobDialog
      title={letter === null
        ? "Redrive dead letters"
        : `Redrive ${letter.topic} ${letter.partition} / ${letter.offset}`}
      path="/api/dlq:redrive"
      request={request}
      isReady={isReady}
      confirm={(total) => `Redrive ${plural(total, "letter")}`}
      begun="The redrive has begun"
      onClose={onClose}
    >
      {letter === null && (
        <FieldRow>
          <TextField label="Topic" {...field("topic")} required />
          <TextField
            label={to === "group" ? "Group" : "Failed in group (optional)"}
            {...field("group")}
            required={to === "group"}
          />
          <TextField label="Code (optional)" {...field("code")} />
          <TextField label="Reason contains (optional)" {...field("reason")} />
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
        <RateField value={rate} onValue={setRate} />
        <Checkbox
          label="Also those redriven before"
          checked={includeRedriven}
          onChecked={setInclude}
        />
      </FieldRow>
    </JobDialog>
  );
}

function one({ topic, partition, offset }: DeadLetter) {
  return { topic, partition, from: offset, to: offset + 1 };
}

function many({ topic, group, code, reason }: LetterFilter) {
  const given = Object.entries({ group, code, reason }).filter(([, value]) => value !== "");
  return { topic, filter: Object.fromEntries(given) };
}
