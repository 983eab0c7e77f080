// Owns fetching archived objects: checked against what the index says of them, and the last ones kept in memory.
// Refuses to own which object holds what (archive_index.ts).
// Invariant: no byte is handed out that did not pass the object's checksum when it was fetched; what is kept stays within
// the budget, but for the object that was fetched last.
import type { ArchiveStore } from "../archive.ts";
import { BrokerError } from "../broker_error.ts";
import type { Crc32c } from "../ports.ts";
import { corruptLog } from "../file_log/log_faults.ts";
import { type ArchiveEntry, objectKey } from "./object_key.ts";

/** Default for fetched objects in memory, over all logs. */
export const DEFAULT_ARCHIVE_CACHE_BYTES = 64 * 1024 * 1024;
/** What does not match may have been changed on its way here: it is asked for once more. */
const MAX_FETCHES = 2;

export class ArchivedObjects {
  /** Least recently used first. */
  readonly #kept = new Map<string, Uint8Array>();
  readonly #fetching = new Map<string, Promise<Uint8Array>>();
  #keptBytes = 0;

  constructor(
    private readonly store: ArchiveStore,
    private readonly crc32c: Crc32c,
    private readonly maxBytes: number = DEFAULT_ARCHIVE_CACHE_BYTES,
  ) {}

  get keptBytes(): number {
    return this.#keptBytes;
  }

  /**
   * The object's batches. Never write to them. ARCHIVE_UNAVAILABLE when the store does not answer or does not have it,
   * CORRUPT_LOG when it answers with something else than what was put there.
   */
  async get(log: string, entry: ArchiveEntry): Promise<Uint8Array> {
    const key = objectKey(log, entry);
    const kept = this.#kept.get(key);
    if (kept !== undefined) {
      this.#kept.delete(key);
      this.#kept.set(key, kept);
      return kept;
    }
    const fetching = this.#fetching.get(key) ?? this.#fetchAndKeep(log, entry);
    this.#fetching.set(key, fetching);
    return await fetching;
  }

  /** Nothing of the log is needed any more. */
  forget(log: string): void {
    for (const key of this.#kept.keys()) {
      if (key.startsWith(`${log}/`)) this.#drop(key);
    }
  }

  async #fetchAndKeep(log: string, entry: ArchiveEntry): Promise<Uint8Array> {
    const key = objectKey(log, entry);
    try {
      const bytes = await this.#fetch(log, entry);
      this.#drop(key);
      this.#kept.set(key, bytes);
      this.#keptBytes += bytes.length;
      for (const oldest of this.#kept.keys()) {
        if (this.#keptBytes <= this.maxBytes || oldest === key) break;
        this.#drop(oldest);
      }
      return bytes;
    } finally {
      this.#fetching.delete(key);
    }
  }

  async #fetch(log: string, entry: ArchiveEntry): Promise<Uint8Array> {
    const key = objectKey(log, entry);
    let reason = "";
    for (let fetches = 0; fetches < MAX_FETCHES; fetches++) {
      const bytes = await this.store.get(key);
      if (bytes === null) throw missing(log, key);
      if (bytes.length !== entry.sizeBytes) {
        reason = `has ${bytes.length} bytes, not ${entry.sizeBytes}`;
      } else if (this.crc32c(bytes) !== entry.crc) reason = "does not match its checksum";
      else return bytes;
    }
    throw corruptLog(log, {
      offset: entry.baseOffset,
      segmentBase: entry.baseOffset,
      position: 0,
      reason: `archived object ${key} ${reason}`,
    });
  }

  #drop(key: string): void {
    this.#keptBytes -= this.#kept.get(key)?.length ?? 0;
    this.#kept.delete(key);
  }
}

/** Nothing is removed while the index lists it: what is not there is on a volume that is not mounted, say. */
function missing(log: string, key: string): BrokerError {
  return new BrokerError(
    "ARCHIVE_UNAVAILABLE",
    `the archive lacks ${key}, which was put there: is it the right one, and mounted?`,
    { log },
  );
}
