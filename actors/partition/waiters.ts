// Owns readers that wait for a partition's high watermark to pass an offset.
// Refuses to own the watermark itself.
// Invariant: every waiter is settled exactly once: by data, by its time-out, by its abort or by the end of the partition.
import { BrokerError } from "../../storage/broker_error.ts";
import type { Timers } from "../../storage/ports.ts";

/** Readers that may wait on one partition; more are refused with OVERLOADED. */
export const MAX_WAITERS = 50_000;

interface Waiter {
  readonly offset: number;
  settle(): void;
}

export class Waiters {
  private readonly waiting = new Set<Waiter>();

  constructor(private readonly timers: Timers) {}

  /** Resolves when `advance` is called with a high watermark above `offset`, after `timeoutMs`, or when aborted. */
  wait(offset: number, options: { timeoutMs: number; signal?: AbortSignal }): Promise<void> {
    const { timeoutMs, signal } = options;
    if (signal?.aborted || timeoutMs <= 0) return Promise.resolve();
    if (this.waiting.size >= MAX_WAITERS) {
      return Promise.reject(
        new BrokerError("OVERLOADED", `${MAX_WAITERS} readers already wait for this partition`),
      );
    }
    return new Promise((resolve) => {
      const waiter: Waiter = {
        offset,
        settle: () => {
          this.waiting.delete(waiter);
          cancel();
          signal?.removeEventListener("abort", waiter.settle);
          resolve();
        },
      };
      const cancel = this.timers.after(timeoutMs, waiter.settle);
      signal?.addEventListener("abort", waiter.settle);
      this.waiting.add(waiter);
    });
  }

  /** Wakes those whose offset is now readable. */
  advance(highWatermark: number): void {
    if (this.waiting.size === 0) return;
    for (const waiter of [...this.waiting]) {
      if (waiter.offset < highWatermark) waiter.settle();
    }
  }

  /** Wakes all: the partition closes or changes hands. */
  wakeAll(): void {
    for (const waiter of [...this.waiting]) waiter.settle();
  }
}
