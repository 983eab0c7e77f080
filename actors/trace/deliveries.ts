// Owns remembering the last deliveries of this broker: which messages were handed to whom.
// Refuses to own delivering. Invariant: a ring of a fixed size that costs a few stores a delivery; it knows since when it is whole.
import type { Clock } from "../../storage/ports.ts";
import type { MessageRanges } from "./message_ranges.ts";
import type { OffsetSpan, TraceDelivery, TraceEvent } from "./types.ts";

/** Of one delivery; the rest are told as one, with what lies between them. */
const MAX_SPANS = 8;

interface Entry extends Omit<TraceDelivery, "spans"> {
  readonly at: number;
  readonly from: number;
  readonly to: number;
}

export class DeliveryRing {
  readonly #entries: Entry[] = [];
  #next = 0;
  #fromMs: number;

  constructor(private readonly options: { readonly clock: Clock; readonly maxDeliveries: number }) {
    this.#fromMs = options.clock.now();
  }

  /** Deliveries of before are not known, wall ms. */
  get fromMs(): number {
    return this.#fromMs;
  }

  note(delivery: TraceDelivery): void {
    const { spans } = delivery;
    if (spans.length === 0) return;
    const at = this.options.clock.now();
    if (spans.length > MAX_SPANS) {
      this.#keep(delivery, at, { from: spans[0]!.from, to: spans.at(-1)!.to });
      return;
    }
    for (const span of spans) this.#keep(delivery, at, span);
  }

  #keep(delivery: TraceDelivery, at: number, { from, to }: OffsetSpan): void {
    const forgotten = this.#entries[this.#next];
    if (forgotten !== undefined) this.#fromMs = forgotten.at + 1;
    // Field by field: this is on the way of every delivery.
    const { topic, partition, group, member, attempt } = delivery;
    this.#entries[this.#next] = { topic, partition, group, member, attempt, at, from, to };
    this.#next = (this.#next + 1) % this.options.maxDeliveries;
  }

  /** What of the trace was delivered. */
  *eventsOf(ranges: MessageRanges): Generator<TraceEvent> {
    for (const { at, from, to, group, member, attempt, ...place } of this.#entries) {
      for (const found of ranges.within(place, { from, to, atMs: at })) {
        yield {
          at,
          kind: attempt > 1 ? "retried" : "delivered",
          ...found,
          ...(group === null ? {} : { group }),
          ...(member === null ? {} : { member }),
          attempt,
        };
      }
    }
  }
}
