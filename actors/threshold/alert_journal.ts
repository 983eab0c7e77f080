// Owns writing the alerts' events down, behind what already holds in memory.
// Refuses to own what they mean, and the log that they lie in.
// Invariant: events are written in their order; one whose append was not confirmed is written again, until it is.
import type { Journal, JournalEntry } from "../runtime/journal.ts";
import { type AlertEvent, upcastAlertEvent } from "./events.ts";

/** Events that are not written yet; beyond it the oldest are never written. */
const MAX_UNWRITTEN_EVENTS = 5_000;
/** Events of one append: alerts are about 2 KB. */
const MAX_EVENTS_PER_APPEND = 200;
/** All events are of one actor. */
const KEY = "alerts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** An alert fires also while nothing can be written, on a full disk above all: so nobody waits for this but who asks. */
export class AlertJournal {
  #unwritten: AlertEvent[] = [];
  #writing: Promise<void> = Promise.resolve();
  #dropped = 0;

  constructor(private readonly journal: () => Journal) {}

  /** Events that wait to be written. */
  get unwritten(): readonly AlertEvent[] {
    return this.#unwritten;
  }

  /** Of those that were to be written, how many never will be. */
  get dropped(): number {
    return this.#dropped;
  }

  /** All that was written, in its order; resolves to the offset after it. */
  async load(onEvent: (event: AlertEvent) => void): Promise<number> {
    const journal = this.journal();
    const { startOffset } = await journal.bounds();
    return await journal.replay(startOffset, ({ value }) => {
      onEvent(upcastAlertEvent(JSON.parse(decoder.decode(value))));
    });
  }

  /** To be written with the next `flush`. */
  add(events: readonly AlertEvent[]): void {
    this.#unwritten.push(...events);
    const over = this.#unwritten.length - MAX_UNWRITTEN_EVENTS;
    if (over <= 0) return;
    this.#unwritten.splice(0, over);
    this.#dropped += over;
  }

  /** What is not written is another broker's to say now. */
  forget(): void {
    this.#unwritten = [];
  }

  /** Resolves when all that was added before is durable; rejects as the journal does, and the events are kept. */
  flush(): Promise<void> {
    const written = this.#writing.then(() => this.#write());
    this.#writing = written.catch(() => undefined);
    return written;
  }

  async #write(): Promise<void> {
    while (this.#unwritten.length > 0) {
      const journal = this.journal();
      const events = this.#unwritten.slice(0, MAX_EVENTS_PER_APPEND);
      const { endOffset } = await journal.bounds();
      await journal.append(events.map(entryOf), endOffset);
      const written = new Set(events);
      this.#unwritten = this.#unwritten.filter((event) => !written.has(event));
    }
  }
}

function entryOf(event: AlertEvent): JournalEntry {
  return { key: KEY, value: encoder.encode(JSON.stringify(event)), timestampMs: event.at };
}
