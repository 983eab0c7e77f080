// Owns how fast all jobs of one tenant together may publish: as its quota of messages and bytes says.
// Refuses to own what the tenant publishes itself (api/quota/), a job's own rate (pacer.ts), and waiting.
// Invariant: nothing is refused to a job; what was sent beyond the room is owed.
import { TokenBucket } from "../quota/token_bucket.ts";
import type { QuotaLimits } from "../quota/types.ts";

/** Tenants whose use is in memory; the one that came first goes first. */
const MAX_TENANTS = 1_000;

export type PublishLimits = Pick<
  QuotaLimits,
  "publishMessagesPerSecond" | "publishBytesPerSecond"
>;

/** What a job is about to send. */
export interface SentAmount {
  readonly messages: number;
  readonly bytes: number;
}

interface Buckets {
  messages: TokenBucket | null;
  bytes: TokenBucket | null;
}

/** Times are monotonic ms. */
export class TenantPace {
  readonly #tenants = new Map<string, Buckets>();

  /** `limitsOf` tells what holds for a tenant now. */
  constructor(private readonly limitsOf: (tenant: string) => PublishLimits) {}

  /** Time until the tenant's jobs may send something, 0: now. */
  waitMs(tenant: string, nowMs: number): number {
    const { messages, bytes } = this.#buckets(tenant, nowMs);
    return Math.max(messages?.delayMs(1, nowMs) ?? 0, bytes?.delayMs(1, nowMs) ?? 0);
  }

  /** Counts what a job of the tenant sends at `nowMs`. */
  sent(tenant: string, amount: SentAmount, nowMs: number): void {
    const { messages, bytes } = this.#buckets(tenant, nowMs);
    messages?.take(amount.messages, nowMs);
    bytes?.take(amount.bytes, nowMs);
  }

  /** With the limits as they are now. */
  #buckets(tenant: string, nowMs: number): Buckets {
    const limits = this.limitsOf(tenant);
    const known = this.#tenants.get(tenant) ?? { messages: null, bytes: null };
    known.messages = withRate(known.messages, limits.publishMessagesPerSecond, nowMs);
    known.bytes = withRate(known.bytes, limits.publishBytesPerSecond, nowMs);
    if (known.messages === null && known.bytes === null) {
      this.#tenants.delete(tenant);
      return known;
    }
    if (!this.#tenants.has(tenant) && this.#tenants.size >= MAX_TENANTS) {
      this.#tenants.delete(this.#tenants.keys().next().value!);
    }
    this.#tenants.set(tenant, known);
    return known;
  }
}

function withRate(
  bucket: TokenBucket | null,
  perSecond: number | null,
  nowMs: number,
): TokenBucket | null {
  if (perSecond === null) return null;
  if (bucket === null) return new TokenBucket(perSecond, nowMs);
  if (bucket.ratePerSecond !== perSecond) bucket.changeRate(perSecond, nowMs);
  return bucket;
}
