// Owns the port of the journal that event-sourced actors write their events to.
// Refuses to own what an event means (the decider) or where entries are kept (log_journal.ts).
// Invariant: an entry once read at an offset is read there for ever; entries of one append appear all or none.
import { BrokerError } from "../../storage/broker_error.ts";

/** Whether an append that was rejected with `error` has surely kept nothing: there was no room for it, on disk or in a queue. */
export function keptNothing(error: unknown): error is BrokerError {
  return error instanceof BrokerError &&
    (error.code === "DISK_FULL" || error.code === "OVERLOADED");
}

/** One event of one key, as kept. */
export interface JournalEntry {
  readonly key: string;
  /** The event as UTF-8 JSON, with its version inside. */
  readonly value: Uint8Array;
  /** Wall time at which it was decided; for people, never for decisions. */
  readonly timestampMs: number;
}

export interface JournalBounds {
  /** Offset of the first entry kept. */
  readonly startOffset: number;
  /** Offset that the next entry will get. */
  readonly endOffset: number;
}

/** An append-only journal with one writer. Offsets grow, but need not be contiguous. */
export interface Journal {
  /**
   * Appends all entries as one; durable when it resolves, to the offset after the last one. Refuses (STALE_EPOCH) when the
   * journal does not end at `expectedOffset`: another writer was there. Rejections that `keptNothing` knows left
   * nothing; after any other the outcome is unknown, and the caller must replay before it appends again.
   */
  append(
    entries: readonly JournalEntry[],
    expectedOffset: number,
  ): Promise<{ readonly nextOffset: number }>;
  /**
   * Calls `onEntry` for each entry from `fromOffset` on and before `endOffset` (default: the end), in order; resolves to
   * the offset after the last one read, which may lie beyond `endOffset`.
   */
  replay(
    fromOffset: number,
    onEntry: (entry: JournalEntry, offset: number) => void,
    endOffset?: number,
  ): Promise<number>;
  bounds(): Promise<JournalBounds>;
}
