// Owns what ACLs add up to: which operations a principal of a tenant may do on a name.
// Refuses to own where ACLs come from (actors/acl/), remembering answers and refusing (authorizer.ts). Pure.
// Invariant: deny wins, and what no ACL allows is not allowed.
import {
  type Acl,
  ACL_OPERATIONS,
  type AclOperation,
  type AclResource,
  ANY,
} from "../../actors/acl/types.ts";
import { isInternalName } from "../fields.ts";

/** Operations as bits of one number. */
export type Permissions = number;

export const NO_PERMISSIONS: Permissions = 0;

const BIT = Object.fromEntries(
  ACL_OPERATIONS.map((operation, index) => [operation, 1 << index]),
) as Readonly<Record<AclOperation, number>>;
const EVERYTHING: Permissions = (1 << ACL_OPERATIONS.length) - 1;
/** Whoever may do one of these sees what it is done to. */
const IMPLIES_DESCRIBE = BIT.read | BIT.write | BIT.alter | BIT.delete;

/** Whether `operation` is among `permissions`. */
export function permits(permissions: Permissions, operation: AclOperation): boolean {
  return (permissions & BIT[operation]) !== 0;
}

interface Said {
  allowed: Permissions;
  denied: Permissions;
}

/** ACLs on one kind of resource, found by name: literals by look-up, prefixes by their length. */
interface Patterns {
  readonly any: Said;
  readonly literals: Map<string, Said>;
  /** Prefixes by length, so that a name is looked up once a length and not once an ACL. */
  readonly prefixes: Map<number, Map<string, Said>>;
}

/** What ACLs say of one principal. */
export class PrincipalPermissions {
  readonly #patterns: Readonly<Record<AclResource, Patterns>> = {
    topic: newPatterns(),
    group: newPatterns(),
    cluster: newPatterns(),
  };
  /** May do everything: `admin` on the cluster. */
  readonly isAdministrator: boolean;

  /** `acls` may hold those of others. */
  constructor(acls: readonly Acl[], who: { readonly principal: string; readonly tenant: string }) {
    for (const acl of acls) {
      if (acl.principal !== who.principal && acl.principal !== ANY) continue;
      if (acl.tenant !== null && acl.tenant !== who.tenant) continue;
      const said = saidOf(this.#patterns[acl.resource], acl);
      // On a topic or group, whoever administers it may do all to it.
      const operations = acl.operation === "all" || acl.operation === "admin"
        ? EVERYTHING
        : BIT[acl.operation];
      const isClusterAdmin = acl.resource === "cluster" && acl.operation === "admin";
      const bits = isClusterAdmin && acl.effect === "deny" ? BIT.admin : operations;
      if (acl.effect === "allow") said.allowed |= bits;
      else said.denied |= bits;
    }
    this.isAdministrator = permits(this.#ofCluster(), "admin");
  }

  /** What the principal may do to what is called `name`. */
  on(resource: AclResource, name: string): Permissions {
    if (this.isAdministrator) return EVERYTHING;
    if (resource === "cluster") return this.#ofCluster();
    // The broker's own belong to nobody else, whatever an ACL's pattern says.
    if (isInternalName(name)) return NO_PERMISSIONS;
    return addedUp(this.#said(resource, name));
  }

  /** Whether an ACL denies it, so that one more that allows it would be no use. */
  denies(operation: AclOperation, resource: AclResource, name: string): boolean {
    return permits(this.#said(resource, name).denied, operation);
  }

  #ofCluster(): Permissions {
    return addedUp(this.#patterns.cluster.any);
  }

  #said(resource: AclResource, name: string): Said {
    if (resource === "cluster") return this.#patterns.cluster.any;
    const said = gathered(this.#patterns[resource], name);
    if (resource === "topic") {
      const { any } = this.#patterns.cluster;
      said.allowed |= any.allowed & BIT.create;
      said.denied |= any.denied & BIT.create;
    }
    return said;
  }
}

function newPatterns(): Patterns {
  return { any: nothingSaid(), literals: new Map(), prefixes: new Map() };
}

function nothingSaid(): Said {
  return { allowed: NO_PERMISSIONS, denied: NO_PERMISSIONS };
}

/** Where what `acl` says is noted down. */
function saidOf(patterns: Patterns, { pattern, patternType }: Acl): Said {
  if (patternType === "literal" && pattern === ANY) return patterns.any;
  if (patternType === "literal") return entryOf(patterns.literals, pattern, nothingSaid);
  const ofLength = entryOf(patterns.prefixes, pattern.length, () => new Map<string, Said>());
  return entryOf(ofLength, pattern, nothingSaid);
}

function entryOf<Key, Value>(map: Map<Key, Value>, key: Key, make: () => Value): Value {
  let value = map.get(key);
  if (value === undefined) map.set(key, value = make());
  return value;
}

function gathered({ any, literals, prefixes }: Patterns, name: string): Said {
  const said = { ...any };
  add(said, literals.get(name));
  for (const [length, ofLength] of prefixes) add(said, ofLength.get(name.slice(0, length)));
  return said;
}

function add(said: Said, more: Said | undefined): void {
  if (more === undefined) return;
  said.allowed |= more.allowed;
  said.denied |= more.denied;
}

function addedUp({ allowed, denied }: Said): Permissions {
  // What may not even be seen can have nothing done to it, but be made anew.
  if ((denied & BIT.describe) !== 0) return allowed & ~denied & BIT.create;
  const left = allowed & ~denied;
  return (left & IMPLIES_DESCRIBE) === 0 ? left : left | BIT.describe;
}
