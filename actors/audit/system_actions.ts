// Owns the audit entries of what the broker does by itself.
// Refuses to own doing it.
// Invariant: none of it waits for the audit log: it protects, and must happen also where nothing can be written.
import type { AuditLog } from "./types.ts";

/** Records that the broker has paused a group. */
export function recordPause(
  audit: AuditLog,
  ports: { report(event: { level: "warning"; message: string; error?: unknown }): void },
  { group, pausedBy, reason }: { group: string; pausedBy: string; reason: string },
): void {
  audit.record({
    actor: pausedBy,
    tenant: null,
    remoteAddress: "local",
    action: "group.pause",
    resource: { type: "group", name: group },
    before: null,
    after: { paused: { reason } },
    reason,
    requestId: null,
  }).catch((error) => {
    ports.report({
      level: "warning",
      message: `the pause of ${group} could not be audited`,
      error,
    });
  });
}
