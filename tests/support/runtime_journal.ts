// Owns a journal and a snapshot store in memory that fail the way a test says.
// Refuses to own any default mercy: what was "kept" stays, what was not is gone, whatever the caller was told.
// Invariant: `entries` is what a replay sees.
import { BrokerError } from "../../storage/broker_error.ts";
import type { Snapshot, SnapshotStore } from "../../storage/snapshots.ts";
import type { Journal, JournalBounds, JournalEntry } from "../../actors/runtime/journal.ts";
import type { RuntimeEvent, RuntimeLog } from "../../actors/runtime/reports.ts";

/**
 * What becomes of one append: kept and confirmed; refused for lack of space on disk or in a queue; failed with nothing, or with everything,
 * kept; held until `release`.
 */
export type Fate = "ok" | "disk full" | "overloaded" | "fails unkept" | "fails kept" | "held";

export class MemoryJournal implements Journal {
  readonly entries: JournalEntry[] = [];
  /** Fates of the coming appends; "ok" when empty. */
  readonly fates: Fate[] = [];
  /** Number of entries of each append that was asked for. */
  readonly appends: number[] = [];
  startOffset = 0;
  replays = 0;
  replayError: Error | null = null;
  #held: (() => void)[] = [];
  #appending = false;

  async append(
    entries: readonly JournalEntry[],
    expectedOffset: number,
  ): Promise<{ readonly nextOffset: number }> {
    if (this.#appending) throw new Error("two appends at once");
    this.#appending = true;
    try {
      return await this.#append(entries, expectedOffset);
    } finally {
      this.#appending = false;
    }
  }

  async #append(entries: readonly JournalEntry[], expectedOffset: number) {
    this.appends.push(entries.length);
    const fate = this.fates.shift() ?? "ok";
    if (fate === "held") await new Promise<void>((resolve) => this.#held.push(resolve));
    else await Promise.resolve();
    if (expectedOffset !== this.entries.length) {
      throw new BrokerError("STALE_EPOCH", "another wrote to this journal");
    }
    if (fate === "disk full") throw new BrokerError("DISK_FULL", "no space left");
    if (fate === "overloaded") throw new BrokerError("OVERLOADED", "the partition has no room");
    if (fate !== "fails unkept") this.entries.push(...entries);
    if (fate === "fails kept" || fate === "fails unkept") throw new Error("the sync failed");
    return { nextOffset: this.entries.length };
  }

  async replay(
    fromOffset: number,
    onEntry: (entry: JournalEntry, offset: number) => void,
    endOffset = Infinity,
  ): Promise<number> {
    this.replays += 1;
    await Promise.resolve();
    if (this.replayError !== null) throw this.replayError;
    const end = Math.min(this.entries.length, endOffset);
    for (let at = fromOffset; at < end; at++) onEntry(this.entries[at]!, at);
    return end;
  }

  bounds(): Promise<JournalBounds> {
    return Promise.resolve({ startOffset: this.startOffset, endOffset: this.entries.length });
  }

  /** Lets the held append go on. */
  release(): void {
    const release = this.#held.shift();
    if (release === undefined) throw new Error("no append is held");
    release();
  }
}

export class MemorySnapshots implements SnapshotStore {
  readonly saved = new Map<string, Snapshot>();
  saves = 0;
  saveError: Error | null = null;

  load(id: string): Promise<Snapshot | null> {
    return Promise.resolve(this.saved.get(id) ?? null);
  }

  save(id: string, snapshot: Snapshot): Promise<void> {
    this.saves += 1;
    if (this.saveError !== null) return Promise.reject(this.saveError);
    this.saved.set(id, snapshot);
    return Promise.resolve();
  }

  remove(id: string): Promise<void> {
    this.saved.delete(id);
    return Promise.resolve();
  }
}

/** Keeps all that is reported. */
export class RecordingLog implements RuntimeLog {
  readonly events: RuntimeEvent[] = [];

  report(event: RuntimeEvent): void {
    this.events.push(event);
  }

  types(): string[] {
    return this.events.map(({ type }) => type);
  }
}
