// Owns the port of the metadata store: small values under path keys, changed by compare-and-set.
// Refuses to own what the values mean. Served by Deno KV (kv/), etcd (etcd/) and memory (tests).
// Invariant: a transaction happens wholly or not at all, and only if every check still holds.

/** A key as path parts, for example ["topics", "orders"]. At most 1,024 bytes in all. */
export type MetadataKey = readonly string[];

/** Plain JSON data, at most 60,000 bytes as JSON. */
export type MetadataValue = unknown;

export interface MetadataEntry {
  readonly key: MetadataKey;
  readonly value: MetadataValue;
  /** Changes with every write of the key; opaque. */
  readonly version: string;
}

export interface MetadataTransaction {
  /** Every key must still be at this version; null: must not be there. */
  readonly checks: readonly { key: MetadataKey; version: string | null }[];
  readonly sets?: readonly { key: MetadataKey; value: MetadataValue; leaseId?: string }[];
  readonly deletes?: readonly MetadataKey[];
}

/** At most this many checks, sets and deletes in one transaction (Deno KV allows 100 checks and 1,000 mutations). */
export const MAX_TRANSACTION_CHECKS = 100;
export const MAX_TRANSACTION_MUTATIONS = 500;
export const MAX_KEY_BYTES = 1_024;
export const MAX_VALUE_BYTES = 60_000;

export interface MetadataStore {
  get(key: MetadataKey): Promise<MetadataEntry | null>;
  /** Entries below `prefix` in key order, paged inside: no bound on their count is hit by surprise. */
  list(
    prefix: MetadataKey,
    options?: { limit?: number; after?: MetadataKey },
  ): Promise<MetadataEntry[]>;
  /** True when it happened, false when a check failed. */
  commit(transaction: MetadataTransaction): Promise<boolean>;
  /** Calls `onChange` after each change below `prefix` with the keys that changed; at least once a change, until the returned function is called. */
  watch(prefix: MetadataKey, onChange: (keys: MetadataKey[]) => void): () => void;
  /** A lease: keys set with it vanish when it is not renewed for `ttlMs`. Resolves to its id. */
  grantLease(ttlMs: number): Promise<string>;
  /** False when the lease is gone. */
  renewLease(leaseId: string): Promise<boolean>;
  revokeLease(leaseId: string): Promise<void>;
  close(): Promise<void>;
}
