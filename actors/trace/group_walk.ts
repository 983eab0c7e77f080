// Owns looking through the journals of all groups for what was done with the messages of a trace.
// Refuses to own what the events mean (group_events.ts) and writing the journals (the groups' actors).
// Invariant: reads from when the first message was published on, in pieces and within a bound; whoever asks is told when it
// was not enough.
import { Buffer } from "node:buffer";
import { BrokerError } from "../../storage/broker_error.ts";
import { upcastGroupEvent } from "../group/events.ts";
import type { Journal } from "../runtime/journal.ts";
import { groupTraceEvents, TOLD_TYPES } from "./group_events.ts";
import type { MessageRanges } from "./message_ranges.ts";
import type { TraceEvent } from "./types.ts";

/** Entries of all journals together that one answer looks through. */
const MAX_ENTRIES = 200_000;
const MAX_BYTES = 128 * 1_048_576;
/** Offsets read in one piece: others have their turn after each. */
const PIECE_OFFSETS = 1_024;
/** Clocks of producers may be ahead. */
const CLOCK_SLACK_MS = 60_000;
/** An event starts with its type: the rest need not be parsed to know it. */
const TYPE_BYTES = 64;
const TYPE = /^\{"type":"(\w+)"/;
const decoder = new TextDecoder();

/** The journal of one shard of groups. */
export interface GroupJournal extends Pick<Journal, "replay" | "bounds"> {
  /** As Partition. */
  offsetForTime(timestampMs: number): Promise<number>;
  /** False where another broker leads it, which tells of it. */
  leads(): boolean;
}

export interface GroupWalkOptions {
  readonly journals: readonly GroupJournal[];
  readonly ranges: MessageRanges;
  /** When the first message was published, ms. */
  readonly sinceMs: number;
  readonly maxEvents: number;
  yieldTurn(): Promise<void>;
}

export interface GroupWalk {
  readonly events: readonly TraceEvent[];
  readonly isCut: boolean;
}

/** Tells what groups did with the messages. */
export async function walkGroups(options: GroupWalkOptions): Promise<GroupWalk> {
  const walk = new Walk(options);
  for (const journal of options.journals) if (journal.leads()) await walk.through(journal);
  return walk;
}

class Walk implements GroupWalk {
  readonly events: TraceEvent[] = [];
  isCut = false;
  #entries = 0;
  #bytes = 0;
  readonly #names: readonly string[];

  constructor(private readonly options: GroupWalkOptions) {
    // As JSON has them: names have nothing that it would write otherwise.
    this.#names = options.ranges.topics.map((topic) => `"${topic}"`);
  }

  async through(journal: GroupJournal): Promise<void> {
    const { sinceMs, maxEvents, yieldTurn } = this.options;
    try {
      const { startOffset, endOffset } = await journal.bounds();
      const since = Math.max(0, sinceMs - CLOCK_SLACK_MS);
      let offset = Math.max(startOffset, await journal.offsetForTime(since));
      // What the journal held of that time may have been dropped.
      if (startOffset > 0 && offset === startOffset && offset < endOffset) this.isCut = true;
      while (offset < endOffset) {
        const isFull = this.#entries >= MAX_ENTRIES || this.#bytes >= MAX_BYTES ||
          this.events.length >= maxEvents;
        if (isFull) {
          this.isCut = true;
          return;
        }
        const to = Math.min(offset + PIECE_OFFSETS, endOffset);
        await journal.replay(offset, ({ key, value }) => this.#take(key, value), to);
        offset = to;
        if (offset < endOffset) await yieldTurn();
      }
    } catch (error) {
      if (!(error instanceof BrokerError)) throw error;
      this.isCut = true;
    }
  }

  #take(group: string, stored: Uint8Array): void {
    this.#entries++;
    this.#bytes += stored.length;
    const type = TYPE.exec(decoder.decode(stored.subarray(0, TYPE_BYTES)))?.[1];
    if (type !== undefined && !TOLD_TYPES.has(type)) return;
    const text = Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength).toString(
      "latin1",
    );
    if (!this.#names.some((name) => text.includes(name))) return;
    const event = upcastGroupEvent(JSON.parse(decoder.decode(stored)));
    for (const told of groupTraceEvents(group, event, this.options.ranges)) {
      if (this.events.length >= this.options.maxEvents) {
        this.isCut = true;
        return;
      }
      this.events.push(told);
    }
  }
}
