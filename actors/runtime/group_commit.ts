// Owns the single-writer loop: enqueue, drain all that waits, one durable operation, settle each.
// Refuses to own what the operation is (the partition actor's append, the keyed actor's journal append).
// Invariant: one operation at a time, in submission order; nothing settles before the operation that carries it has.
import { BrokerError } from "../../storage/broker_error.ts";
import { Mailbox } from "./mailbox.ts";

export interface GroupCommitOptions<T, R> {
  /** Actor id that refusals name. */
  readonly name: string;
  /** Items and bytes that may wait; one more is refused with OVERLOADED. */
  readonly maxWaiting: number;
  readonly maxWaitingBytes: number;
  /** Items and bytes that one operation carries at most (one item is always carried). */
  readonly maxDrain: number;
  readonly maxDrainBytes: number;
  /**
   * The operation. Resolves to one result for each item, in their order; a BrokerError in place of a result rejects
   * that item alone. A rejection rejects every item of the drain with that error. Called with no items after `wake`.
   */
  readonly run: (items: readonly T[]) => Promise<readonly (R | BrokerError)[]>;
}

interface Waiting<T, R> {
  readonly item: T;
  readonly resolve: (result: R) => void;
  readonly reject: (error: unknown) => void;
}

/** Groups what many submit into few operations. Built for the hot path: no timers, one small object a submission. */
export class GroupCommit<T, R> {
  readonly #options: GroupCommitOptions<T, R>;
  readonly #mailbox: Mailbox<Waiting<T, R>>;
  #running = false;
  #woken = false;
  #closed = false;
  #loop: Promise<void> = Promise.resolve();

  constructor(options: GroupCommitOptions<T, R>) {
    this.#options = options;
    const { maxWaiting, maxWaitingBytes } = options;
    this.#mailbox = new Mailbox(options.name, { maxItems: maxWaiting, maxBytes: maxWaitingBytes });
  }

  /** Items that wait and are in no operation yet. */
  get waiting(): number {
    return this.#mailbox.size;
  }

  get waitingBytes(): number {
    return this.#mailbox.bytes;
  }

  /**
   * Resolves to the item's result when the operation that carried it has settled. Rejects with OVERLOADED when too
   * much waits, with the error of `close` once closed, or with what the operation says.
   */
  submit(item: T, weightBytes: number): Promise<R> {
    return new Promise((resolve, reject) => {
      this.#mailbox.push({ item, resolve, reject }, weightBytes);
      if (!this.#running) this.#start();
    });
  }

  /** Runs the operation once more soon, even with nothing to carry: for work that the owner finds by itself. */
  wake(): void {
    if (this.#closed) return;
    this.#woken = true;
    if (!this.#running) this.#start();
  }

  /** Rejects all that waits and all later submissions with `error`; resolves when the operation under way has settled. */
  close(error: BrokerError): Promise<void> {
    const settled = this.finish(error);
    for (const waiting of this.#mailbox.drain(Infinity)) waiting.reject(error);
    return settled;
  }

  /** Rejects all later submissions with `error`; resolves when all that waited before has been carried out. */
  finish(error: BrokerError): Promise<void> {
    this.#closed = true;
    this.#woken = false;
    this.#mailbox.close(error);
    return this.#loop;
  }

  #start(): void {
    this.#running = true;
    // On a microtask, so that all submissions of the same turn share the first operation.
    this.#loop = Promise.resolve().then(() => this.#drainAll());
  }

  async #drainAll(): Promise<void> {
    const { maxDrain, maxDrainBytes, run } = this.#options;
    while (this.#woken || this.#mailbox.size > 0) {
      this.#woken = false;
      const drained = this.#mailbox.drain(maxDrain, maxDrainBytes);
      try {
        settle(drained, await run(drained.map((waiting) => waiting.item)));
      } catch (error) {
        for (const waiting of drained) waiting.reject(error);
      }
    }
    this.#running = false;
  }
}

function settle<T, R>(
  drained: readonly Waiting<T, R>[],
  results: readonly (R | BrokerError)[],
): void {
  if (results.length !== drained.length) {
    throw new Error(`an operation on ${drained.length} items gave ${results.length} results`);
  }
  for (let i = 0; i < drained.length; i++) {
    const result = results[i] as R | BrokerError;
    const waiting = drained[i] as Waiting<T, R>;
    if (result instanceof BrokerError) waiting.reject(result);
    else waiting.resolve(result);
  }
}
