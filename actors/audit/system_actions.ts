// Owns the audit entries of what the broker does by itself.
// Refuses to own doing it.
// Invariant: none of it waits for the audit log: it protects, and must happen also where nothing can be written.
import type { TopicConfig } from "../broker.ts";
import type { CanaryWithdrawal } from "../group/canary/canary_list.ts";
import { CANARY_JUDGE } from "../group/canary/evolve.ts";
import type { AuditLog, AuditPage, AuditResource } from "./types.ts";

/** The part of the broker that makes topics of dead letters. */
const DEAD_LETTERS = "system:dead-letters";

type Ports = {
  report(event: { level: "warning"; message: string; error?: unknown }): void;
};

type OwnAudit = Pick<AuditLog, "record" | "query">;

/** Something that a part of the broker has done. */
export interface OwnAction {
  /** `system:…` */
  readonly actor: string;
  readonly action: string;
  readonly resource: AuditResource;
  readonly after: unknown;
  readonly reason: string | null;
}

/** Records it; rejects as `AuditLog.record`. */
export async function recordOwnAction(audit: OwnAudit, action: OwnAction): Promise<void> {
  await audit.record({
    ...action,
    tenant: null,
    remoteAddress: "local",
    before: null,
    requestId: null,
  });
}

/** Records it soon, and reports where that cannot be. */
function record(audit: OwnAudit, ports: Ports, action: OwnAction): void {
  recordOwnAction(audit, action).catch((error) => {
    const { type, name } = action.resource;
    const message = `${action.action} of ${type} ${name} by ${action.actor} could not be audited`;
    ports.report({ level: "warning", message, error });
  });
}

/** Records that the broker has paused a group. */
export function recordPause(
  audit: OwnAudit,
  ports: Ports,
  { group, pausedBy, reason }: { group: string; pausedBy: string; reason: string },
): void {
  record(audit, ports, {
    actor: pausedBy,
    action: "group.pause",
    resource: { type: "group", name: group },
    after: { paused: { reason } },
    reason,
  });
}

const WITHDRAW = "canary.withdraw";

/** Records that a canary was withdrawn, since it did worse than the rest; told `again`, where that is not there yet. */
export function recordWithdrawal(
  audit: OwnAudit,
  ports: Ports,
  { group, withdrawn, again }: { readonly group: string } & CanaryWithdrawal,
): void {
  const { version, reason, canary, rest, at } = withdrawn;
  const action: OwnAction = {
    actor: CANARY_JUDGE,
    action: WITHDRAW,
    resource: { type: "group", name: group },
    after: { canary: { version, state: "withdrawn", canary, rest } },
    reason,
  };
  if (!again) return record(audit, ports, action);
  isRecorded(audit, { group, from: at }).then((known) => {
    if (!known) record(audit, ports, action);
  }, (error) => {
    const message = `the audit log was not searched for ${WITHDRAW} of group ${group}`;
    ports.report({ level: "warning", message, error });
  });
}

async function isRecorded(
  audit: OwnAudit,
  { group, from }: { group: string; from: number },
): Promise<boolean> {
  let at: number | null = null;
  do {
    const filter = { action: WITHDRAW, resource: `group:${group}`, from };
    const page: AuditPage = await audit.query({ ...filter, order: "oldest", at, limit: 1 });
    if (page.entries.length > 0) return true;
    at = page.next;
  } while (at !== null);
  return false;
}

interface TopicChanges {
  create(spec: { name: string; partitions: number; config: TopicConfig }): Promise<unknown>;
  update(name: string, change: { partitions: number }): Promise<unknown>;
}

/** Changes of topics that hold dead letters, recorded. */
export function auditedDeadLetterTopics(
  changes: TopicChanges,
  audit: OwnAudit,
  ports: Ports,
): TopicChanges {
  const done = (action: string, name: string, after: unknown) =>
    record(audit, ports, {
      actor: DEAD_LETTERS,
      action,
      resource: { type: "topic", name },
      after,
      reason: null,
    });
  return {
    async create(spec) {
      const made = await changes.create(spec);
      done("topic.create", spec.name, { partitions: spec.partitions, ...spec.config });
      return made;
    },
    async update(name, change) {
      const changed = await changes.update(name, change);
      done("topic.alter", name, change);
      return changed;
    },
  };
}
