// Owns what one session has fetched and not delivered yet, for want of window or quota: how much it may be, and what goes
// first.
// Refuses to own reading and delivering (reader.ts).
// Invariant: all that is kept is counted in the budget of all sessions, and while they keep too much nothing more is kept:
// it can be fetched again.
import type { HeldPartition } from "./held_partition.ts";
import type { StreamLimits } from "./limits.ts";
import type { BufferBudget } from "./outbox.ts";
import type { Source } from "./parcels.ts";

export interface KeptSourcesOptions {
  readonly budget: BufferBudget;
  readonly limits: Pick<StreamLimits, "maxHeldBytes" | "maxTotalHeldBytes">;
}

interface Kept {
  readonly source: Source;
  readonly bytes: number;
}

export class KeptSources {
  /** The least recently used first. */
  readonly #kept = new Map<HeldPartition, Kept>();
  #bytes = 0;

  constructor(private readonly options: KeptSourcesOptions) {}

  get(held: HeldPartition): Source | undefined {
    return this.#kept.get(held)?.source;
  }

  /** All sessions together keep too much. */
  get isFull(): boolean {
    const { budget, limits } = this.options;
    return budget.keptBytes >= limits.maxTotalHeldBytes;
  }

  /** Counts `bytes` while they are fetched by `fetch`: many sessions fetch at the same time when something is published. */
  async fetching<T>(bytes: number, fetch: () => Promise<T>): Promise<T> {
    const { budget } = this.options;
    budget.keptBytes += bytes;
    try {
      return await fetch();
    } finally {
      budget.keptBytes -= bytes;
    }
  }

  /** Keeps the last one whatever its size, and of the others what still fits; nothing at all while it is full. */
  keep(held: HeldPartition, source: Source): void {
    this.delete(held);
    if (this.isFull) return this.clear();
    const { maxHeldBytes } = this.options.limits;
    const bytes = source.sizeBytes;
    this.#kept.set(held, { source, bytes });
    this.#count(bytes);
    for (const oldest of this.#kept.keys()) {
      if (this.#bytes <= maxHeldBytes || oldest === held) break;
      this.delete(oldest);
    }
  }

  delete(held: HeldPartition): void {
    const kept = this.#kept.get(held);
    if (kept === undefined) return;
    this.#kept.delete(held);
    this.#count(-kept.bytes);
  }

  clear(): void {
    this.#kept.clear();
    this.#count(-this.#bytes);
  }

  #count(bytes: number): void {
    this.#bytes += bytes;
    this.options.budget.keptBytes += bytes;
  }
}
