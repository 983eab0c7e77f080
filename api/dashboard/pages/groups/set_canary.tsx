// Owns the dialog that puts a version of a group's consumers on trial.
// Refuses to own what a canary does. Invariant: what is set is what was looked at in a dry run.
import { useState } from "preact/hooks";
import type { CanaryChange, Group } from "../../answers.ts";
import { pathOf } from "../../api_client.ts";
import { FieldRow, TextField } from "../../components/fields.tsx";
import { PreviewDialog } from "../../components/preview_dialog.tsx";
import { ReasonField } from "../../components/reason_dialog.tsx";
import { Notice } from "../../components/states.tsx";
import { tell } from "../../components/toasts.tsx";
import { plural } from "../../format.ts";
import { partitionsText } from "../../partition_text.ts";
import { api } from "../../session.ts";

export function SetCanary(
  { group, onClose, onSet }: { group: Group; onClose: () => void; onSet: () => void },
) {
  const { canary, groupId } = group;
  const versions = [...new Set(group.members.map(({ version }) => version))]
    .filter((version) => version !== null);
  const [version, setVersion] = useState(canary?.version ?? "");
  const [share, setShare] = useState(`${canary?.percent ?? 10}`);
  const [windowSeconds, setWindow] = useState(canary === null ? "" : `${canary.windowSeconds}`);
  const [minObservations, setMin] = useState(canary === null ? "" : `${canary.minObservations}`);
  const [reason, setReason] = useState("");
  const percent = Number(share);
  const isShare = share.trim() !== "" && percent >= 0 && percent <= 100;
  const rules = canary === null ? {} : {
    factor: canary.factor,
    margin: canary.margin,
    maxLostSessions: canary.maxLostSessions,
  };
  const body = {
    version: version.trim(),
    percent,
    ...rules,
    ...(windowSeconds === "" ? {} : { windowSeconds: Number(windowSeconds) }),
    ...(minObservations === "" ? {} : { minObservations: Number(minObservations) }),
    ...(reason.trim() === "" ? {} : { reason: reason.trim() }),
  };
  const ask = (dryRun: boolean) =>
    api.put<CanaryChange>(`${pathOf("api", "groups", groupId)}/canary`, { ...body, dryRun });
  return (
    <PreviewDialog<CanaryChange>
      title={`Canary of ${groupId}`}
      isReady={version.trim() !== "" && isShare}
      request={JSON.stringify(body)}
      preview={() => ask(true)}
      show={(change) => <WouldChange change={change} />}
      confirm={() => "Set the canary"}
      action={async () => {
        const { version, percent } = await ask(false);
        tell(`${version} has ${percent}% on trial`);
        onSet();
      }}
      onClose={onClose}
    >
      <FieldRow>
        <TextField
          label="Version"
          hint={versions.length === 0
            ? "No member has said its version."
            : `Members say: ${versions.join(", ")}`}
          value={version}
          onValue={setVersion}
          required
        />
        <TextField
          label="Share of the partitions, %"
          type="number"
          min={0}
          max={100}
          step="any"
          value={share}
          onValue={setShare}
          required
        />
      </FieldRow>
      <FieldRow>
        <TextField
          label="Compared over, seconds (optional)"
          type="number"
          min={1}
          value={windowSeconds}
          onValue={setWindow}
        />
        <TextField
          label="Messages needed on each side (optional)"
          type="number"
          min={1}
          value={minObservations}
          onValue={setMin}
        />
      </FieldRow>
      <ReasonField value={reason} onValue={setReason} isNeeded={false} />
    </PreviewDialog>
  );
}

function WouldChange({ change }: { change: CanaryChange }) {
  const { version, partitions, ofPartitions, members, moved, note } = change;
  return (
    <>
      <Notice tone={note === null ? "info" : "warn"}>
        <p>
          {plural(members, "member")} of version {version} would have {partitions.length} of{" "}
          {plural(ofPartitions, "partition")}
          {partitions.length > 0 && ` (${partitionsText(partitions)})`};{" "}
          {plural(moved.length, "partition")} would change hands.
        </p>
        {note !== null && <p>{note}</p>}
      </Notice>
    </>
  );
}
