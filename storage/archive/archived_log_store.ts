// Owns a LogStore whose logs go on in an archive.
// Refuses to own the local logs and the archive itself.
// Invariant: a removed log leaves nothing in the archive: ids of logs are never used twice, so nobody could read it again.
import type { ArchiveStore } from "../archive.ts";
import type { Log, LogConfig, LogStore } from "../log.ts";
import type { Clock, Crc32c, Disk, Timers } from "../ports.ts";
import { replaceFile } from "../file_log/whole_files.ts";
import {
  type ArchivableLog,
  type ArchiveAccess,
  ArchivedLog,
  MAX_OBJECT_BYTES,
} from "./archived_log.ts";
import { ARCHIVE_INDEX_FILE, ArchiveIndex } from "./archive_index.ts";
import { ArchivedObjects } from "./archived_objects.ts";
import { GuardedArchive } from "./guarded_archive.ts";
import { NO_ARCHIVE } from "./no_archive.ts";
import { logPrefix } from "./object_key.ts";

export interface ArchivedLogStoreOptions {
  /** The logs here; their `open` must give logs that can be archived. */
  readonly logs: LogStore;
  /** Null: none is configured, and what logs have archived before cannot be read. */
  readonly archive: ArchiveStore | null;
  /** Where the logs' directories are: the index of each one's archive lies beside its segments. */
  readonly disk: Disk;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly crc32c: Crc32c;
  /** Memory for fetched objects of all logs. */
  readonly cacheBytes?: number;
  readonly maxObjectBytes?: number;
  onWarning(warning: { log: string; message: string; error?: unknown }): void;
}

export class ArchivedLogStore implements LogStore {
  readonly archives: boolean;
  readonly encrypts: boolean;
  readonly #logs: LogStore;
  readonly #access: ArchiveAccess;

  constructor(options: ArchivedLogStoreOptions) {
    const { archive, disk, crc32c, cacheBytes, maxObjectBytes } = options;
    const store = archive === null ? NO_ARCHIVE : new GuardedArchive(archive, options);
    this.archives = archive !== null;
    this.encrypts = options.logs.encrypts === true;
    this.#logs = options.logs;
    this.#access = {
      disk,
      crc32c,
      store,
      isConfigured: this.archives,
      objects: new ArchivedObjects(store, crc32c, cacheBytes),
      maxObjectBytes: maxObjectBytes ?? MAX_OBJECT_BYTES,
      onWarning: (warning) => options.onWarning(warning),
    };
  }

  async open(name: string, config: LogConfig): Promise<Log> {
    const local = await this.#logs.open(name, config);
    if (!isArchivable(local)) throw new Error(`log ${name} cannot be archived`);
    try {
      return await ArchivedLog.open(name, local, this.#access);
    } catch (error) {
      await local.close().catch(() => undefined);
      throw error;
    }
  }

  /** See LogStore. When the archive does not answer, what is here is gone all the same; call again for the rest. */
  async remove(name: string): Promise<void> {
    const { store, objects } = this.#access;
    if (!this.archives) return await this.#removeHere(name);
    await this.#logs.remove(name);
    objects.forget(name);
    for (const { key } of await store.list(logPrefix(name))) await store.remove(key);
  }

  /** What was archived is removed once there is an archive again: until then an index that tells nothing stands for it. */
  async #removeHere(name: string): Promise<void> {
    const { disk, store } = this.#access;
    const index = await ArchiveIndex.load(this.#access, name);
    const hasArchived = index === "damaged" || index !== "none" && index.hasObjects;
    await this.#logs.remove(name);
    if (!hasArchived) return;
    await disk.makeDirectory(name);
    const at = { directory: name, name: ARCHIVE_INDEX_FILE };
    await replaceFile(disk, at, { bytes: new Uint8Array(0), durable: true });
    await store.list(logPrefix(name));
  }

  list(prefix: string): Promise<string[]> {
    return this.#logs.list(prefix);
  }
}

function isArchivable(log: Log): log is ArchivableLog {
  return log.droppableOffset !== undefined;
}
