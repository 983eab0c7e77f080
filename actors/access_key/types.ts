// Owns the vocabulary of API keys: what is kept of one, and the port through which the edges use them.
// Refuses to own secrets: they are made and compared at the edge (api/auth/), only their digests come here.
// Invariant: nothing here can be turned back into a key.

/** What is kept of an API key. Times in ms since the epoch. */
export interface AccessKey {
  readonly keyId: string;
  readonly principal: string;
  readonly tenant: string;
  /** SHA-256 of the whole key, as 64 hexadecimal digits. Never shown. */
  readonly digest: string;
  readonly createdAt: number;
  /** Principal that made it. */
  readonly createdBy: string;
  /** From then on it opens nothing; null: never. */
  readonly expiresAt: number | null;
}

export interface NewAccessKey {
  readonly keyId: string;
  readonly principal: string;
  /** Left out: that of the principal's other keys, else `DEFAULT_TENANT`. */
  readonly tenant?: string | undefined;
  readonly digest: string;
  readonly createdBy: string;
  readonly expiresAt: number | null;
}

/** Tenant of those for whom none was named. */
export const DEFAULT_TENANT = "default";

/** The API keys of a cluster. Rejections are BrokerErrors: those named here, METADATA_CONFLICT, OVERLOADED, SHUTTING_DOWN. */
export interface AccessKeys {
  /** Resolves when it is durable. INVALID_REQUEST for another tenant than the principal's, LIMIT_REACHED beyond the bound. */
  create(key: NewAccessKey): Promise<AccessKey>;
  /** Resolves when that is durable; from then on the key opens nothing. NOT_FOUND. */
  delete(keyId: string): Promise<void>;
  /** From memory, without IO; null when there is none. Expired ones are there until they are deleted. */
  find(keyId: string): AccessKey | null;
  /** Tenant of the principal's keys, from memory, without IO; null when it has none. */
  tenantOf(principal: string): string | null;
  /** By principal, then by id. */
  list(): readonly AccessKey[];
  /** Calls back after keys were deleted. */
  onDeleted(listener: () => void): () => void;
}
