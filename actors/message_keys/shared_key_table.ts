// Owns the keys of one topic by whom they belong to: a table for each, and the bound over all of them.
// Refuses to own who that is (handed in as a number) and the keys of one (key_table.ts).
// Invariant: beyond the bound those go that the one with most has, the oldest first. Keys of which nobody knows any more to
// whom they belong are `NOBODY`'s, and everyone finds them.
import type { KeyHash } from "./key_hash.ts";
import { type KeyColumns, type KeyPlace, KeyTable, type KeyTableOptions } from "./key_table.ts";

export const NOBODY = 0;

/** With to whom each belongs; left out where all are nobody's. */
export interface OwnedColumns extends KeyColumns {
  readonly owners?: Uint32Array;
}

export class SharedKeyTable {
  readonly #tables = new Map<number, KeyTable>();
  #size = 0;

  constructor(private readonly options: KeyTableOptions) {}

  get size(): number {
    return this.#size;
  }

  /** Where the first message of `owner` with this key is, null when the key is not known. */
  find(hash: KeyHash, owner: number): KeyPlace | null {
    const own = this.#tables.get(owner)?.find(hash) ?? null;
    return own ?? this.#tables.get(NOBODY)?.find(hash) ?? null;
  }

  /** Adds a key that came at `atMs`; a known one stays as it is. Returns how many old ones had to go for it (0 or 1). */
  add(hash: KeyHash, place: KeyPlace, { atMs, owner }: { atMs: number; owner: number }): number {
    if (this.find(hash, owner) !== null) return 0;
    const evicted = this.#size >= this.options.maxKeys ? this.evict(1) : 0;
    let table = this.#tables.get(owner);
    if (table === undefined) this.#tables.set(owner, table = new KeyTable(this.options));
    table.add(hash, place, atMs);
    this.#size++;
    return evicted;
  }

  /** Forgets what is as old as the window; returns how many that were. */
  expire(nowMs: number): number {
    let count = 0;
    for (const [owner, table] of this.#tables) {
      count += table.expire(nowMs);
      if (table.size === 0) this.#tables.delete(owner);
    }
    this.#size -= count;
    return count;
  }

  /** Forgets `count`, whatever their age, of those that have most; returns how many there were. */
  evict(count: number): number {
    let evicted = 0;
    while (evicted < count && this.#size > 0) {
      const bySize = [...this.#tables].sort(([, a], [, b]) => b.size - a.size);
      const [owner, table] = bySize[0]!;
      // As long as it has most; a tie ends after one.
      const lead = table.size - (bySize[1]?.[1].size ?? 0);
      const dropped = table.evict(Math.min(count - evicted, Math.max(1, lead)));
      if (table.size === 0) this.#tables.delete(owner);
      this.#size -= dropped;
      evicted += dropped;
    }
    return evicted;
  }

  /** A copy of everything, of each the oldest first. */
  columns(): OwnedColumns {
    const all = [...this.#tables].map(([owner, table]) => ({ owner, columns: table.columns() }));
    if (all.length === 0) return new KeyTable(this.options).columns();
    if (all.length === 1 && all[0]!.owner === NOBODY) return all[0]!.columns;
    const size = this.#size;
    const joined = {
      hashes: new Uint32Array(size * 4),
      partitions: new Uint32Array(size),
      offsets: new Float64Array(size),
      timesMs: new Float64Array(size),
      owners: new Uint32Array(size),
    };
    let at = 0;
    for (const { owner, columns: { hashes, partitions, offsets, timesMs } } of all) {
      joined.hashes.set(hashes, at * 4);
      joined.partitions.set(partitions, at);
      joined.offsets.set(offsets, at);
      joined.timesMs.set(timesMs, at);
      joined.owners.fill(owner, at, at + partitions.length);
      at += partitions.length;
    }
    return joined;
  }
}
