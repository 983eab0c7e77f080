// Owns the dialog that executes a runbook. Refuses to own executing it.
// Invariant: it says what the mode means before anything is started.
import { useState } from "preact/hooks";
import type { Execution, Runbook } from "../../answers.ts";
import { pathOf } from "../../api_client.ts";
import { FieldRow, Select, TextField } from "../../components/fields.tsx";
import { ReasonDialog } from "../../components/reason_dialog.tsx";
import { tell } from "../../components/toasts.tsx";
import { goTo } from "../../hooks.ts";
import { hrefOf } from "../../router.ts";
import { api } from "../../session.ts";
import { isTimeName } from "./facts.ts";

type Mode = Execution["mode"];
type Kind = Execution["target"]["type"];

const MODES: readonly { readonly value: Mode; readonly label: string }[] = [
  { value: "observe", label: "observe: only look, and say what it would do" },
  { value: "approve", label: "approve: look, then wait for approval" },
  { value: "auto", label: "auto: act at once" },
];

const SAYS: Readonly<Record<Mode, string>> = {
  observe: "Nothing is changed: its checks run, and the other steps say what they would do.",
  approve: "Its checks run; before the first action it waits until somebody approves.",
  auto:
    "Its checks run, and then its actions, without asking. Steps of approval wait all the same.",
};

/** What the field itself takes care of. */
const UNITS = /, ms( or RFC 3339)?(?=[:.])/;

const NAMES: Readonly<Record<Kind, string | null>> = {
  group: "Group",
  topic: "Topic",
  partition: "Partition (topic/number)",
  tenant: "Tenant",
  broker: "Node (optional)",
  none: null,
};

export function ExecuteDialog(
  { runbook, group, onClose }: {
    runbook: Runbook;
    /** What is to be repaired, where that is known. */
    group: string | undefined;
    onClose: () => void;
  },
) {
  const isForGroup = group !== undefined && runbook.targetKinds.includes("group");
  const [kind, setKind] = useState<Kind>(isForGroup ? "group" : runbook.targetKinds[0] ?? "none");
  const [name, setName] = useState(isForGroup ? group : "");
  const [mode, setMode] = useState<Mode>("observe");
  const [given, setGiven] = useState<Readonly<Record<string, string>>>({});
  const label = NAMES[kind];
  const isNamed = label === null || kind === "broker" || name.trim() !== "";
  const hasAll = runbook.parameters.every((one) => !one.required || (given[one.name] ?? "") !== "");
  return (
    <ReasonDialog
      title={`Execute ${runbook.name}`}
      confirm={mode === "auto" ? "Execute and act" : "Execute"}
      isDangerous={mode === "auto"}
      isReady={isNamed && hasAll}
      onClose={onClose}
      action={async (reason) => {
        const parameters = Object.fromEntries(
          Object.entries(given).filter(([, value]) => value !== "")
            .map(([name, value]) => [name, isTimeName(name) ? `${Date.parse(value)}` : value]),
        );
        const { executionId } = await api.post<Execution>(
          `${pathOf("api", "runbooks", runbook.name)}:execute`,
          { target: { type: kind, name: name.trim() }, mode, reason, parameters },
        );
        tell(`${runbook.name} has begun`);
        onClose();
        goTo(hrefOf(["runbooks", executionId]));
      }}
    >
      <p>{runbook.describes}</p>
      <FieldRow>
        {runbook.targetKinds.length > 1 && (
          <Select
            label="Target"
            value={kind}
            onValue={setKind}
            options={runbook.targetKinds.map((value) => ({ value, label: value }))}
          />
        )}
        {label !== null && (
          <TextField
            label={label}
            value={name}
            onValue={setName}
            required={kind !== "broker"}
          />
        )}
      </FieldRow>
      <Select label="Mode" value={mode} onValue={setMode} options={MODES} hint={SAYS[mode]} />
      {runbook.parameters.map((one) => (
        <TextField
          key={one.name}
          label={one.required ? one.name : `${one.name} (optional)`}
          hint={isTimeName(one.name)
            ? `${one.describes.replace(UNITS, "")} In this browser's time zone.`
            : one.describes}
          {...isTimeName(one.name) ? { type: "datetime-local", step: 1 } : {}}
          value={given[one.name] ?? ""}
          onValue={(value) => setGiven({ ...given, [one.name]: value })}
          required={one.required}
        />
      ))}
    </ReasonDialog>
  );
}
