// Owns what the watchers of one etcd store know and are told: the keys there are, and which changes were told already.
// Refuses to own where changes come from (etcd_watch.ts).
// Invariant: each change after `base` is told at least once to those who watched then; own commits at once, and their
// echo in etcd's stream not again.
import type { MetadataKey } from "../metadata.ts";
import { isKeyBelow, keyName } from "../metadata_limits.ts";

/** Own commits whose echo has not come; of more, the oldest are told twice. */
const MAX_AWAITED_ECHOES = 10_000;

interface Watcher {
  readonly prefix: MetadataKey;
  readonly onChange: (keys: MetadataKey[]) => void;
}

/** A key as it is now in etcd. */
export interface KnownKey {
  readonly key: MetadataKey;
  readonly revision: number;
}

export interface NotedChange extends KnownKey {
  readonly isDeleted: boolean;
}

export class WatchedKeys {
  readonly #watchers = new Set<Watcher>();
  /** By key name, every key of the cluster: how a deletion is noticed that no event told of. */
  #known = new Map<string, KnownKey>();
  #echoes = new Set<number>();
  #base = 0;
  #seen = 0;

  get size(): number {
    return this.#watchers.size;
  }

  /** Every change up to this revision of etcd is known; 0 before the first `refreshed`. */
  get revision(): number {
    return this.#seen;
  }

  /** Returns what takes the watcher away again. */
  add(prefix: MetadataKey, onChange: (keys: MetadataKey[]) => void): () => void {
    const watcher = { prefix: [...prefix], onChange };
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** Takes in all keys there are at `revision`; tells which differ from those known, the first time only with `tellAll`. */
  refreshed(entries: readonly KnownKey[], revision: number, tellAll: boolean): void {
    const isFirst = this.#seen === 0;
    const fresh = new Map(entries.map((entry) => [keyName(entry.key), entry]));
    const changed = entries.filter(({ key, revision }) =>
      this.#known.get(keyName(key))?.revision !== revision
    );
    const gone = [...this.#known].filter(([name]) => !fresh.has(name)).map(([, entry]) => entry);
    this.#known = fresh;
    this.#seen = revision;
    if (isFirst) this.#base = revision;
    this.#echoes = new Set([...this.#echoes].filter((echo) => echo > revision));
    if (!isFirst || tellAll) this.#tell([...changed, ...gone].map(({ key }) => key));
  }

  /** Changes as etcd's stream tells them, in order. Those of one revision need not come together. */
  noted(changes: readonly NotedChange[]): void {
    const news = changes.filter(({ revision }) => revision > this.#seen);
    for (const { key, revision, isDeleted } of news) {
      if (isDeleted) this.#known.delete(keyName(key));
      else this.#known.set(keyName(key), { key, revision });
    }
    this.#tell(news.filter(({ revision }) => !this.#echoes.has(revision)).map(({ key }) => key));
  }

  /** All of `revision` and before was noted. */
  reached(revision: number): void {
    if (revision <= this.#seen) return;
    this.#seen = revision;
    for (const echo of this.#echoes) if (echo <= revision) this.#echoes.delete(echo);
  }

  /** Tells what this store has committed. `revision`: null when it changed nothing in etcd. */
  committed(keys: readonly MetadataKey[], revision: number | null): void {
    if (this.#watchers.size === 0) return;
    const wasTold = revision !== null && revision > this.#base && revision <= this.#seen;
    if (wasTold) return;
    if (revision !== null && revision > this.#seen) this.#awaitEcho(revision);
    this.#tell(keys);
  }

  /** Forgets what was known: nobody watches, or all is over. */
  clear(): void {
    this.#watchers.clear();
    this.#known.clear();
    this.#echoes.clear();
    this.#base = 0;
    this.#seen = 0;
  }

  #awaitEcho(revision: number): void {
    if (this.#echoes.size >= MAX_AWAITED_ECHOES) {
      for (const oldest of this.#echoes) {
        this.#echoes.delete(oldest);
        break;
      }
    }
    this.#echoes.add(revision);
  }

  #tell(keys: readonly MetadataKey[]): void {
    for (const watcher of this.#watchers) {
      const below = keys.filter((key) => isKeyBelow(watcher.prefix, key));
      if (below.length === 0) continue;
      // In a turn of its own: what a watcher throws must not look like a failed commit.
      queueMicrotask(() => this.#watchers.has(watcher) && watcher.onChange(below));
    }
  }
}
