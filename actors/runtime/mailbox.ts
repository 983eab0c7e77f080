// Owns a bounded first-in first-out queue, bounded by count and by weight.
// Refuses to own who waits for the items, or in what batches they are handled (group_commit.ts).
// Invariant: what waits never exceeds `maxItems`, nor `maxBytes` by more than one item.
import { BrokerError } from "../../storage/broker_error.ts";

const FIRST_CAPACITY = 64;

export interface MailboxBounds {
  /** Items that may wait. */
  readonly maxItems: number;
  /** Sum of the weights that may wait; an item that alone weighs more is taken only when nothing else waits. */
  readonly maxBytes: number;
}

/** A bounded FIFO queue; `name` is the actor id that refusals name. */
export class Mailbox<T> {
  // A ring that doubles: at 30,000 items a second `shift()` and per-item nodes would show.
  #items: (T | undefined)[] = new Array(FIRST_CAPACITY);
  #weights: number[] = new Array(FIRST_CAPACITY).fill(0);
  #head = 0;
  #size = 0;
  #bytes = 0;
  #closed: BrokerError | null = null;

  constructor(readonly name: string, readonly bounds: MailboxBounds) {}

  get size(): number {
    return this.#size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Puts `item` at the end. Throws OVERLOADED (`actorId`, `waiting`, `maxItems`, `waitingBytes`, `maxBytes` in
   * details) when it is full, and the error given to `close` once closed.
   */
  push(item: T, weightBytes: number): void {
    if (this.#closed !== null) throw this.#closed;
    if (!this.#fits(weightBytes)) throw this.#overloaded(weightBytes);
    if (this.#size === this.#items.length) this.#grow();
    const at = (this.#head + this.#size) & (this.#items.length - 1);
    this.#items[at] = item;
    this.#weights[at] = weightBytes;
    this.#size += 1;
    this.#bytes += weightBytes;
  }

  /** Takes up to `maxItems` from the front, stopping before `maxBytes` is exceeded; at least one when any waits. */
  drain(maxItems: number, maxBytes = Infinity): T[] {
    const taken: T[] = [];
    let takenBytes = 0;
    while (this.#size > 0 && taken.length < maxItems) {
      const weight = this.#weights[this.#head] as number;
      if (taken.length > 0 && takenBytes + weight > maxBytes) break;
      takenBytes += weight;
      taken.push(this.#items[this.#head] as T);
      this.#items[this.#head] = undefined;
      this.#head = (this.#head + 1) & (this.#items.length - 1);
      this.#size -= 1;
    }
    this.#bytes -= takenBytes;
    return taken;
  }

  /** Refuses every further push with `error`; what waits stays to be drained. The first close decides the error. */
  close(error: BrokerError): void {
    this.#closed ??= error;
  }

  #fits(weightBytes: number): boolean {
    if (this.#size >= this.bounds.maxItems) return false;
    return this.#size === 0 || this.#bytes + weightBytes <= this.bounds.maxBytes;
  }

  #grow(): void {
    const capacity = this.#items.length;
    const items: (T | undefined)[] = new Array(capacity * 2);
    const weights: number[] = new Array(capacity * 2).fill(0);
    for (let i = 0; i < this.#size; i++) {
      const from = (this.#head + i) & (capacity - 1);
      items[i] = this.#items[from];
      weights[i] = this.#weights[from] as number;
    }
    this.#items = items;
    this.#weights = weights;
    this.#head = 0;
  }

  #overloaded(weightBytes: number): BrokerError {
    return new BrokerError("OVERLOADED", `the mailbox of ${this.name} is full`, {
      actorId: this.name,
      waiting: this.#size,
      maxItems: this.bounds.maxItems,
      waitingBytes: this.#bytes,
      maxBytes: this.bounds.maxBytes,
      weightBytes,
    });
  }
}
