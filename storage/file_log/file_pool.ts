// Owns which segment files of a store are open.
// Refuses to own what is read from them, and to open other files than segments.
// Invariant: a file in use is never closed, so a descriptor number is never reused under a reader; of the files that are
// neither pinned nor in use at most MAX_IDLE_FILES stay open.
import { type Disk, type DiskFile, FileMissingError } from "../ports.ts";

/** Closed segments whose descriptors are kept for the next reader, over all logs of a store. */
export const MAX_IDLE_FILES = 128;

interface PooledFile {
  readonly opened: Promise<DiskFile>;
  users: number;
  /** Called when nobody uses it any more; set once the file has been dropped. */
  onUnused: (() => void) | null;
}

export class FilePool {
  readonly #pinned = new Map<string, PooledFile>();
  /** Least recently used first. */
  readonly #loose = new Map<string, PooledFile>();
  /** Paths of files that are being removed. */
  readonly #leaving = new Set<string>();
  /** Paths of files that are being replaced, each until it is done. */
  readonly #replacing = new Map<string, Promise<void>>();

  constructor(private readonly disk: Disk, private readonly maxIdleFiles = MAX_IDLE_FILES) {}

  get openFiles(): number {
    return this.#pinned.size + this.#loose.size;
  }

  /** Opens the file and keeps it open until `unpin` or `drop`. Rejects as `Disk.open` does. */
  async pin(path: string, options: { create: boolean }): Promise<DiskFile> {
    const entry = this.#pinned.get(path) ?? this.#loose.get(path) ?? this.#open(path, options);
    this.#loose.delete(path);
    this.#pinned.set(path, entry);
    try {
      return await entry.opened;
    } catch (error) {
      this.#pinned.delete(path);
      throw error;
    }
  }

  /** Leaves the file open for readers for as long as there is room. */
  unpin(path: string): void {
    const entry = this.#pinned.get(path);
    if (entry === undefined) return;
    this.#pinned.delete(path);
    this.#loose.set(path, entry);
    this.#closeSurplus();
  }

  /** Runs `work` on the open file, which stays open until it has settled. A missing file rejects with FileMissingError. */
  async use<T>(path: string, work: (file: DiskFile) => Promise<T>): Promise<T> {
    for (let busy; (busy = this.#replacing.get(path)) !== undefined;) await busy;
    const entry = this.#pinned.get(path) ?? this.#loosened(path);
    entry.users++;
    try {
      return await work(await entry.opened);
    } finally {
      entry.users--;
      if (entry.users === 0) entry.onUnused?.();
      this.#closeSurplus();
    }
  }

  /**
   * Closes the file, and then removes it with `remove`. Meanwhile nobody can open it, so that no descriptor of it is
   * taken for another file that comes to lie at the same path.
   */
  async discard(path: string, remove: () => Promise<void>): Promise<void> {
    this.#leaving.add(path);
    try {
      await this.drop(path);
      await remove();
    } finally {
      this.#leaving.delete(path);
    }
  }

  /** Closes the file and puts another in its place with `work`; who wants to use it meanwhile waits. */
  async replace(path: string, work: () => Promise<void>): Promise<void> {
    const done = Promise.withResolvers<void>();
    this.#replacing.set(path, done.promise);
    try {
      await this.drop(path);
      await work();
    } finally {
      this.#replacing.delete(path);
      done.resolve();
    }
  }

  /** Closes the file as soon as nobody uses it, and resolves then. */
  async drop(path: string): Promise<void> {
    const entry = this.#pinned.get(path) ?? this.#loose.get(path);
    if (entry === undefined) return;
    this.#pinned.delete(path);
    this.#loose.delete(path);
    const file = await entry.opened.catch(() => null);
    if (entry.users > 0) await new Promise<void>((resolve) => entry.onUnused = resolve);
    await file?.close();
  }

  /** Drops every file that lies in `directory`. What closing them says is ignored: all that counts has been synced. */
  async dropBelow(directory: string): Promise<void> {
    const paths = [...this.#pinned.keys(), ...this.#loose.keys()];
    const within = paths.filter((path) => path.slice(0, path.lastIndexOf("/")) === directory);
    await Promise.all(within.map((path) => this.drop(path).catch(() => undefined)));
  }

  #open(path: string, options: { create: boolean }): PooledFile {
    return { opened: this.disk.open(path, options), users: 0, onUnused: null };
  }

  #loosened(path: string): PooledFile {
    const known = this.#loose.get(path);
    if (known !== undefined) {
      this.#loose.delete(path);
      this.#loose.set(path, known);
      return known;
    }
    if (this.#leaving.has(path)) throw new FileMissingError(`${path} is being removed`);
    const entry = this.#open(path, { create: false });
    this.#loose.set(path, entry);
    entry.opened.catch(() => {
      if (this.#loose.get(path) === entry) this.#loose.delete(path);
    });
    return entry;
  }

  #closeSurplus(): void {
    for (const [path, entry] of this.#loose) {
      if (this.#loose.size <= this.maxIdleFiles) return;
      // What closing it says is ignored: a segment is synced before it is unpinned.
      if (entry.users === 0) this.drop(path).catch(() => undefined);
    }
  }
}
