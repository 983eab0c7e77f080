// Owns telling watchers what changed: at once for commits of this store, by polling for those of others.
// Refuses to use `Deno.Kv.watch`: it watches single keys, no prefixes, and hears nothing of other processes.
// Invariant: every commit marks its instance's key, so that a foreign mark newer than the last one seen means a change to find.
import type { MetadataKey } from "../metadata.ts";
import { isKeyBelow, keyName } from "../metadata_limits.ts";

interface Watcher {
  readonly prefix: MetadataKey;
  readonly onChange: (keys: MetadataKey[]) => void;
  /** What it last knew of, by key name: how a change by others is told from what was there. */
  readonly known: Map<string, { key: MetadataKey; version: string }>;
  /** Newest foreign mark that `known` accounts for; null until it is filled. */
  seenMark: string | null;
}

export interface WatchSource {
  /** Nobody else writes: what this store commits is all there is to tell. */
  readonly isSole: boolean;
  /** Newest mark that an instance other than this one has made, "" for none. Marks are ordered as strings. */
  foreignMark(): Promise<string>;
  list(prefix: MetadataKey): Promise<{ key: MetadataKey; version: string }[]>;
}

/** The watchers of one store. */
export class KvWatchers {
  readonly #watchers = new Set<Watcher>();
  #filling: Promise<unknown> = Promise.resolve();

  constructor(private readonly source: WatchSource) {}

  /** Resolves when every watcher so far knows where it starts: what is read later is then no older than that. */
  async ready(): Promise<void> {
    await this.#filling;
  }

  add(prefix: MetadataKey, onChange: (keys: MetadataKey[]) => void): () => void {
    const watcher: Watcher = { prefix: [...prefix], onChange, known: new Map(), seenMark: null };
    this.#watchers.add(watcher);
    if (this.source.isSole) return () => this.#watchers.delete(watcher);
    // A watcher that could not be filled is filled by the next poll, which then reports all there is.
    this.#filling = Promise.allSettled([this.#filling, this.#fill(watcher)]);
    return () => this.#watchers.delete(watcher);
  }

  /** Tells what this store has just committed. */
  committed(sets: readonly MetadataKey[], deletes: readonly MetadataKey[], version: string): void {
    for (const watcher of this.#watchers) {
      for (const key of this.source.isSole ? [] : sets) {
        if (isKeyBelow(watcher.prefix, key)) watcher.known.set(keyName(key), { key, version });
      }
      for (const key of deletes) watcher.known.delete(keyName(key));
      this.#tell(watcher, [...sets, ...deletes].filter((key) => isKeyBelow(watcher.prefix, key)));
    }
  }

  /** Finds and tells what other instances have committed since the last time. */
  async poll(): Promise<void> {
    if (this.source.isSole || this.#watchers.size === 0) return;
    await this.ready();
    const mark = await this.source.foreignMark();
    for (const watcher of this.#watchers) {
      if (watcher.seenMark === null || mark > watcher.seenMark) await this.#compare(watcher, mark);
    }
  }

  clear(): void {
    this.#watchers.clear();
  }

  async #fill(watcher: Watcher): Promise<void> {
    const mark = await this.source.foreignMark();
    await this.#refresh(watcher);
    watcher.seenMark = mark;
  }

  async #compare(watcher: Watcher, mark: string): Promise<void> {
    this.#tell(watcher, await this.#refresh(watcher));
    watcher.seenMark = mark;
  }

  /** Brings `known` up to what is stored; the keys that differed. */
  async #refresh(watcher: Watcher): Promise<MetadataKey[]> {
    const changed: MetadataKey[] = [];
    const entries = await this.source.list(watcher.prefix);
    const present = new Set<string>();
    for (const { key, version } of entries) {
      const name = keyName(key);
      present.add(name);
      if (watcher.known.get(name)?.version === version) continue;
      watcher.known.set(name, { key, version });
      changed.push(key);
    }
    for (const [name, { key }] of watcher.known) {
      if (present.has(name)) continue;
      watcher.known.delete(name);
      changed.push(key);
    }
    return changed;
  }

  #tell(watcher: Watcher, keys: MetadataKey[]): void {
    if (keys.length === 0) return;
    // In a turn of its own: what a watcher throws must not look like a failed commit.
    queueMicrotask(() => this.#watchers.has(watcher) && watcher.onChange(keys));
  }
}
