// Owns a metadata store in memory, for tests and simulation.
// Refuses to survive its process; `connect` gives another store on the same data, as a second broker would have.
// Invariant: it refuses what the store over Deno KV refuses, so that what passes here passes there.
import type {
  MetadataEntry,
  MetadataKey,
  MetadataStore,
  MetadataTransaction,
} from "../metadata.ts";
import {
  checkKey,
  checkPrefix,
  compareKeys,
  encodeTransaction,
  isKeyBelow,
  keyName,
} from "../metadata_limits.ts";
import type { Cancel, Randomness, Timers } from "../ports.ts";

interface StoredEntry {
  readonly key: MetadataKey;
  readonly json: string;
  readonly version: string;
  readonly leaseId: string | null;
}

interface Lease {
  readonly ttlMs: number;
  cancel: Cancel;
}

interface Watcher {
  readonly prefix: MetadataKey;
  readonly onChange: (keys: MetadataKey[]) => void;
}

/** What several stores share. */
interface SharedData {
  readonly entries: Map<string, StoredEntry>;
  readonly leases: Map<string, Lease>;
  readonly watchers: Set<Watcher>;
  versions: number;
}

export interface MemoryMetadataPorts {
  readonly timers: Timers;
  readonly randomness: Randomness;
}

/** A metadata store in memory. */
export class MemoryMetadataStore implements MetadataStore {
  #closed = false;
  readonly #own = new Set<Watcher>();

  constructor(
    private readonly ports: MemoryMetadataPorts,
    private readonly data: SharedData = {
      entries: new Map(),
      leases: new Map(),
      watchers: new Set(),
      versions: 0,
    },
  ) {}

  /** Another store on the same data; it is closed on its own. */
  connect(): MemoryMetadataStore {
    return new MemoryMetadataStore(this.ports, this.data);
  }

  // deno-lint-ignore require-await -- the port is asynchronous, and so are its errors
  async get(key: MetadataKey): Promise<MetadataEntry | null> {
    this.#checkOpen();
    checkKey(key);
    const stored = this.data.entries.get(keyName(key));
    return stored === undefined ? null : shownEntry(stored);
  }

  // deno-lint-ignore require-await -- see get
  async list(
    prefix: MetadataKey,
    options: { limit?: number; after?: MetadataKey } = {},
  ): Promise<MetadataEntry[]> {
    this.#checkOpen();
    checkPrefix(prefix);
    const { limit = Infinity, after } = options;
    if (after !== undefined && !isKeyBelow(prefix, after)) {
      throw new Error("`after` must lie below the prefix that is listed");
    }
    return [...this.data.entries.values()]
      .filter(({ key }) => isKeyBelow(prefix, key))
      .filter(({ key }) => after === undefined || compareKeys(key, after) > 0)
      .sort((a, b) => compareKeys(a.key, b.key))
      .slice(0, limit)
      .map(shownEntry);
  }

  // deno-lint-ignore require-await -- see get
  async commit(transaction: MetadataTransaction): Promise<boolean> {
    this.#checkOpen();
    const sets = encodeTransaction(transaction);
    const { entries, leases } = this.data;
    const holds = transaction.checks.every(({ key, version }) =>
      (entries.get(keyName(key))?.version ?? null) === version
    );
    if (!holds || !sets.every((set) => set.leaseId === null || leases.has(set.leaseId))) {
      return false;
    }
    const version = String(++this.data.versions).padStart(16, "0");
    for (const { key, bytes, leaseId } of sets) {
      const json = new TextDecoder().decode(bytes);
      entries.set(keyName(key), { key, json, version, leaseId });
    }
    const deletes = transaction.deletes ?? [];
    for (const key of deletes) entries.delete(keyName(key));
    this.#notify([...sets.map((set) => set.key), ...deletes]);
    return true;
  }

  watch(prefix: MetadataKey, onChange: (keys: MetadataKey[]) => void): () => void {
    this.#checkOpen();
    checkPrefix(prefix);
    const watcher = { prefix: [...prefix], onChange };
    this.data.watchers.add(watcher);
    this.#own.add(watcher);
    return () => this.#unwatch(watcher);
  }

  // deno-lint-ignore require-await -- see get
  async grantLease(ttlMs: number): Promise<string> {
    this.#checkOpen();
    const leaseId = this.ports.randomness.uuid();
    this.data.leases.set(leaseId, { ttlMs, cancel: this.#expireAfter(leaseId, ttlMs) });
    return leaseId;
  }

  // deno-lint-ignore require-await -- see get
  async renewLease(leaseId: string): Promise<boolean> {
    this.#checkOpen();
    const lease = this.data.leases.get(leaseId);
    if (lease === undefined) return false;
    lease.cancel();
    lease.cancel = this.#expireAfter(leaseId, lease.ttlMs);
    return true;
  }

  // deno-lint-ignore require-await -- see get
  async revokeLease(leaseId: string): Promise<void> {
    this.#checkOpen();
    this.#endLease(leaseId);
  }

  // deno-lint-ignore require-await -- see get
  async close(): Promise<void> {
    this.#closed = true;
    for (const watcher of this.#own) this.#unwatch(watcher);
  }

  #expireAfter(leaseId: string, ttlMs: number): Cancel {
    return this.ports.timers.after(ttlMs, () => this.#endLease(leaseId));
  }

  #endLease(leaseId: string): void {
    this.data.leases.get(leaseId)?.cancel();
    this.data.leases.delete(leaseId);
    const leased = [...this.data.entries.values()].filter((entry) => entry.leaseId === leaseId);
    for (const { key } of leased) this.data.entries.delete(keyName(key));
    this.#notify(leased.map((entry) => entry.key));
  }

  #notify(changed: readonly MetadataKey[]): void {
    for (const watcher of this.data.watchers) {
      const keys = changed.filter((key) => isKeyBelow(watcher.prefix, key));
      // In a turn of its own: what a watcher throws must not look like a failed commit.
      if (keys.length > 0) {
        queueMicrotask(() => this.data.watchers.has(watcher) && watcher.onChange(keys));
      }
    }
  }

  #unwatch(watcher: Watcher): void {
    this.data.watchers.delete(watcher);
    this.#own.delete(watcher);
  }

  #checkOpen(): void {
    if (this.#closed) throw new Error("the metadata store is closed");
  }
}

function shownEntry({ key, json, version }: StoredEntry): MetadataEntry {
  return { key: [...key], value: JSON.parse(json), version };
}
