// Owns how many producers all partitions of a broker may remember, and what is counted of them.
// Refuses to own the producers themselves (producer_table.ts).
// Invariant: `held` is the sum over all open partitions.
import type { ErrorCode } from "../../storage/broker_error.ts";

export interface ProducerBounds {
  /** Producers that one partition remembers. */
  readonly maxPerPartition: number;
  /** Producers over all partitions; a partition keeps `minPerPartition` even beyond that. */
  readonly maxHeld: number;
  readonly minPerPartition: number;
  /** One that has appended nothing for this long may be forgotten. */
  readonly maxIdleMs: number;
}

export const DEFAULT_PRODUCER_BOUNDS: ProducerBounds = {
  maxPerPartition: 10_000,
  maxHeld: 100_000,
  minPerPartition: 64,
  maxIdleMs: 24 * 3_600_000,
};

/** Counted since the broker's start, but for `held`, which is of now. */
export interface ProducerCounters {
  /** Batches that were repeats, answered with their first offsets. */
  readonly duplicatesSuppressed: number;
  readonly outOfOrder: number;
  readonly fenced: number;
  /** Producers remembered, over all partitions. */
  readonly held: number;
  /** Forgotten, for their age or their number. */
  readonly evicted: number;
  /** Those of them that had been idle for too long. */
  readonly expired: number;
}

export class ProducerCensus {
  private held = 0;
  private evictions = 0;
  private expiries = 0;
  private duplicates = 0;
  private outOfOrder = 0;
  private fenced = 0;

  constructor(private readonly bounds: ProducerBounds) {}

  /** Why a partition that holds `size` producers lets go of its oldest, idle for `idleMs`; null when it does not. */
  reasonToDrop(size: number, idleMs: number): "age" | "count" | null {
    const { maxPerPartition, maxHeld, minPerPartition, maxIdleMs } = this.bounds;
    if (idleMs > maxIdleMs) return "age";
    const isTooMany = size > maxPerPartition || (this.held > maxHeld && size > minPerPartition);
    return isTooMany ? "count" : null;
  }

  added(count: number): void {
    this.held += count;
  }

  dropped(reason: "age" | "count"): void {
    this.held--;
    this.evictions++;
    if (reason === "age") this.expiries++;
  }

  suppressed(batches: number): void {
    this.duplicates += batches;
  }

  refused(code: ErrorCode): void {
    if (code === "OUT_OF_ORDER_SEQUENCE") this.outOfOrder++;
    else if (code === "PRODUCER_FENCED") this.fenced++;
  }

  counters(): ProducerCounters {
    const { outOfOrder, fenced, held } = this;
    return {
      duplicatesSuppressed: this.duplicates,
      outOfOrder,
      fenced,
      held,
      evicted: this.evictions,
      expired: this.expiries,
    };
  }
}
