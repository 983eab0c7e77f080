// Owns what a change of the ACLs means: which is refused, and what happened.
// Refuses to own where they are kept (acls.ts). Pure.
// Invariant: no two ACLs say the same, and there are never more than `maxAcls`.
import { BrokerError } from "../../storage/broker_error.ts";
import type { EntryChange } from "../runtime/kept_entries.ts";
import type { Acl, AclRule, NewAcl } from "./types.ts";

export type AclCommand =
  | { readonly type: "CreateAcl"; readonly acl: NewAcl; readonly at: number }
  | { readonly type: "DeleteAcl"; readonly aclId: string };

export type AclEvent =
  | { readonly type: "AclCreated"; readonly acl: Acl }
  /** One that says the same was there. */
  | { readonly type: "AclFound"; readonly acl: Acl }
  | { readonly type: "AclDeleted"; readonly acl: Acl };

/** ACLs by id. */
export type AclState = ReadonlyMap<string, Acl>;

/** What happens. Throws LIMIT_REACHED, NOT_FOUND. */
export function decideAcls(
  state: AclState,
  command: AclCommand,
  { maxAcls }: { readonly maxAcls: number },
): AclEvent {
  if (command.type === "DeleteAcl") {
    const acl = state.get(command.aclId);
    if (acl !== undefined) return { type: "AclDeleted", acl };
    throw new BrokerError("NOT_FOUND", `there is no ACL with id ${command.aclId}`);
  }
  const { acl: { aclId, createdBy, ...rule }, at } = command;
  for (const acl of state.values()) {
    if (isSameRule(acl, rule)) return { type: "AclFound", acl };
  }
  if (state.size >= maxAcls) {
    throw new BrokerError("LIMIT_REACHED", `there are ${maxAcls} ACLs: delete some first`);
  }
  return { type: "AclCreated", acl: { aclId, ...ruleOf(rule), createdAt: at, createdBy } };
}

/** What `event` makes of the set. */
export function changeOfAcls(event: AclEvent): EntryChange<Acl> | null {
  if (event.type === "AclFound") return null;
  const { acl } = event;
  return { id: acl.aclId, entry: event.type === "AclCreated" ? acl : null };
}

function isSameRule(a: AclRule, b: AclRule): boolean {
  return a.principal === b.principal && a.tenant === b.tenant && a.resource === b.resource &&
    a.pattern === b.pattern && a.patternType === b.patternType && a.operation === b.operation &&
    a.effect === b.effect;
}

function ruleOf(rule: AclRule): AclRule {
  const { principal, tenant, resource, pattern, patternType, operation, effect } = rule;
  return { principal, tenant, resource, pattern, patternType, operation, effect };
}
