// Owns one long poll's wait: until there is data, a change, the caller's abort, or no time left.
// Refuses to own what is done then. Invariant: when the wait is over nothing of it is left anywhere.
import type { Cancel, Timers } from "../../storage/ports.ts";
import type { DataWaiters } from "../stream/data_waiters.ts";
import type { HeldPartition } from "../stream/held_partition.ts";

export interface WaitOptions {
  readonly waitMs: number;
  readonly signal: AbortSignal;
  /** Data of any of these from its position on ends the wait. */
  readonly partitions: readonly (HeldPartition & { readonly position: number })[];
}

export class Wakeup {
  #wake: () => void = () => {};

  constructor(
    private readonly services: { readonly timers: Timers; readonly waiters: DataWaiters },
  ) {}

  /** Ends the wait there is, if any. */
  wake(): void {
    this.#wake();
  }

  async wait(options: WaitOptions): Promise<void> {
    const { timers, waiters } = this.services;
    const { waitMs, signal, partitions } = options;
    if (signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    const onAbort = () => resolve();
    signal.addEventListener("abort", onAbort);
    const cancels: Cancel[] = [
      timers.after(waitMs, resolve),
      ...partitions.map((held) => waiters.wait(held, held.position, resolve)),
      () => signal.removeEventListener("abort", onAbort),
    ];
    await promise;
    this.#wake = () => {};
    for (const cancel of cancels) cancel();
  }
}
