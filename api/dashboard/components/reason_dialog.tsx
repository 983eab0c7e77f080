// Owns dialogs that say what will happen and ask why.
// Refuses to own what happens. Invariant: where a reason is needed, nothing is done without one.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { ActionDialog } from "./dialog.tsx";
import { TextField } from "./fields.tsx";

export interface ReasonDialogProps {
  readonly title: string;
  readonly confirm: string;
  readonly isDangerous?: boolean;
  /** Default true. */
  readonly isReasonNeeded?: boolean;
  /** False: a field of `children` is not good yet. */
  readonly isReady?: boolean;
  /** What will happen, and further fields. */
  readonly children: ComponentChildren;
  /** `reason` is undefined where none was given. */
  readonly action: (reason: string | undefined) => Promise<void>;
  readonly onClose: () => void;
}

export function ReasonDialog(props: ReasonDialogProps) {
  const { isReasonNeeded = true, isReady = true, children, action, ...dialog } = props;
  const [reason, setReason] = useState("");
  const given = reason.trim();
  return (
    <ActionDialog
      {...dialog}
      isReady={isReady && (given !== "" || !isReasonNeeded)}
      action={() => action(given === "" ? undefined : given)}
    >
      {children}
      <ReasonField value={reason} onValue={setReason} isNeeded={isReasonNeeded} />
    </ActionDialog>
  );
}

/** Why, for the audit log. */
export function ReasonField(
  { value, onValue, isNeeded = true }: {
    value: string;
    onValue: (value: string) => void;
    isNeeded?: boolean;
  },
) {
  return (
    <TextField
      label={isNeeded ? "Reason" : "Reason (optional)"}
      hint="It is kept in the audit log with your name."
      value={value}
      onValue={onValue}
      required={isNeeded}
    />
  );
}
