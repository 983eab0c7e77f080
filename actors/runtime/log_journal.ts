// Owns how journal entries lie in record batches, over any log of such batches.
// Refuses to own that log: a file log or a partition actor stands behind `JournalLog`.
// Invariant: one append is one batch, so a crash keeps all of its entries or none.
import { BrokerError } from "../../storage/broker_error.ts";
import { decodeBatch } from "../../storage/format/decode.ts";
import { encodeBatch } from "../../storage/format/encode.ts";
import {
  batchSpans,
  CONTROL_BIT,
  lastOffsetDeltaAt,
  readHeader,
  setBaseOffset,
  setLeaderEpoch,
} from "../../storage/format/record_batch.ts";
import type { Log } from "../../storage/log.ts";
import type { Crc32c } from "../../storage/ports.ts";
import type { Journal, JournalBounds, JournalEntry } from "./journal.ts";

/** What a journal needs of the log below it. Async throughout: it may be an actor, and may be elsewhere. */
export interface JournalLog {
  /**
   * Appends one batch whose offset and epoch are not assigned yet; durable when it resolves. `expectedOffset` is where
   * the writer believes the log ends: refuse with STALE_EPOCH when it does not, if you can tell before writing.
   * DISK_FULL and OVERLOADED: nothing was kept. Any other rejection: unknown.
   */
  append(batch: Uint8Array, expectedOffset: number): Promise<{ readonly baseOffset: number }>;
  /** Whole durable batches, concatenated, the first of which holds `offset`; empty at the end. See `Log.read`. */
  read(offset: number, maxBytes: number): Promise<Uint8Array>;
  /** `endOffset` is the end of what is durable. */
  bounds(): Promise<JournalBounds>;
}

export interface LogJournalOptions {
  readonly crc32c: Crc32c;
  /** Bytes read at a time in a replay. */
  readonly maxReadBytes: number;
  readonly maxDecompressedBytes: number;
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The journal of event-sourced actors, kept in a log of record batches. */
export class LogJournal implements Journal {
  constructor(readonly log: JournalLog, readonly options: LogJournalOptions) {}

  async append(
    entries: readonly JournalEntry[],
    expectedOffset: number,
  ): Promise<{ readonly nextOffset: number }> {
    if (entries.length === 0) return { nextOffset: expectedOffset };
    const records = entries.map((entry) => ({
      key: entry.key,
      value: entry.value,
      headers: [],
      timestamp: entry.timestampMs,
    }));
    const batch = encodeBatch(records, { crc32c: this.options.crc32c });
    const { baseOffset } = await this.log.append(batch, expectedOffset);
    if (baseOffset !== expectedOffset) throw movedJournal(expectedOffset, baseOffset);
    return { nextOffset: baseOffset + entries.length };
  }

  async replay(
    fromOffset: number,
    onEntry: (entry: JournalEntry, offset: number) => void,
    endOffset = Infinity,
  ): Promise<number> {
    let offset = fromOffset;
    while (true) {
      if (offset >= endOffset) return offset;
      const bytes = await this.log.read(offset, this.options.maxReadBytes);
      if (bytes.length === 0) return offset;
      const next = this.#replayChunk(bytes, { from: offset, to: endOffset }, onEntry);
      if (next <= offset) throw new Error(`reading the journal at ${offset} gave nothing newer`);
      offset = next;
    }
  }

  bounds(): Promise<JournalBounds> {
    return this.log.bounds();
  }

  #replayChunk(
    bytes: Uint8Array,
    { from, to }: { from: number; to: number },
    onEntry: (entry: JournalEntry, offset: number) => void,
  ): number {
    let next = from;
    for (const { at } of batchSpans(bytes)) {
      const header = readHeader(bytes, at);
      if (header.baseOffset >= to) return next;
      next = header.baseOffset + lastOffsetDeltaAt(bytes, at) + 1;
      if ((header.attributes & CONTROL_BIT) !== 0) continue;
      for (const record of decodeBatch(bytes, at, this.options)) {
        if (record.offset < from || record.offset >= to) continue;
        if (record.key === null || record.value === null) {
          throw new Error(`journal record at ${record.offset} has no key or no value`);
        }
        const { value, timestamp: timestampMs } = record;
        onEntry({ key: decoder.decode(record.key), value, timestampMs }, record.offset);
      }
    }
    return next;
  }
}

function movedJournal(expectedOffset: number, actualOffset: number): BrokerError {
  return new BrokerError(
    "STALE_EPOCH",
    `the journal ends at ${actualOffset}, its writer believed at ${expectedOffset}: another wrote to it`,
    { expectedOffset, actualOffset },
  );
}

/** A `Log` of this process as a `JournalLog`, for a journal that is no topic's partition. Batches get `leaderEpoch`. */
export function journalLogOver(log: Log, leaderEpoch: number): JournalLog {
  return {
    async append(batch, expectedOffset) {
      if (log.logEndOffset !== expectedOffset) throw movedJournal(expectedOffset, log.logEndOffset);
      setBaseOffset(batch, 0, expectedOffset);
      setLeaderEpoch(batch, 0, leaderEpoch);
      return await log.append([batch]);
    },
    read: (offset, maxBytes) => log.read(offset, { endOffset: log.flushedOffset, maxBytes }),
    bounds: () =>
      Promise.resolve({ startOffset: log.logStartOffset, endOffset: log.flushedOffset }),
  };
}
