// Owns what is known in memory of the entries below some prefixes of the metadata store, and following what others change.
// Refuses to own what the entries mean, and when to read again: its owner does that in its own turn.
// Invariant: what is known is what the store held at some moment; a key that changed since is read again, after a failure
// with a bounded delay. A change is made only upon what is known.
import type {
  MetadataEntry,
  MetadataKey,
  MetadataStore,
  MetadataValue,
} from "../../storage/metadata.ts";
import { keyName } from "../../storage/metadata_limits.ts";
import type { Cancel, Timers } from "../../storage/ports.ts";

/** With more keys to read again than these, all are listed. */
const MAX_SINGLE_READS = 32;
/** Wait before reading again what could not be read: twice as long each time. */
const MIN_RETRY_MS = 250;
const MAX_RETRY_MS = 5_000;

/** Of one key: what it holds now, null when it is not there any more. */
export interface EntryNews {
  readonly key: MetadataKey;
  readonly value: MetadataValue;
}

export interface SharedEntriesOptions {
  readonly metadata: MetadataStore;
  /** None below another. Keys below are the owner's alone. */
  readonly prefixes: readonly MetadataKey[];
  readonly timers: Timers;
  /** Asks the owner to call `catchUp` soon. */
  readonly onNews: () => void;
}

interface KnownEntry {
  readonly key: MetadataKey;
  readonly value: MetadataValue;
  /** Null after a change of our own: the store tells versions only to who reads. */
  readonly version: string | null;
}

/** Calls of `catchUp` and `commit` are made one after the other. Values are plain JSON data, and never null. */
export class SharedEntries {
  #known = new Map<string, KnownEntry>();
  /** To be read again, by name. */
  readonly #changed = new Map<string, MetadataKey>();
  /** Any key may have changed unheard. */
  #isStale = true;
  readonly #unwatch: (() => void)[];
  #retryMs = 0;
  #cancelRetry: Cancel | null = null;
  #closed = false;

  /** Nothing is known until the first `catchUp`. */
  constructor(private readonly options: SharedEntriesOptions) {
    const hear = (keys: readonly MetadataKey[]) => {
      for (const key of keys) this.#changed.set(keyName(key), key);
      options.onNews();
    };
    this.#unwatch = options.prefixes.map((prefix) => options.metadata.watch(prefix, hear));
  }

  /** The store may hold changes of which nobody will tell. */
  get isStale(): boolean {
    return this.#isStale;
  }

  /** Reads what has changed; resolves to what differs from what was known. When it rejects, the owner is asked again later. */
  async catchUp(): Promise<EntryNews[]> {
    if (!this.#isStale && this.#changed.size === 0) return [];
    this.#isStale ||= this.#changed.size > MAX_SINGLE_READS;
    const keys = [...this.#changed.values()];
    this.#changed.clear();
    try {
      const news = this.#isStale ? await this.#readAll() : await this.#read(keys);
      this.#retryMs = 0;
      return news;
    } catch (error) {
      for (const key of keys) this.#changed.set(keyName(key), key);
      this.#retryLater();
      throw error;
    }
  }

  /**
   * Keeps all of `changes` (a null value removes), when the store still holds what is known of their keys; false, and
   * nothing happened, when it does not: catch up. Rejects as the store does: whether it happened is then unknown.
   */
  async commit(changes: readonly EntryNews[]): Promise<boolean> {
    let kept: boolean;
    try {
      const checks = await this.#checksOf(changes);
      kept = checks !== null && await this.options.metadata.commit({
        checks,
        sets: changes.filter(({ value }) => value !== null),
        deletes: changes.filter(({ value }) => value === null).map(({ key }) => key),
      });
    } catch (error) {
      this.#isStale = true;
      this.#retryLater();
      throw error;
    }
    for (const { key, value } of changes) {
      if (!kept) this.#changed.set(keyName(key), key);
      else if (value === null) this.#known.delete(keyName(key));
      else this.#known.set(keyName(key), { key, value, version: null });
    }
    return kept;
  }

  /** Hears nothing any more. */
  close(): void {
    this.#closed = true;
    this.#cancelRetry?.();
    for (const unwatch of this.#unwatch.splice(0)) unwatch();
  }

  /** Null when the store holds something else. */
  async #checksOf(changes: readonly EntryNews[]) {
    const checks = [];
    for (const { key } of changes) {
      const known = this.#known.get(keyName(key));
      let version = known?.version ?? null;
      if (known !== undefined && version === null) {
        const stored = await this.options.metadata.get(key);
        if (stored === null || !isSame(known.value, stored.value)) return null;
        version = stored.version;
      }
      checks.push({ key, version });
    }
    return checks;
  }

  async #read(keys: readonly MetadataKey[]): Promise<EntryNews[]> {
    const found = await Promise.all(keys.map((key) => this.options.metadata.get(key)));
    return keys.flatMap((key, at) => this.#take(key, found[at]!));
  }

  async #readAll(): Promise<EntryNews[]> {
    const { metadata, prefixes } = this.options;
    const found: MetadataEntry[] = [];
    for (const prefix of prefixes) found.push(...await metadata.list(prefix));
    this.#isStale = false;
    const gone = new Map(this.#known);
    for (const { key } of found) gone.delete(keyName(key));
    return [
      ...[...gone.values()].flatMap(({ key }) => this.#take(key, null)),
      ...found.flatMap((entry) => this.#take(entry.key, entry)),
    ];
  }

  #take(key: MetadataKey, entry: MetadataEntry | null): EntryNews[] {
    const name = keyName(key);
    const known = this.#known.get(name);
    if (entry === null) {
      return this.#known.delete(name) ? [{ key, value: null }] : [];
    }
    const isNew = known === undefined ||
      (known.version !== entry.version && !isSame(known.value, entry.value));
    this.#known.set(name, isNew ? entry : { ...known, version: entry.version });
    return isNew ? [{ key, value: entry.value }] : [];
  }

  #retryLater(): void {
    if (this.#closed || this.#cancelRetry !== null) return;
    this.#retryMs = Math.min(MAX_RETRY_MS, Math.max(MIN_RETRY_MS, this.#retryMs * 2));
    this.#cancelRetry = this.options.timers.after(this.#retryMs, () => {
      this.#cancelRetry = null;
      this.options.onNews();
    });
  }
}

function isSame(a: MetadataValue, b: MetadataValue): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
