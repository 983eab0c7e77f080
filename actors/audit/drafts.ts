// Owns what becomes an entry: the outcome of an intent, and what the log says of itself.
// Refuses to own chaining and writing (chain.ts, chain_writer.ts). Pure.
// Invariant: an outcome repeats who and from where of its intent, so that each entry can be found by itself.
import type { AuditDraft } from "./chain.ts";
import type { AuditEntry, AuditFacts, AuditHead, AuditResult } from "./types.ts";

/** The internal topic that holds the log. */
export const AUDIT_TOPIC = "__audit";

/** Of what the audit log says of itself. */
export const OWN_FACTS: AuditFacts = Object.freeze({
  actor: "system:audit",
  tenant: null,
  remoteAddress: "local",
  action: "",
  resource: Object.freeze({ type: "audit", name: AUDIT_TOPIC }),
  before: null,
  after: null,
  reason: null,
  requestId: null,
});

/** How `intended` ended. A failure has become nothing, unless it says so. */
export function outcomeOf(intended: AuditEntry, result: AuditResult): AuditDraft {
  const { outcome, code = null } = result;
  const became = outcome === "success" ? intended.after : null;
  const facts = {
    ...intended,
    action: result.action ?? intended.action,
    resource: result.resource === undefined ? intended.resource : result.resource,
    before: result.before === undefined ? intended.before : result.before,
    after: result.after === undefined ? became : result.after,
  };
  return { facts, outcome, code, intent: intended.sequence };
}

/** The end of `intended`, whose broker died before it could tell. */
export function unknownOutcome(intended: AuditEntry): AuditDraft {
  return { facts: intended, outcome: "unknown", code: null, intent: intended.sequence };
}

/** That the log does not hold what was written; the chain goes on after `head`. */
export function brokenNote({ sequence, hash }: AuditHead, reason: string): AuditDraft {
  const facts = { ...OWN_FACTS, action: "audit.broken", after: { sequence, hash }, reason };
  return { facts, outcome: "failure", code: "CORRUPT_LOG", intent: null };
}
