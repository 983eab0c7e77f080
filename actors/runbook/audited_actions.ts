// Owns the audit entries of what executions of runbooks do.
// Refuses to own doing it, and the entries of those who start, approve and abort executions (the edge's).
// Invariant: none of it waits for the audit log: a repair must happen also where nothing can be written; the journal of the
// runbooks has its intent.
import type { AuditLog } from "../audit/types.ts";
import type { Run } from "./state.ts";

type Report = (event: { level: "warning"; message: string; error?: unknown }) => void;

/** Records how the action at `index` of `run`, or taking it back, has ended; reports where that cannot be. */
export function recordAction(
  audit: Pick<AuditLog, "record">,
  report: Report,
  run: Run,
  index: number,
): void {
  const { executionId, name, target, reason, approvedBy, by } = run;
  const step = run.steps[index]!;
  const isUndone = step.undone !== undefined;
  const outcome = step.state === "failed" ? "failure" : "success";
  audit.record({
    actor: `runbook:${name}`,
    tenant: null,
    remoteAddress: "local",
    action: isUndone ? "runbook.undo" : "runbook.action",
    resource: { type: target.type, name: target.name },
    before: null,
    after: {
      executionId,
      step: step.name,
      detail: step.undone ?? step.detail,
      startedBy: by,
      approvedBy,
    },
    reason,
    requestId: null,
  }, step.error === undefined ? { outcome } : { outcome, code: step.error.code })
    .catch((error) => {
      const message = `step ${step.name} of execution ${executionId} could not be audited`;
      report({ level: "warning", message, error });
    });
}
