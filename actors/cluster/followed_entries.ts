// Owns a copy in memory of the entries below one prefix of the metadata store, kept up to date by its watch.
// Refuses to own what the entries mean (view.ts, controller.ts).
// Invariant: of two reads of a key the one that was asked later counts, whichever answers first; so what is held is never
// older than the last change that was told of. A change that was not told of is found by the slow reading again.
import type { MetadataEntry, MetadataKey, MetadataStore } from "../../storage/metadata.ts";
import { isKeyBelow, keyName } from "../../storage/metadata_limits.ts";
import type { Cancel, Clock, Timers } from "../../storage/ports.ts";

/** More changed keys than this are read by listing all. */
const MAX_KEYS_READ_SINGLY = 128;
/** Reads of single keys under way at once. */
const MAX_READS_AT_ONCE = 16;
/** Between a reading that failed and the next. */
const RETRY_MS = 250;
/** Between two readings of everything, when nothing asks for one. */
const DEFAULT_REREAD_MS = 10_000;
/** A reading of everything takes at most one part in so many of the time. */
const REREAD_SHARE = 20;

export interface FollowedEntriesOptions {
  readonly metadata: MetadataStore;
  readonly prefix: MetadataKey;
  readonly clock: Clock;
  readonly timers: Timers;
  /** Default 10 s. */
  readonly rereadMs?: number;
  /** The keys whose entries are other ones now, in a turn of their own each. */
  readonly onChanged: (keys: readonly MetadataKey[]) => void;
}

export class FollowedEntries {
  readonly #entries = new Map<string, MetadataEntry>();
  /** By key: which read said so; of those that were read since everything was. */
  readonly #readBy = new Map<string, number>();
  #reads = 0;
  #listedBy = 0;
  #dirty = new Map<string, MetadataKey>();
  #isAllDirty = false;
  #running = false;
  #closed = false;
  #cancelTimer: Cancel = () => {};
  readonly #unwatch: () => void;

  private constructor(private readonly options: FollowedEntriesOptions) {
    this.#unwatch = options.metadata.watch(options.prefix, (keys) => this.#markDirty(keys));
  }

  /** Reads everything once. Rejects as the store does. */
  static async open(options: FollowedEntriesOptions): Promise<FollowedEntries> {
    const followed = new FollowedEntries(options);
    try {
      await followed.refresh();
    } catch (error) {
      followed.close();
      throw error;
    }
    followed.#armReread(0);
    return followed;
  }

  get(key: MetadataKey): MetadataEntry | null {
    return this.#entries.get(keyName(key)) ?? null;
  }

  /** In no order. */
  entries(): Iterable<MetadataEntry> {
    return this.#entries.values();
  }

  /** Reads everything from the store now. Rejects as the store does. */
  async refresh(): Promise<void> {
    const read = ++this.#reads;
    const found = await this.options.metadata.list(this.options.prefix);
    this.#takeAll(read, found);
  }

  /** Reads these from the store now. Rejects as the store does. */
  async read(keys: readonly MetadataKey[]): Promise<void> {
    const changed: MetadataKey[] = [];
    for (let at = 0; at < keys.length; at += MAX_READS_AT_ONCE) {
      await Promise.all(
        keys.slice(at, at + MAX_READS_AT_ONCE).map(async (key) => {
          const read = ++this.#reads;
          const entry = await this.options.metadata.get(key);
          if (this.#take(read, key, entry)) changed.push(key);
        }),
      ).finally(() => this.#tell(changed.splice(0)));
    }
  }

  /** Everything is to be read again soon: what was told of may have been missed. */
  reread(): void {
    this.#isAllDirty = true;
    if (!this.#running && !this.#closed) void this.#catchUp();
  }

  close(): void {
    this.#closed = true;
    this.#unwatch();
    this.#cancelTimer();
  }

  #markDirty(keys: readonly MetadataKey[]): void {
    for (const key of keys) {
      if (isKeyBelow(this.options.prefix, key)) this.#dirty.set(keyName(key), key);
    }
    // A watch may say that something changed without saying what.
    if (keys.length === 0 || this.#dirty.size > MAX_KEYS_READ_SINGLY) this.#isAllDirty = true;
    if (!this.#running) void this.#catchUp();
  }

  /** One at a time; what changes meanwhile is read in the next round. */
  async #catchUp(): Promise<void> {
    this.#running = true;
    this.#cancelTimer();
    const startedMs = this.options.clock.monotonic();
    let hasFailed = false;
    while (!this.#closed && !hasFailed && (this.#isAllDirty || this.#dirty.size > 0)) {
      const keys = [...this.#dirty.values()];
      const isAll = this.#isAllDirty;
      this.#dirty = new Map();
      this.#isAllDirty = false;
      try {
        await (isAll ? this.refresh() : this.read(keys));
      } catch {
        this.#isAllDirty = true;
        hasFailed = true;
      }
    }
    this.#running = false;
    if (this.#closed) return;
    if (hasFailed) this.#armAt(RETRY_MS);
    else this.#armReread(this.options.clock.monotonic() - startedMs);
  }

  #armReread(tookMs: number): void {
    if (this.#running) return;
    this.#armAt(Math.max(this.options.rereadMs ?? DEFAULT_REREAD_MS, tookMs * REREAD_SHARE));
  }

  #armAt(delayMs: number): void {
    this.#cancelTimer();
    this.#cancelTimer = this.options.timers.after(delayMs, () => this.reread());
  }

  #takeAll(read: number, found: readonly MetadataEntry[]): void {
    if (this.#closed || read < this.#listedBy) return;
    const changed: MetadataKey[] = [];
    const names = new Set<string>();
    for (const entry of found) {
      names.add(keyName(entry.key));
      if (this.#take(read, entry.key, entry)) changed.push(entry.key);
    }
    for (const [name, entry] of [...this.#entries]) {
      if (!names.has(name) && this.#take(read, entry.key, null)) changed.push(entry.key);
    }
    this.#listedBy = read;
    for (const [name, by] of [...this.#readBy]) if (by <= read) this.#readBy.delete(name);
    this.#tell(changed);
  }

  /** Whether it is another one now. */
  #take(read: number, key: MetadataKey, entry: MetadataEntry | null): boolean {
    const name = keyName(key);
    if (this.#closed || read < this.#listedBy || read < (this.#readBy.get(name) ?? 0)) return false;
    this.#readBy.set(name, read);
    const before = this.#entries.get(name);
    if (before?.version === entry?.version) return false;
    if (entry === null) this.#entries.delete(name);
    else this.#entries.set(name, entry);
    return true;
  }

  #tell(changed: readonly MetadataKey[]): void {
    if (changed.length > 0 && !this.#closed) this.options.onChanged(changed);
  }
}
