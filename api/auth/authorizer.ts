// Owns saying whether a request may do what it asks: from memory, at once.
// Refuses to own what ACLs add up to (permissions.ts) and what a route needs (access_table.ts).
// Invariant: an answer is that of the ACLs as they are now, and what one may not see is refused as if it were not there.
import {
  type Acl,
  type AclOperation,
  type AclResource,
  type Acls,
  ANY,
} from "../../actors/acl/types.ts";
import { unknownGroup } from "../../actors/group/unknown_group.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import { unknownTopic } from "../../actors/topic/unknown_topic.ts";
import { type Access, ANONYMOUS } from "./access.ts";
import { type Permissions, permits, PrincipalPermissions } from "./permissions.ts";

/** Names of a kind that are remembered for one credential, and in all; when there are more, remembering begins anew. */
const MAX_NAMES_PER_ACCESS = 10_000;
const MAX_NAMES = 100_000;
/** Principals whose ACLs are sorted out ahead; when there are more, that begins anew. */
const MAX_PRINCIPALS = 5_000;

/** The cluster's name where a need speaks of it. */
export const CLUSTER = ANY;

/** One thing that a request has to be allowed. */
export interface Need {
  readonly operation: AclOperation;
  readonly resource: AclResource;
  /** Of the topic or group; `CLUSTER` for the cluster. */
  readonly name: string;
}

/** Who may do what. Everything is synchronous and without IO. */
export interface Authorizer {
  /** Whether ACLs allow it. Administrators may do everything. */
  allows(access: Access, operation: AclOperation, resource: AclResource, name: string): boolean;
  /**
   * Throws unless it is allowed: UNKNOWN_TOPIC or UNKNOWN_GROUP, exactly as if there were none of that name, where the
   * caller may not even see it, else FORBIDDEN.
   */
  require(access: Access, need: Need): void;
  /** Whether it exists for the caller, if it does at all: `describe`, which read, write, alter and delete imply. */
  sees(access: Access, resource: AclResource, name: string): boolean;
  /** Whether the caller may do everything: the administrator, or by an ACL `admin` on the cluster. */
  isAdministrator(access: Access): boolean;
  /** Calls back after each change of the ACLs, until the returned function is called. */
  onChanged(listener: () => void): () => void;
}

export class AclAuthorizer implements Authorizer {
  /** By credential, so that what is remembered goes with it. */
  #known = new WeakMap<Access, Known>();
  #names = 0;
  readonly #principals = new Map<string, PrincipalPermissions>();
  /** ACLs by the principal that they name; null until they are asked for. */
  #byPrincipal: ReadonlyMap<string, readonly Acl[]> | null = null;

  constructor(private readonly acls: Pick<Acls, "list" | "onChanged">) {
    acls.onChanged(() => this.#forget());
  }

  allows(access: Access, operation: AclOperation, resource: AclResource, name: string): boolean {
    return access.isAdministrator || permits(this.#permissions(access, resource, name), operation);
  }

  require(access: Access, need: Need): void {
    const { operation, resource, name } = need;
    if (this.allows(access, operation, resource, name)) return;
    // There is nothing to hide of what is yet to be made, nor of the cluster.
    const isHidden = operation !== "create" && resource !== "cluster" &&
      !this.sees(access, resource, name);
    if (isHidden) throw resource === "topic" ? unknownTopic(name) : unknownGroup(name);
    throw forbidden(need, this.#principal(access).denies(operation, resource, name));
  }

  sees(access: Access, resource: AclResource, name: string): boolean {
    return this.allows(access, "describe", resource, name);
  }

  isAdministrator(access: Access): boolean {
    return this.allows(access, "admin", "cluster", CLUSTER);
  }

  onChanged(listener: () => void): () => void {
    return this.acls.onChanged(listener);
  }

  #permissions(access: Access, resource: AclResource, name: string): Permissions {
    const found = this.#known.get(access)?.[resource].get(name);
    if (found !== undefined) return found;
    const permissions = this.#principal(access).on(resource, name);
    if (this.#names >= MAX_NAMES) {
      this.#known = new WeakMap();
      this.#names = 0;
    }
    let known = this.#known.get(access);
    if (known === undefined) this.#known.set(access, known = nothingKnown());
    if (known[resource].size >= MAX_NAMES_PER_ACCESS) known[resource].clear();
    known[resource].set(name, permissions);
    this.#names++;
    return permissions;
  }

  #principal(access: Access): PrincipalPermissions {
    const { principal, tenant } = access;
    // Neither has spaces.
    const key = `${principal} ${tenant}`;
    let permissions = this.#principals.get(key);
    if (permissions === undefined) {
      if (this.#principals.size >= MAX_PRINCIPALS) this.#principals.clear();
      const named = this.#byPrincipal ??= Map.groupBy(this.acls.list(), (acl) => acl.principal);
      // `*` is everyone who has shown a credential.
      const all = access === ANONYMOUS ? [] : named.get(ANY) ?? [];
      const acls = [...named.get(principal) ?? [], ...all];
      permissions = new PrincipalPermissions(acls, access);
      this.#principals.set(key, permissions);
    }
    return permissions;
  }

  #forget(): void {
    this.#known = new WeakMap();
    this.#names = 0;
    this.#principals.clear();
    this.#byPrincipal = null;
  }
}

/** By name. */
type Known = Readonly<Record<AclResource, Map<string, Permissions>>>;

function nothingKnown(): Known {
  return { topic: new Map(), group: new Map(), cluster: new Map() };
}

function forbidden({ operation, resource, name }: Need, isDenied: boolean): BrokerError {
  const target = resource === "cluster" ? "the cluster" : `${resource} ${name}`;
  const why = isDenied ? "an ACL denies" : "no ACL allows";
  return new BrokerError("FORBIDDEN", `${why} ${operation} on ${target}`, {
    operation,
    resource,
    ...(resource === "cluster" ? {} : { name }),
  });
}
