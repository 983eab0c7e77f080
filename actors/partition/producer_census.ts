// Owns how many producers all partitions of a broker may remember, and what is counted of them.
// Refuses to own the producers themselves (producer_table.ts).
// Invariant: `held` is the sum over all open partitions. Beyond the bound those go that the owner of most of them has in the
// partition that has most, and never any of an owner that has clearly less than its share: whoever publishes under ever new
// ids makes the broker forget its own.
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

/** What of `maxHeld` is let go at once when it is passed: to find out who holds most is not for every one of them. */
const RELIEF_SHARE = 0.01;
/** Of one partition before it is asked again which holds most. */
const RELIEF_STEP = 64;

/** The producers of one partition. */
export interface ProducerHolder {
  /** Whose the topic is. */
  readonly owner: string;
  readonly size: number;
  /** Forgets up to `count` of those that may be forgotten, the oldest first; how many those were. */
  dropOldest(count: number): number;
}

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
  /** Those that hold something, by owner. */
  private readonly holders = new Map<string, Set<ProducerHolder>>();
  /** Below this it is not tried again to let go of some: it was in vain. */
  private nextReliefAt = 0;
  private evictions = 0;
  private expiries = 0;
  private duplicates = 0;
  private outOfOrder = 0;
  private fenced = 0;

  constructor(private readonly bounds: ProducerBounds) {}

  /** Why a partition that holds `size` producers lets go of its oldest, idle for `idleMs`; null when it does not. */
  reasonToDrop(size: number, idleMs: number): "age" | "count" | null {
    const { maxPerPartition, maxIdleMs } = this.bounds;
    if (idleMs > maxIdleMs) return "age";
    return size > maxPerPartition ? "count" : null;
  }

  /** `holder` has one more. */
  added(holder: ProducerHolder): void {
    this.held++;
    const ofOwner = this.holders.get(holder.owner);
    if (ofOwner === undefined) this.holders.set(holder.owner, new Set([holder]));
    else ofOwner.add(holder);
  }

  /** `holder` has forgotten all it had, `count`. */
  cleared(holder: ProducerHolder, count: number): void {
    this.held -= count;
    const ofOwner = this.holders.get(holder.owner);
    ofOwner?.delete(holder);
    if (ofOwner?.size === 0) this.holders.delete(holder.owner);
  }

  /** Has those let go that hold most, while there are too many over all. */
  relieve(): void {
    const { maxHeld, minPerPartition } = this.bounds;
    if (this.held <= maxHeld || this.held < this.nextReliefAt) return;
    const slack = Math.floor(maxHeld * RELIEF_SHARE);
    const share = maxHeld / this.holders.size;
    const sized = [...this.holders.values()].map((holders) => ({
      able: [...holders].filter(({ size }) => size > minPerPartition),
      size: [...holders].reduce((sum, { size }) => sum + size, 0),
    }));
    while (this.held > maxHeld - slack) {
      const owners = sized.filter(({ able, size }) => able.length > 0 && size > share - slack);
      if (owners.length === 0) break;
      const owner = owners.reduce((most, each) => each.size > most.size ? each : most);
      const holder = owner.able.reduce((most, each) => each.size > most.size ? each : most);
      const excess = this.held - (maxHeld - slack);
      const spare = holder.size - minPerPartition;
      const count = Math.min(RELIEF_STEP, excess, Math.ceil(spare / 2));
      const dropped = holder.dropOldest(count);
      owner.size -= dropped;
      if (dropped === count && holder.size > minPerPartition) continue;
      owner.able = owner.able.filter((each) => each !== holder);
    }
    this.nextReliefAt = this.held > maxHeld ? this.held + Math.max(1, slack) : 0;
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
