// Owns waiting for data on behalf of many readers: one wait at the broker per partition, however many are interested.
// Refuses to own reading; a waiter that is woken looks for itself, and may find nothing.
// Invariant: every waiter is called at most once, and not after it was cancelled.
import type { Broker, TopicPartition } from "../../actors/broker.ts";
import type { Cancel, Timers } from "../../storage/ports.ts";
import { partitionKey } from "./held_partition.ts";

export interface DataWaitersOptions {
  readonly broker: Pick<Broker, "waitForData">;
  readonly timers: Timers;
  /** A wait at the broker is renewed after this. */
  readonly dataWaitMs: number;
  /** Readers of a partition at which one cannot wait look again after this. */
  readonly retryMs: number;
}

interface Waiter {
  readonly offset: number;
  readonly wake: () => void;
}

/** The readers of one partition and the broker's wait for the lowest of their offsets. */
interface Waited {
  readonly at: TopicPartition;
  readonly waiters: Set<Waiter>;
  offset: number;
  abort: AbortController;
}

export class DataWaiters {
  readonly #options: DataWaitersOptions;
  readonly #waited = new Map<string, Waited>();

  constructor(options: DataWaitersOptions) {
    this.#options = options;
  }

  /** Calls `wake` when there may be data at `offset`. */
  wait(at: TopicPartition, offset: number, wake: () => void): Cancel {
    const key = partitionKey(at);
    const waiter = { offset, wake };
    let waited = this.#waited.get(key);
    if (waited === undefined) {
      waited = { at, waiters: new Set(), offset, abort: new AbortController() };
      this.#waited.set(key, waited);
      void this.#run(key, waited);
    } else if (offset < waited.offset) {
      waited.offset = offset;
      waited.abort.abort();
    }
    waited.waiters.add(waiter);
    const from = waited;
    return () => {
      if (!from.waiters.delete(waiter) || from.waiters.size > 0) return;
      if (this.#waited.get(key) === from) this.#waited.delete(key);
      from.abort.abort();
    };
  }

  async #run(key: string, waited: Waited): Promise<void> {
    // A wait that was aborted by a lower offset starts again with it; every other end wakes all.
    do {
      waited.abort = new AbortController();
      if (!await this.#once(waited)) return;
    } while (waited.abort.signal.aborted && this.#waited.get(key) === waited);
    if (this.#waited.get(key) === waited) this.#wakeAll(key, waited);
  }

  /** False when one cannot wait there: its readers are woken later, so that they meet the error themselves. */
  async #once(waited: Waited): Promise<boolean> {
    const { broker, dataWaitMs, timers, retryMs } = this.#options;
    const { signal } = waited.abort;
    try {
      const isolation = "read_committed" as const;
      const options = { timeoutMs: dataWaitMs, signal, isolation };
      await broker.waitForData(waited.at, waited.offset, options);
      return true;
    } catch {
      const key = partitionKey(waited.at);
      timers.after(retryMs, () => {
        if (this.#waited.get(key) === waited) this.#wakeAll(key, waited);
      });
      return false;
    }
  }

  #wakeAll(key: string, waited: Waited): void {
    this.#waited.delete(key);
    for (const waiter of [...waited.waiters]) {
      if (waited.waiters.delete(waiter)) waiter.wake();
    }
  }
}
