// Owns the index of a shard's journal by group: in which stretches of it the group's changes and snapshots lie.
// Refuses to own the journal, and what is in it.
// Invariant: what is below `nextOffset` and not below the start is found; a stretch may hold nothing, none is missing.
// Bounded: with too many stretches they become longer, with too many groups the quietest are found by reading all.
import type { LedgerKind } from "./ledger_entries.ts";

const FIRST_BLOCK_BITS = 8;
/** Beyond 65,536 entries a block tells too little. */
const LAST_BLOCK_BITS = 16;
/** Runs of blocks over all groups of a shard: some 10 MB. */
const MAX_RUNS = 200_000;
const KINDS: readonly LedgerKind[] = ["change", "snapshot"];

/** Offsets, end exclusive. */
export interface Stretch {
  readonly from: number;
  readonly to: number;
}

interface StoredIndex {
  readonly blockBits: number;
  readonly nextOffset: number;
  readonly evictedBelow: number;
  readonly groups: readonly {
    readonly kind: LedgerKind;
    readonly group: string;
    readonly runs: number[];
  }[];
}

export class LedgerIndex {
  #blockBits = FIRST_BLOCK_BITS;
  #nextOffset = 0;
  /** Below it, what lies where is not known for every group. */
  #evictedBelow = 0;
  #runCount = 0;
  /** First and last block of each run, in order. */
  readonly #runs: Readonly<Record<LedgerKind, Map<string, number[]>>> = {
    change: new Map(),
    snapshot: new Map(),
  };

  constructor(private readonly maxRuns = MAX_RUNS) {}

  /** All below is in the index. */
  get nextOffset(): number {
    return this.#nextOffset;
  }

  get runCount(): number {
    return this.#runCount;
  }

  /** Entries come in the order of their offsets. */
  add(offset: number, group: string, kind: LedgerKind | null): void {
    this.#nextOffset = Math.max(this.#nextOffset, offset + 1);
    if (kind === null) return;
    const block = Math.floor(offset / 2 ** this.#blockBits);
    const runs = this.#runs[kind].get(group);
    if (runs === undefined) this.#runs[kind].set(group, [block, block]);
    else {
      const last = runs.at(-1)!;
      if (block === last) return;
      if (block === last + 1) {
        runs[runs.length - 1] = block;
        return;
      }
      runs.push(block, block);
    }
    this.#runCount += 1;
    while (this.#runCount > this.maxRuns) this.#shrink();
  }

  /** All below `nextOffset` is known, be there anything of the ledger or not. */
  advance(nextOffset: number): void {
    this.#nextOffset = Math.max(this.#nextOffset, nextOffset);
  }

  /** Where something of the group may lie, in order, from `startOffset` on. */
  stretches(group: string, kind: LedgerKind, startOffset: number): Stretch[] {
    const size = 2 ** this.#blockBits;
    const found: Stretch[] = [];
    if (this.#evictedBelow > startOffset) found.push({ from: startOffset, to: this.#evictedBelow });
    const runs = this.#runs[kind].get(group) ?? [];
    for (let i = 0; i < runs.length; i += 2) {
      const from = Math.max(runs[i]! * size, startOffset, found.at(-1)?.to ?? 0);
      const to = Math.min((runs[i + 1]! + 1) * size, this.#nextOffset);
      if (from < to) found.push({ from, to });
    }
    return found;
  }

  /** Forgets what the journal no longer holds. */
  dropBelow(startOffset: number): void {
    const firstBlock = Math.floor(startOffset / 2 ** this.#blockBits);
    for (const kind of KINDS) {
      for (const [group, runs] of this.#runs[kind]) {
        let gone = 0;
        while (gone < runs.length && runs[gone + 1]! < firstBlock) gone += 2;
        if (gone === 0) continue;
        this.#runCount -= gone / 2;
        if (gone === runs.length) this.#runs[kind].delete(group);
        else runs.splice(0, gone);
      }
    }
  }

  #shrink(): void {
    if (this.#blockBits < LAST_BLOCK_BITS) this.#coarsen();
    else this.#evict();
  }

  #coarsen(): void {
    this.#blockBits += 1;
    this.#runCount = 0;
    for (const kind of KINDS) {
      for (const [group, runs] of this.#runs[kind]) {
        const merged: number[] = [];
        for (let i = 0; i < runs.length; i += 2) {
          const [first, last] = [runs[i]! >>> 1, runs[i + 1]! >>> 1];
          if (merged.length > 0 && first <= merged.at(-1)! + 1) merged[merged.length - 1] = last;
          else merged.push(first, last);
        }
        this.#runs[kind].set(group, merged);
        this.#runCount += merged.length / 2;
      }
    }
  }

  /** The quarter of the groups that were quiet for longest is given up. */
  #evict(): void {
    const all = KINDS.flatMap((kind) =>
      [...this.#runs[kind]].map(([group, runs]) => ({ kind, group, last: runs.at(-1)!, runs }))
    ).sort((a, b) => a.last - b.last);
    for (const { kind, group, last, runs } of all.slice(0, Math.ceil(all.length / 4))) {
      this.#runs[kind].delete(group);
      this.#runCount -= runs.length / 2;
      this.#evictedBelow = Math.max(this.#evictedBelow, (last + 1) * 2 ** this.#blockBits);
    }
  }

  /** As bytes, for a snapshot. */
  encode(): Uint8Array {
    const stored: StoredIndex = {
      blockBits: this.#blockBits,
      nextOffset: this.#nextOffset,
      evictedBelow: this.#evictedBelow,
      groups: KINDS.flatMap((kind) =>
        [...this.#runs[kind]].map(([group, runs]) => ({ kind, group, runs }))
      ),
    };
    return new TextEncoder().encode(JSON.stringify(stored));
  }

  /** Throws whatever is wrong with the bytes. */
  static decode(bytes: Uint8Array): LedgerIndex {
    const stored = JSON.parse(new TextDecoder().decode(bytes)) as StoredIndex;
    const index = new LedgerIndex();
    index.#blockBits = stored.blockBits;
    index.#nextOffset = stored.nextOffset;
    index.#evictedBelow = stored.evictedBelow;
    for (const { kind, group, runs } of stored.groups) {
      index.#runs[kind].set(group, runs);
      index.#runCount += runs.length / 2;
    }
    return index;
  }
}
