// Owns the port for snapshots: a disposable cache of folded state, by actor id.
// Refuses to be a source of truth: deleting every snapshot costs time, never data.
// Invariant: a snapshot that cannot be read whole, with its checksum, is as good as none.

export interface Snapshot {
  /** Schema of `bytes`; an unknown version is as good as none. */
  readonly version: number;
  /** Journal offset of the first event that is not folded in. */
  readonly nextOffset: number;
  readonly bytes: Uint8Array;
}

export interface SnapshotStore {
  /** Null when there is none or it does not verify. Ids are `/`-separated parts of `[A-Za-z0-9_-]`. */
  load(id: string): Promise<Snapshot | null>;
  /** Replaces the snapshot atomically. */
  save(id: string, snapshot: Snapshot): Promise<void>;
  remove(id: string): Promise<void>;
}
