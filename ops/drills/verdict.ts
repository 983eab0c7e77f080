// Owns when a drill has passed, and saying why it has not.
// Refuses to own measuring. Pure. Invariant: a figure that is missing is a failure, never a pass.
import type { Findings, RecoveryTargets } from "./types.ts";

/** Why a drill failed, one sentence each; empty when it passed. */
export function failuresOf(findings: Findings, targets: RecoveryTargets): string[] {
  const { messages, rtoMs, rpo, checks } = findings;
  const failures: string[] = [];
  if (messages.acknowledged === 0) failures.push("nothing was acknowledged: it shows nothing");
  if (!(messages.lost === 0)) failures.push(`${messages.lost} acknowledged messages were lost`);
  if (!(messages.unhandled === 0)) {
    failures.push(`${messages.unhandled} acknowledged messages were not handled by the group`);
  }
  if (!(messages.duplicated === 0)) {
    failures.push(`${messages.duplicated} messages were stored twice`);
  }
  if (rtoMs === null) failures.push("it did not recover while the drill waited");
  else if (!(rtoMs <= targets.rtoMs)) {
    failures.push(`it recovered after ${rtoMs} ms, the target is ${targets.rtoMs} ms`);
  }
  if (!(rpo.ms <= targets.rpoMs)) {
    failures.push(`it went back ${rpo.ms} ms before the fault, the target is ${targets.rpoMs} ms`);
  }
  if (!(rpo.messages === 0)) failures.push(`${rpo.messages} messages cannot be had again`);
  for (const { what, isMet, found } of checks) {
    if (!isMet) failures.push(`${what}: ${found}`);
  }
  return failures;
}

/** What is known of a drill that ended early. */
export const NOTHING_FOUND: Findings = Object.freeze({
  messages: Object.freeze({
    acknowledged: 0,
    lost: 0,
    unhandled: 0,
    duplicated: 0,
    redelivered: 0,
  }),
  rtoMs: null,
  rpo: Object.freeze({ ms: 0, messages: 0 }),
  checks: Object.freeze([]),
  measured: Object.freeze({}),
});
