// Owns what happened in a drill, in its order, with the time since it began.
// Refuses to own what is worth telling. Invariant: entries are only added, and times never go back, whatever the wall clock does.
import type { TimelineEntry, TimelineKind } from "./types.ts";

/** Beyond it entries are counted only: a drill that goes wrong may go on telling of it. */
const MAX_ENTRIES = 1_000;

export class Timeline {
  readonly #entries: TimelineEntry[] = [];
  readonly #startedMs: number;
  #leftOut = 0;

  constructor(
    private readonly monotonic: () => number,
    private readonly onEntry: (entry: TimelineEntry) => void = () => {},
  ) {
    this.#startedMs = monotonic();
  }

  /** Since it was made, ms. */
  get elapsedMs(): number {
    return this.monotonic() - this.#startedMs;
  }

  /** Adds an entry; gives back its time, ms since the beginning. */
  add(kind: TimelineKind, text: string): number {
    const entry = { atMs: Math.round(this.elapsedMs), kind, text };
    if (this.#entries.length < MAX_ENTRIES) {
      this.#entries.push(entry);
      this.onEntry(entry);
    } else this.#leftOut++;
    return entry.atMs;
  }

  /** Oldest first; the last one says how many were left out. */
  entries(): readonly TimelineEntry[] {
    if (this.#leftOut === 0) return [...this.#entries];
    const text = `${this.#leftOut} more entries were left out`;
    return [...this.#entries, { atMs: Math.round(this.elapsedMs), kind: "step", text }];
  }
}
