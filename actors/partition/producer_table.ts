// Owns the producers that one partition remembers, and the changes to them that are not durable yet.
// Refuses to own the rules (producer_state.ts) and how many all partitions together may hold (producer_census.ts).
// Invariant: the table changes only by `commit`, after the log has flushed; the order of its entries is that of their last
// append, and one with an open transaction is never dropped.
import type { ProducerCensus } from "./producer_census.ts";
import {
  evolveProducer,
  type ProducerEntry,
  type ProducerEvent,
  type ProducerView,
} from "./producer_state.ts";

/** Entries that one commit or sweep looks at for dropping. */
const MAX_LOOKED_AT = 1_000;

/** Producers as they will be once the events applied here are durable. */
export class ProducerDraft implements ProducerView {
  readonly events: ProducerEvent[] = [];
  private readonly changed = new Map<number, ProducerEntry>();

  constructor(private readonly base: ProducerView) {}

  get(producerId: number): ProducerEntry | undefined {
    return this.changed.get(producerId) ?? this.base.get(producerId);
  }

  apply(event: ProducerEvent): void {
    const producerId = producerOf(event);
    this.changed.set(producerId, evolveProducer(this.get(producerId), event));
    this.events.push(event);
  }
}

export class ProducerTable implements ProducerView {
  /** Least recently used first. */
  private readonly entries = new Map<number, ProducerEntry>();

  constructor(private readonly census: ProducerCensus) {}

  get size(): number {
    return this.entries.size;
  }

  get(producerId: number): ProducerEntry | undefined {
    return this.entries.get(producerId);
  }

  /** Least recently used first. */
  all(): IterableIterator<[number, ProducerEntry]> {
    return this.entries.entries();
  }

  /** Folds durable events in, in order, and drops what is too much or, at monotonic time `now`, too old. */
  commit(events: readonly ProducerEvent[], now: number): void {
    for (const event of events) this.put(producerOf(event), event);
    this.expire(now);
  }

  /** Puts an entry behind all others: for what a snapshot holds. */
  restore(producerId: number, entry: ProducerEntry): void {
    this.replace(producerId, entry);
  }

  private put(producerId: number, event: ProducerEvent): void {
    this.replace(producerId, evolveProducer(this.entries.get(producerId), event));
  }

  private replace(producerId: number, entry: ProducerEntry): void {
    if (!this.entries.delete(producerId)) this.census.added(1);
    this.entries.set(producerId, entry);
  }

  /** Drops the oldest while there are too many, and those not heard of for too long; bounded work a call. */
  expire(now: number): void {
    let looks = MAX_LOOKED_AT;
    for (const [producerId, entry] of this.entries) {
      if (looks-- === 0) return;
      const reason = this.census.reasonToDrop(this.entries.size, now - entry.touchedAt);
      if (reason === null) return;
      if (entry.transactionOffset >= 0) continue;
      this.entries.delete(producerId);
      this.census.dropped(reason);
    }
  }

  /** Forgets all: the partition closes, or its log is opened anew. */
  clear(): void {
    this.census.added(-this.entries.size);
    this.entries.clear();
  }
}

function producerOf(event: ProducerEvent): number {
  return event.type === "ProducerAppended" ? event.batch.producerId : event.marker.producerId;
}
