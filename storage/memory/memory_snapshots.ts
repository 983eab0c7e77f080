// Owns snapshots in memory, for tests and simulation.
// Refuses to survive its process.
// Invariant: what is loaded shares no bytes with what was saved.
import { checkPathName } from "../path_name.ts";
import type { Snapshot, SnapshotStore } from "../snapshots.ts";

/** Snapshots in memory. */
export class MemorySnapshotStore implements SnapshotStore {
  readonly #snapshots = new Map<string, Snapshot>();

  // deno-lint-ignore require-await -- the port is asynchronous, and so are its errors
  async load(id: string): Promise<Snapshot | null> {
    checkPathName(id);
    const snapshot = this.#snapshots.get(id);
    return snapshot === undefined ? null : copied(snapshot);
  }

  // deno-lint-ignore require-await -- see load
  async save(id: string, snapshot: Snapshot): Promise<void> {
    checkPathName(id);
    this.#snapshots.set(id, copied(snapshot));
  }

  // deno-lint-ignore require-await -- see load
  async remove(id: string): Promise<void> {
    checkPathName(id);
    this.#snapshots.delete(id);
  }
}

function copied({ version, nextOffset, bytes }: Snapshot): Snapshot {
  return { version, nextOffset, bytes: bytes.slice() };
}
