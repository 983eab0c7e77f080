// Owns the metadata store over Deno KV: entries, transactions, and the one timer that polls for others and ends leases.
// Refuses to own the limits (metadata_limits.ts), what a commit means on disk (kv_database.ts), leases and watching.
// Invariant: what a transaction is made of is within Deno KV's limits before Deno KV sees it.
//
// Keys: ["schema"]; ["entries", ...key]; ["leases", id], ["marks", id] and ["leaseKeys", id, ...key] (kv_leases.ts);
// ["changed", instance], which every commit of an instance sets (kv_watch.ts).
import type {
  MetadataEntry,
  MetadataKey,
  MetadataStore,
  MetadataTransaction,
} from "../metadata.ts";
import {
  checkKey,
  checkPrefix,
  type EncodedSet,
  encodeTransaction,
  isKeyBelow,
} from "../metadata_limits.ts";
import type { Cancel, Clock, Randomness, Timers } from "../ports.ts";
import { asStorage, commitAtomic, openKvDatabase } from "./kv_database.ts";
import { KvLeases, leaseIndexKey } from "./kv_leases.ts";
import { migrate, type Migration } from "./kv_schema.ts";
import { KvWatchers } from "./kv_watch.ts";

/** How often other instances' commits and leases are looked at: the delay of their watch, and of a lease's end. */
export const SWEEP_MS = 1_000;
/** A lease whose end has come and failed is tried again no sooner than this. */
const MIN_SWEEP_MS = 10;
/** Entries a page when listing: Deno KV allows 1,000. */
const LIST_PAGE = 500;

/** Version 1 is where the store began: nothing to change. */
export const METADATA_MIGRATIONS: readonly Migration[] = [
  { to: 1, run: () => Promise.resolve() },
];

export interface KvMetadataOptions {
  /** Path of the database file; its directory must be there. */
  readonly path: string;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly randomness: Randomness;
  /** Nobody else has the database open, which its user makes sure of: nothing is looked for then. Default false. */
  readonly isSole?: boolean;
  /** Another list than `METADATA_MIGRATIONS`, for their tests. */
  readonly migrations?: readonly Migration[];
}

/** How an entry is stored. JSON as bytes: as a string it could take twice its size. */
interface StoredEntry {
  readonly json: Uint8Array<ArrayBuffer>;
  readonly leaseId: string | null;
}

/**
 * Opens the store at a path, made new when it is not there, brought forward when an older release wrote it.
 * Errors: plain Error when a newer release wrote it; BrokerError STORAGE_FAILED or DISK_FULL.
 */
export async function openKvMetadata(options: KvMetadataOptions): Promise<KvMetadataStore> {
  const kv = await openKvDatabase(options.path);
  try {
    const migrations = options.migrations ?? METADATA_MIGRATIONS;
    await migrate(kv, ["schema"], { migrations, name: `the metadata store ${options.path}` });
    const store = new KvMetadataStore(kv, options);
    await store.start();
    return store;
  } catch (error) {
    kv.close();
    throw error;
  }
}

/** Use `openKvMetadata`. Rejections that are no plain Error are BrokerErrors STORAGE_FAILED (outcome unknown) or DISK_FULL. */
export class KvMetadataStore implements MetadataStore {
  readonly #instance: string;
  readonly #watchers: KvWatchers;
  readonly #leases: KvLeases;
  #closed = false;
  #cancelSweep: Cancel = () => {};
  #sweeping: Promise<void> = Promise.resolve();

  constructor(private readonly kv: Deno.Kv, private readonly options: KvMetadataOptions) {
    this.#instance = options.randomness.uuid();
    this.#watchers = new KvWatchers({
      isSole: options.isSole ?? false,
      foreignMark: () => this.#foreignMark(),
      list: (prefix) => this.#list(prefix, {}),
    });
    this.#leases = new KvLeases({
      kv,
      clock: options.clock,
      randomness: options.randomness,
      entryKey,
      commit: (operation, deletes) => this.#commit(operation, { sets: [], deletes }),
    });
  }

  /** Forgets the marks of earlier instances by making one of its own, and begins to sweep. */
  async start(): Promise<void> {
    const operation = this.kv.atomic();
    for await (const { key } of this.kv.list({ prefix: ["changed"] }, { limit: LIST_PAGE })) {
      operation.delete(key);
    }
    await this.#commit(operation, { sets: [], deletes: [] });
    await this.#leases.sweep();
    this.#scheduleSweep();
  }

  async get(key: MetadataKey): Promise<MetadataEntry | null> {
    this.#checkOpen();
    checkKey(key);
    await this.#watchers.ready();
    const entry = await asStorage("read metadata", () => this.kv.get<StoredEntry>(entryKey(key)));
    return entry.value === null ? null : shownEntry(entry);
  }

  async list(
    prefix: MetadataKey,
    options: { limit?: number; after?: MetadataKey } = {},
  ): Promise<MetadataEntry[]> {
    this.#checkOpen();
    checkPrefix(prefix);
    await this.#watchers.ready();
    return await this.#list(prefix, options);
  }

  async commit(transaction: MetadataTransaction): Promise<boolean> {
    this.#checkOpen();
    const sets = encodeTransaction(transaction);
    const deletes = transaction.deletes ?? [];
    const operation = this.kv.atomic();
    for (const { key, version } of transaction.checks) {
      operation.check({ key: entryKey(key), versionstamp: version });
    }
    if (!await this.#checkLeases(operation, sets)) return false;
    for (const { key, bytes, leaseId } of sets) {
      operation.set(entryKey(key), { json: bytes, leaseId } satisfies StoredEntry);
      if (leaseId !== null) operation.set(leaseIndexKey(leaseId, key), 0);
    }
    for (const key of deletes) operation.delete(entryKey(key));
    return await this.#commit(operation, { sets: sets.map((set) => set.key), deletes });
  }

  watch(prefix: MetadataKey, onChange: (keys: MetadataKey[]) => void): () => void {
    this.#checkOpen();
    checkPrefix(prefix);
    return this.#watchers.add(prefix, onChange);
  }

  async grantLease(ttlMs: number): Promise<string> {
    this.#checkOpen();
    const leaseId = await this.#leases.grant(ttlMs);
    if (!this.#closed) this.#scheduleSweep();
    return leaseId;
  }

  async renewLease(leaseId: string): Promise<boolean> {
    this.#checkOpen();
    return await this.#leases.renew(leaseId);
  }

  async revokeLease(leaseId: string): Promise<void> {
    this.#checkOpen();
    await this.#leases.revoke(leaseId);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancelSweep();
    this.#watchers.clear();
    await this.#watchers.ready();
    await this.#sweeping;
    this.kv.close();
  }

  async #checkLeases(
    operation: Deno.AtomicOperation,
    sets: readonly EncodedSet[],
  ): Promise<boolean> {
    for (const leaseId of new Set(sets.map((set) => set.leaseId))) {
      if (leaseId === null) continue;
      const check = await this.#leases.check(leaseId);
      if (check === null) return false;
      operation.check(check);
    }
    return true;
  }

  async #commit(
    operation: Deno.AtomicOperation,
    changed: { sets: readonly MetadataKey[]; deletes: readonly MetadataKey[] },
  ): Promise<boolean> {
    operation.set(["changed", this.#instance], 0);
    const result = await commitAtomic("commit metadata", operation);
    if (result.ok) this.#watchers.committed(changed.sets, changed.deletes, result.versionstamp);
    return result.ok;
  }

  async #list(
    prefix: MetadataKey,
    options: { limit?: number; after?: MetadataKey },
  ): Promise<MetadataEntry[]> {
    const { limit = Infinity, after } = options;
    if (after !== undefined && !isKeyBelow(prefix, after)) {
      throw new Error("`after` must lie below the prefix that is listed");
    }
    const selector = after === undefined
      ? { prefix: entryKey(prefix) }
      : { prefix: entryKey(prefix), start: entryKey(after) };
    const entries: MetadataEntry[] = [];
    await asStorage("list metadata", async () => {
      const batchSize = Math.min(LIST_PAGE, limit + 1);
      const pages = this.kv.list<StoredEntry>(selector, { batchSize });
      for await (const entry of pages) {
        if (entries.length >= limit) break;
        const shown = shownEntry(entry);
        // `start` is part of what is listed.
        if (after === undefined || entries.length > 0 || !sameKey(shown.key, after)) {
          entries.push(shown);
        }
      }
    });
    return entries;
  }

  async #foreignMark(): Promise<string> {
    let newest = "";
    await asStorage("look for changes of metadata", async () => {
      for await (const { key, versionstamp } of this.kv.list({ prefix: ["changed"] })) {
        if (key[1] !== this.#instance && versionstamp > newest) newest = versionstamp;
      }
    });
    return newest;
  }

  #scheduleSweep(): void {
    this.#cancelSweep();
    const delayMs = Math.min(SWEEP_MS, Math.max(MIN_SWEEP_MS, this.#leases.nextEndInMs()));
    this.#cancelSweep = this.options.timers.after(delayMs, () => {
      this.#sweeping = this.#sweeping.then(() => this.#sweep());
    });
  }

  async #sweep(): Promise<void> {
    if (this.#closed) return;
    // A failure shows where something is asked of the store; the next sweep tries again.
    await Promise.allSettled([this.#leases.sweep(), this.#watchers.poll()]);
    if (!this.#closed) this.#scheduleSweep();
  }

  #checkOpen(): void {
    if (this.#closed) throw new Error("the metadata store is closed");
  }
}

function entryKey(key: MetadataKey): Deno.KvKey {
  return ["entries", ...key];
}

function shownEntry(entry: Deno.KvEntry<StoredEntry>): MetadataEntry {
  const value: unknown = JSON.parse(new TextDecoder().decode(entry.value.json));
  return { key: entry.key.slice(1).map(String), value, version: entry.versionstamp };
}

function sameKey(a: MetadataKey, b: MetadataKey): boolean {
  return a.length === b.length && a.every((part, index) => part === b[index]);
}
