// Owns reading one shard's journal as a ledger: the index of it, kept current while it is written, and stretches of it.
// Refuses to own what the entries mean to a caller (offset_ledger.ts), and writing the journal (the shard's actor).
// Invariant: the journal is the only truth: the index is made from it, and saved only so that it need not be made again.
import type { SnapshotStore } from "../../../storage/snapshots.ts";
import type { Journal, JournalEntry } from "../../runtime/journal.ts";
import { type GroupEvent, upcastGroupEvent } from "../events.ts";
import { type LedgerKind, ledgerKindOf } from "./ledger_entries.ts";
import { LedgerIndex, type Stretch } from "./ledger_index.ts";

const INDEX_VERSION = 1;
/** Entries between two saves of the index: what a start after a crash reads again at most. */
const SAVE_EVERY_ENTRIES = 100_000;
/** Offsets of the journal that are read in one piece. */
const CHUNK_OFFSETS = 1_024;
/** Entries read without letting others run. */
const SCAN_OFFSETS = 8_192;

export interface ShardLedgerOptions {
  /** Id of the saved index. */
  readonly id: string;
  readonly journal: Journal;
  readonly snapshots: SnapshotStore;
  readonly onFailure: (error: unknown) => void;
}

/** An event of the ledger, with its place. */
export interface LedgerRecord {
  readonly offset: number;
  readonly event: GroupEvent;
}

export class ShardLedger {
  readonly #options: ShardLedgerOptions;
  #index = new LedgerIndex();
  #savedAt = 0;
  #droppedBelow = 0;
  #saving: Promise<void> = Promise.resolve();
  #catchingUp: Promise<void> | null = null;

  constructor(options: ShardLedgerOptions) {
    this.#options = options;
  }

  /** Takes the saved index over, if there is one that fits the journal. Never rejects. */
  async load(): Promise<void> {
    const { id, snapshots, journal } = this.#options;
    try {
      const saved = await snapshots.load(id);
      if (saved === null || saved.version !== INDEX_VERSION) return;
      if (saved.nextOffset > (await journal.bounds()).endOffset) return;
      this.#index = LedgerIndex.decode(saved.bytes);
      this.#savedAt = this.#index.nextOffset;
    } catch {
      // As good as none: it is made anew from the journal.
    }
  }

  /** The shard's journal; what goes through it gets into the index. */
  get tapped(): Journal {
    const { journal } = this.#options;
    return {
      append: async (entries, expectedOffset) => {
        const appended = await journal.append(entries, expectedOffset);
        this.#note(entries, expectedOffset, appended.nextOffset);
        return appended;
      },
      replay: (fromOffset, onEntry, endOffset) =>
        journal.replay(fromOffset, (entry, offset) => {
          this.#noteOne(entry, offset);
          onEntry(entry, offset);
        }, endOffset),
      bounds: () => journal.bounds(),
    };
  }

  /** Entries whose offsets are not known to be contiguous with the index are left for `current` to find. */
  #note(entries: readonly JournalEntry[], fromOffset: number, nextOffset: number): void {
    if (this.#index.nextOffset !== fromOffset || nextOffset !== fromOffset + entries.length) return;
    entries.forEach((entry, i) => this.#noteOne(entry, fromOffset + i));
  }

  #noteOne({ key, value }: JournalEntry, offset: number): void {
    if (offset !== this.#index.nextOffset) return;
    this.#index.add(offset, key, ledgerKindOf(value));
    if (this.#index.nextOffset - this.#savedAt >= SAVE_EVERY_ENTRIES) this.#save();
  }

  /** Resolves when the index holds all that was durable when this was called; to the start of the journal. */
  async current(): Promise<number> {
    const { startOffset, endOffset } = await this.#options.journal.bounds();
    if (startOffset > this.#droppedBelow) {
      this.#index.dropBelow(startOffset);
      this.#droppedBelow = startOffset;
    }
    while (this.#index.nextOffset < endOffset) {
      this.#catchingUp ??= this.#catchUp(endOffset).finally(() => this.#catchingUp = null);
      await this.#catchingUp;
    }
    return startOffset;
  }

  async #catchUp(endOffset: number): Promise<void> {
    const { journal } = this.#options;
    const { startOffset } = await journal.bounds();
    this.#index.advance(startOffset);
    while (this.#index.nextOffset < endOffset) {
      const from = this.#index.nextOffset;
      const to = Math.min(from + SCAN_OFFSETS, endOffset);
      await journal.replay(from, ({ key, value }, offset) => {
        if (offset >= this.#index.nextOffset) this.#index.add(offset, key, ledgerKindOf(value));
      }, to);
      this.#index.advance(to);
    }
  }

  /** Where something of the group may lie, in order. To be asked after `current`. */
  stretches(group: string, kind: LedgerKind, startOffset: number): Stretch[] {
    return this.#index.stretches(group, kind, startOffset);
  }

  /** What of the group lies in a stretch of the journal, in order. */
  async read(group: string, kind: LedgerKind, { from, to }: Stretch): Promise<LedgerRecord[]> {
    const found: LedgerRecord[] = [];
    const decoder = new TextDecoder();
    await this.#options.journal.replay(from, ({ key, value }, offset) => {
      if (key !== group || ledgerKindOf(value) !== kind) return;
      found.push({ offset, event: upcastGroupEvent(JSON.parse(decoder.decode(value))) });
    }, to);
    return found;
  }

  /** Saves the index, unless nothing has changed. */
  async close(): Promise<void> {
    if (this.#index.nextOffset > this.#savedAt) this.#save();
    await this.#saving;
  }

  #save(): void {
    const { id, snapshots, onFailure } = this.#options;
    const { nextOffset } = this.#index;
    const bytes = this.#index.encode();
    this.#savedAt = nextOffset;
    this.#saving = this.#saving
      .then(() => snapshots.save(id, { version: INDEX_VERSION, nextOffset, bytes }))
      .catch(onFailure);
  }
}

/** `stretches` in pieces that are read at once, newest first, from below `before` on. */
export function* chunksBackwards(
  stretches: readonly Stretch[],
  before: number,
): Generator<Stretch> {
  for (const { from, to } of stretches.toReversed()) {
    for (let end = Math.min(to, before); end > from; end -= CHUNK_OFFSETS) {
      yield { from: Math.max(from, end - CHUNK_OFFSETS), to: end };
    }
  }
}

/** The same, oldest first, from `since` on and below `before`. */
export function* chunksForwards(
  stretches: readonly Stretch[],
  { since, before }: { since: number; before: number },
): Generator<Stretch> {
  for (const { from, to } of stretches) {
    const end = Math.min(to, before);
    for (let at = Math.max(from, since); at < end; at += CHUNK_OFFSETS) {
      yield { from: at, to: Math.min(end, at + CHUNK_OFFSETS) };
    }
  }
}
