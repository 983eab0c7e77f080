// Owns who waits to read one partition: up to its high watermark, or up to its last stable offset.
// Refuses to own these two (decide.ts, partition_producers.ts) and the log.
// Invariant: a reader is woken by what it may read, never by what is not yet readable at its isolation.
import type { Timers } from "../../storage/ports.ts";
import type { WaitOptions } from "../broker.ts";
import type { PartitionState } from "./decide.ts";
import type { PartitionProducers } from "./partition_producers.ts";
import { Waiters } from "./waiters.ts";

export class PartitionReaders {
  private readonly waiters: Waiters;
  /** Wait for the last stable offset rather than the high watermark. */
  private readonly stableWaiters: Waiters;
  private readonly listeners = new Set<(highWatermark: number) => void>();

  constructor(
    timers: Timers,
    private readonly producers: Pick<PartitionProducers, "lastStableOffset">,
  ) {
    this.waiters = new Waiters(timers);
    this.stableWaiters = new Waiters(timers);
  }

  /** Resolves when something above `offset` can be read, after `timeoutMs`, or when aborted. */
  wait(state: PartitionState, offset: number, options: WaitOptions): Promise<void> {
    const committed = options.isolation === "read_committed";
    if (this.readableEnd(state, committed) > offset) return Promise.resolve();
    return (committed ? this.stableWaiters : this.waiters).wait(offset, options);
  }

  /** Hears every rise of the high watermark. */
  onAdvance(listener: (highWatermark: number) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** The log was opened, and may hold what some wait for. */
  opened({ highWatermark }: PartitionState): void {
    this.waiters.advance(highWatermark);
    this.stableWaiters.advance(this.producers.lastStableOffset(highWatermark));
  }

  /** Something was made readable. */
  advanced(state: PartitionState): void {
    this.opened(state);
    for (const listener of this.listeners) listener(state.highWatermark);
  }

  /** Answers all who wait for data now. */
  wakeAll(): void {
    this.waiters.wakeAll();
    this.stableWaiters.wakeAll();
  }

  private readableEnd({ highWatermark }: PartitionState, committed: boolean): number {
    return committed ? this.producers.lastStableOffset(highWatermark) : highWatermark;
  }
}
