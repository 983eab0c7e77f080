// Owns the vocabulary of access control lists (ACLs): what one says, and the port through which the edges use them.
// Refuses to own what they add up to for a request (api/auth/authorizer.ts).
// Invariant: an ACL never changes; to change what somebody may do, one is made and another deleted.

export const ACL_RESOURCES = ["topic", "group", "cluster"] as const;
export type AclResource = typeof ACL_RESOURCES[number];

export const ACL_OPERATIONS = [
  "read",
  "write",
  "create",
  "delete",
  "alter",
  "describe",
  "admin",
  "all",
] as const;
export type AclOperation = typeof ACL_OPERATIONS[number];

export const ACL_PATTERN_TYPES = ["literal", "prefix"] as const;
export type AclPatternType = typeof ACL_PATTERN_TYPES[number];

export const ACL_EFFECTS = ["allow", "deny"] as const;
export type AclEffect = typeof ACL_EFFECTS[number];

/** As a principal: everyone who has shown a credential. As a literal pattern: every name but internal ones. */
export const ANY = "*";

/** What an ACL says. Two that say the same are one. */
export interface AclRule {
  /** Name of a principal, or `ANY`. */
  readonly principal: string;
  /** Only those of the principal who belong to this tenant; null: of any. */
  readonly tenant: string | null;
  readonly resource: AclResource;
  /** A name, `ANY`, or with patternType prefix what names begin with. The cluster's is `ANY`. */
  readonly pattern: string;
  readonly patternType: AclPatternType;
  readonly operation: AclOperation;
  readonly effect: AclEffect;
}

/** What is kept of an ACL. Times in ms since the epoch. */
export interface Acl extends AclRule {
  readonly aclId: string;
  readonly createdAt: number;
  /** Principal that made it. */
  readonly createdBy: string;
}

export interface NewAcl extends AclRule {
  readonly aclId: string;
  readonly createdBy: string;
}

/** The ACLs of a cluster. Rejections are BrokerErrors: those named here, METADATA_CONFLICT, OVERLOADED, SHUTTING_DOWN. */
export interface Acls {
  /** Resolves when it is durable, to the one that says the same if there is one. LIMIT_REACHED beyond the bound. */
  create(acl: NewAcl): Promise<Acl>;
  /** Resolves when that is durable. NOT_FOUND. */
  delete(aclId: string): Promise<void>;
  /** From memory, without IO; null when there is none. */
  find(aclId: string): Acl | null;
  /** In no particular order, from memory; the same array until something changes. */
  list(): readonly Acl[];
  /** Calls back after each change, when `list` tells it already. */
  onChanged(listener: () => void): () => void;
}
