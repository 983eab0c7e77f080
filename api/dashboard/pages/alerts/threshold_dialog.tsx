// Owns the dialog that changes a threshold. Refuses to own judging by it.
// Invariant: every setting is sent, so that none falls back to its default unseen; what changes is told before.
import { useState } from "preact/hooks";
import type { Runbook, Threshold } from "../../answers.ts";
import { pathOf } from "../../api_client.ts";
import { ActionDialog } from "../../components/dialog.tsx";
import { Checkbox, FieldRow, Select, TextField } from "../../components/fields.tsx";
import { Notice } from "../../components/states.tsx";
import { tell } from "../../components/toasts.tsx";
import { useLoaded } from "../../hooks.ts";
import { api } from "../../session.ts";

interface Numbers {
  readonly limit: string;
  readonly forSeconds: string;
  readonly windowSeconds: string;
  readonly clearLimit: string;
  readonly clearForSeconds: string;
  readonly escalateAfterSeconds: string;
}

const FIELDS: readonly {
  readonly name: keyof Numbers;
  readonly label: string;
  readonly hint: string;
}[] = [
  { name: "limit", label: "Limit", hint: "Above it is a breach." },
  { name: "forSeconds", label: "For, seconds", hint: "0: it fires at once." },
  { name: "windowSeconds", label: "Over, seconds", hint: "0: the newest sample alone." },
  { name: "clearLimit", label: "Clear at", hint: "Empty: at the limit." },
  { name: "clearForSeconds", label: "Clear for, seconds", hint: "Then it is resolved." },
  { name: "escalateAfterSeconds", label: "Told again after, seconds", hint: "Empty: never." },
];

const OPTIONAL: readonly (keyof Numbers)[] = ["clearLimit", "escalateAfterSeconds"];

const MAX_RUNBOOKS = 200;

const SEVERITIES = [
  { value: "P1", label: "P1: somebody gets up at night" },
  { value: "P2", label: "P2: today" },
  { value: "P3", label: "P3: this week" },
] as const;

const MODES = [
  { value: "observe", label: "observe: looks and proposes" },
  { value: "approve", label: "approve: acts once approved" },
  { value: "auto", label: "auto: acts" },
] as const;

export function ThresholdDialog(
  { threshold, onClose, onSet }: {
    threshold: Threshold;
    onClose: () => void;
    onSet: () => void;
  },
) {
  const [numbers, setNumbers] = useState<Numbers>(() =>
    Object.fromEntries(
      FIELDS.map(({ name }) => [name, threshold[name] === null ? "" : `${threshold[name]}`]),
    ) as unknown as Numbers
  );
  const [severity, setSeverity] = useState(threshold.severity);
  const [mode, setMode] = useState(threshold.mode);
  const [runbook, setRunbook] = useState(threshold.runbook ?? "");
  const [enabled, setEnabled] = useState(threshold.enabled);
  const runbooks = useLoaded(
    "runbooks",
    (signal) =>
      api.page<Runbook>("/api/runbooks", "runbooks", { query: { limit: MAX_RUNBOOKS }, signal }),
  );
  // What is set already can be kept, whether or not the list could be had.
  const names = new Set([
    ...(threshold.runbook === null ? [] : [threshold.runbook]),
    ...(runbooks.value?.entries ?? []).filter(({ available }) => available).map(({ name }) => name),
  ]);
  const runbookOptions = [
    { value: "", label: "none" },
    ...[...names].sort().map((value) => ({ value, label: value })),
  ];
  const valueOf = (name: keyof Numbers) =>
    numbers[name].trim() === "" ? null : Number(numbers[name]);
  const body = {
    ...Object.fromEntries(FIELDS.map(({ name }) => [name, valueOf(name)])),
    severity,
    mode,
    runbook: runbook === "" ? null : runbook,
    enabled,
  };
  const changes = Object.entries(body)
    .map(([name, after]) => ({ name, before: threshold[name as keyof Threshold], after }))
    .filter(({ before, after }) => before !== after);
  const isWhole = FIELDS.every(({ name }) => OPTIONAL.includes(name) || valueOf(name) !== null);
  return (
    <ActionDialog
      title={`Threshold ${threshold.name}`}
      confirm="Set the threshold"
      isReady={isWhole && changes.length > 0}
      isWide
      onClose={onClose}
      action={async () => {
        await api.put(pathOf("api", "thresholds", threshold.name), body);
        tell(`${threshold.name} is set`);
        onSet();
      }}
    >
      <p>{threshold.describes}</p>
      <FieldRow>
        {FIELDS.map(({ name, label, hint }) => (
          <TextField
            key={name}
            label={name === "limit" ? `Limit, ${threshold.unit}` : label}
            hint={hint}
            type="number"
            min={0}
            step="any"
            value={numbers[name]}
            onValue={(value) => setNumbers({ ...numbers, [name]: value })}
            required={!OPTIONAL.includes(name)}
          />
        ))}
      </FieldRow>
      <FieldRow>
        <Select label="Severity" value={severity} onValue={setSeverity} options={SEVERITIES} />
        <Select label="Runbook" value={runbook} onValue={setRunbook} options={runbookOptions} />
        <Select label="Runbook's mode" value={mode} onValue={setMode} options={MODES} />
      </FieldRow>
      <Checkbox label="On" checked={enabled} onChecked={setEnabled} />
      <div role="status">
        {changes.length === 0 ? <p class="soft">Nothing is changed yet.</p> : (
          <Notice tone="warn">
            <ul class="plain">
              {changes.map(({ name, before, after }) => (
                <li key={name}>{name}: {`${before ?? "none"}`} → {`${after ?? "none"}`}</li>
              ))}
            </ul>
            <p>
              It holds from the next sample on, for alerts that are pending or firing too.
              {!enabled && " Switched off, its alerts end."}
            </p>
          </Notice>
        )}
      </div>
    </ActionDialog>
  );
}
