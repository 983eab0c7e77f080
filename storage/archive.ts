// Owns the port of the archive: objects under keys, written once, read back whole.
// Refuses to own what is in them and when they are written (archive/).
// Invariant: an object is there whole or not at all, and durable once `put` has resolved.

export interface ArchivedObject {
  readonly key: string;
  readonly sizeBytes: number;
}

/**
 * A store of objects: a directory, or a bucket of an S3-compatible service. Keys are `/`-separated parts of
 * `[A-Za-z0-9._-]`. Every rejection means: not now, ask again.
 */
export interface ArchiveStore {
  /** Puts the object in place, instead of one of that key if there is one. */
  put(key: string, bytes: Uint8Array): Promise<void>;
  /** Null when there is none. */
  get(key: string): Promise<Uint8Array | null>;
  /** A missing object is no error. */
  remove(key: string): Promise<void>;
  /** Objects whose key starts with `prefix`, which ends with `/`, in order of keys. */
  list(prefix: string): Promise<readonly ArchivedObject[]>;
}
