// Owns the quotas of this broker: the port over the set that is kept of them.
// Refuses to own what a change means (decide.ts), keeping it (runtime/kept_entries.ts) and enforcement (api/quota/).
// Invariant: what holds for a tenant is durable.
import type { MetadataStore } from "../../storage/metadata.ts";
import type { Clock, Timers } from "../../storage/ports.ts";
import { KeptEntries } from "../runtime/kept_entries.ts";
import { changeOfQuotas, decideQuotas, type QuotaCommand, type QuotaEvent } from "./decide.ts";
import {
  DEFAULT_QUOTA,
  type NewQuota,
  NO_LIMITS,
  type Quota,
  type QuotaLimits,
  type Quotas,
} from "./types.ts";

/** All of them are in memory, about 500 bytes each. */
const MAX_QUOTAS = 10_000;

export interface QuotasPorts {
  readonly metadata: MetadataStore;
  readonly clock: Clock;
  readonly timers: Timers;
  /** Default: MAX_QUOTAS. */
  readonly maxQuotas?: number;
}

export class LocalQuotas implements Quotas {
  private constructor(
    private readonly kept: KeptEntries<Quota, QuotaCommand, QuotaEvent>,
    private readonly clock: Clock,
  ) {}

  /** Reads all quotas. */
  static async open(
    { metadata, clock, timers, maxQuotas = MAX_QUOTAS }: QuotasPorts,
  ): Promise<LocalQuotas> {
    const kept = await KeptEntries.open<Quota, QuotaCommand, QuotaEvent>({
      name: "quotas",
      prefix: ["quotas"],
      metadata,
      timers,
      rules: {
        decide: (state, command) => decideQuotas(state, command, { maxQuotas }),
        changeOf: changeOfQuotas,
      },
    });
    return new LocalQuotas(kept, clock);
  }

  async put(quota: NewQuota): Promise<Quota> {
    const event = await this.kept.change({ type: "PutQuota", quota, at: this.clock.now() });
    if (event.type !== "QuotaPut") throw new Error(`setting a quota made ${event.type}`);
    return event.quota;
  }

  async delete(tenant: string): Promise<void> {
    await this.kept.change({ type: "DeleteQuota", tenant });
  }

  find(tenant: string): Quota | null {
    return this.kept.entries.get(tenant) ?? null;
  }

  limitsOf(tenant: string): QuotaLimits {
    return this.find(tenant) ?? this.find(DEFAULT_QUOTA) ?? NO_LIMITS;
  }

  list(): readonly Quota[] {
    return [...this.kept.entries.values()].sort((a, b) =>
      a.tenant < b.tenant ? -1 : a.tenant > b.tenant ? 1 : 0
    );
  }

  onChanged(listener: () => void): () => void {
    return this.kept.onChanged(listener);
  }

  /** Refuses new changes (SHUTTING_DOWN); resolves when those accepted before have settled. */
  close(): Promise<void> {
    return this.kept.close();
  }
}
