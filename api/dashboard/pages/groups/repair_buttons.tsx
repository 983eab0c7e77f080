// Owns the ways from a group to the runbooks that repair groups. Refuses to own executing them (../runbooks/execute_dialog.tsx).
// Invariant: the group is filled in; a runbook that this broker does not have is told, not offered.
import type { Runbook } from "../../answers.ts";
import { Dialog } from "../../components/dialog.tsx";
import { ErrorBox, WhenLoaded } from "../../components/states.tsx";
import { useLoaded } from "../../hooks.ts";
import { api } from "../../session.ts";
import { ExecuteDialog } from "../runbooks/execute_dialog.tsx";

const MAX_RUNBOOKS = 200;

const REPAIRS = [
  { name: "consumer-bug", label: "A bad version: consumer-bug…" },
  { name: "lag-growing", label: "It is too slow: lag-growing…" },
  { name: "mistaken-commit", label: "Wrong offsets: mistaken-commit…" },
] as const;

export function RepairButtons(
  { group, onOpen }: { group: string; onOpen: (runbook: string) => void },
) {
  return (
    <div class="actions repair-buttons" role="group" aria-label={`Repair ${group}`}>
      {REPAIRS.map(({ name, label }) => (
        <button
          key={name}
          type="button"
          class="button"
          onClick={() => onOpen(name)}
        >
          {label}
        </button>
      ))}
    </div>
  );
}

/** Runbooks are asked for when one is wanted: not everybody who sees groups may see them. */
export function RepairDialog(
  { name, group, onClose }: { name: string; group: string; onClose: () => void },
) {
  const runbooks = useLoaded(
    "runbooks",
    (signal) =>
      api.page<Runbook>("/api/runbooks", "runbooks", { query: { limit: MAX_RUNBOOKS }, signal }),
  );
  const runbook = runbooks.value?.entries.find((one) => one.name === name && one.available);
  if (runbook !== undefined) {
    return <ExecuteDialog runbook={runbook} group={group} onClose={onClose} />;
  }
  return (
    <Dialog title={`Execute ${name}`} onClose={onClose}>
      <WhenLoaded loaded={runbooks}>
        {() => <ErrorBox text={`This broker cannot execute ${name}.`} />}
      </WhenLoaded>
      <div class="dialog-actions">
        <button type="button" class="button" onClick={onClose}>Close</button>
      </div>
    </Dialog>
  );
}
