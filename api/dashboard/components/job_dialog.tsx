// Owns the dialog that begins a replay or a redrive: its dry run, its reason and its pace, and where the user goes then.
// Refuses to own what the job is asked to do, and the two steps themselves (preview_dialog.tsx).
// Invariant: the count that is confirmed is a dry run's of the same request.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Job } from "../answers.ts";
import { goTo } from "../hooks.ts";
import { dryRun } from "../jobs.ts";
import { hrefOf } from "../router.ts";
import { api } from "../session.ts";
import { TextField } from "./fields.tsx";
import { JobPreview } from "./job_preview.tsx";
import { PreviewDialog } from "./preview_dialog.tsx";
import { ReasonField } from "./reason_dialog.tsx";
import { tell } from "./toasts.tsx";

export interface JobDialogProps {
  readonly title: string;
  /** Where the job is posted. */
  readonly path: string;
  /** What is asked for, but for the reason. */
  readonly request: object;
  /** False: something of the request is missing. */
  readonly isReady: boolean;
  /** What the button that begins it says, of so many messages. */
  readonly confirm: (total: number) => string;
  /** What is said when it has begun. */
  readonly begun: string;
  readonly onClose: () => void;
  /** The fields, but for the reason. */
  readonly children: ComponentChildren;
}

export function JobDialog(props: JobDialogProps) {
  const { title, path, request, isReady, confirm, begun, onClose, children } = props;
  const [reason, setReason] = useState("");
  const given = reason.trim();
  const body = { ...request, reason: given };
  return (
    <PreviewDialog<Job>
      title={title}
      isReady={isReady && given !== ""}
      request={JSON.stringify(body)}
      preview={() => dryRun(path, body)}
      show={(job) => <JobPreview job={job} />}
      hasWork={({ total }) => total > 0}
      confirm={({ total }) => confirm(total)}
      action={async () => {
        const { jobId } = await api.post<Job>(path, { ...body, dryRun: false });
        tell(begun);
        onClose();
        goTo(hrefOf(["replays", jobId]));
      }}
      onClose={onClose}
    >
      {children}
      <ReasonField value={reason} onValue={setReason} />
    </PreviewDialog>
  );
}

/** How fast the job may go; empty: as fast as it goes. */
export function RateField(
  { value, onValue }: { value: string; onValue: (value: string) => void },
) {
  return (
    <TextField
      label="Messages a second at most (optional)"
      type="number"
      min={0.1}
      step="any"
      value={value}
      onValue={onValue}
    />
  );
}

/** What a request says of the text of a RateField. */
export function rateOf(text: string): { readonly ratePerSecond?: number } {
  return text === "" ? {} : { ratePerSecond: Number(text) };
}
