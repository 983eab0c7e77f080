// Owns the producers that one partition remembers, and the changes to them that are not durable yet.
// Refuses to own the rules (producer_state.ts) and how many all partitions together may hold (producer_census.ts).
// Invariant: the table changes only by `commit`, after the log has flushed; the order of its entries is that of their last
// append, and one with an open transaction is never dropped.
import type { ProducerCensus, ProducerHolder } from "./producer_census.ts";
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

export class ProducerTable implements ProducerView, ProducerHolder {
  /** Least recently used first; those without an open transaction. */
  private readonly entries = new Map<number, ProducerEntry>();
  /** The others: however many there are, they do not hide those that may be dropped. */
  private readonly open = new Map<number, ProducerEntry>();

  /** `owner`: whose the topic is. */
  constructor(private readonly census: ProducerCensus, readonly owner = "") {}

  get size(): number {
    return this.entries.size + this.open.size;
  }

  get(producerId: number): ProducerEntry | undefined {
    return this.entries.get(producerId) ?? this.open.get(producerId);
  }

  /** Least recently used first, behind those with an open transaction. */
  *all(): Generator<[number, ProducerEntry]> {
    yield* this.open;
    yield* this.entries;
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
    this.replace(producerId, evolveProducer(this.get(producerId), event));
  }

  private replace(producerId: number, entry: ProducerEntry): void {
    const isKnown = this.entries.delete(producerId) || this.open.delete(producerId);
    (entry.transactionOffset >= 0 ? this.open : this.entries).set(producerId, entry);
    if (!isKnown) this.census.added(this);
  }

  /** See ProducerHolder. */
  dropOldest(count: number): number {
    let dropped = 0;
    for (const producerId of this.entries.keys()) {
      if (dropped === count) break;
      this.entries.delete(producerId);
      this.census.dropped("count");
      dropped++;
    }
    return dropped;
  }

  /** Drops the oldest while there are too many, and those not heard of for too long; bounded work a call. */
  expire(now: number): void {
    this.dropExcess(now);
    this.census.relieve();
  }

  private dropExcess(now: number): void {
    let looks = MAX_LOOKED_AT;
    for (const [producerId, entry] of this.entries) {
      if (looks-- === 0) return;
      const reason = this.census.reasonToDrop(this.size, now - entry.touchedAt);
      if (reason === null) return;
      this.entries.delete(producerId);
      this.census.dropped(reason);
    }
  }

  /** Forgets all: the partition closes, or its log is opened anew. */
  clear(): void {
    this.census.cleared(this, this.size);
    this.entries.clear();
    this.open.clear();
  }
}

function producerOf(event: ProducerEvent): number {
  return event.type === "ProducerAppended" ? event.batch.producerId : event.marker.producerId;
}
