// Owns what one request takes of its tenant's quotas, from its arrival to its answer.
// Refuses to own what a tenant has used (meters.ts), messages and topics (gate.ts).
// Invariant: either all that a request takes at its arrival is there, or it takes nothing; what it holds is given back once.
import { addRefusedRate, type NamedRate, setRateLimits } from "./headers.ts";
import type { TenantMeter } from "./meters.ts";
import type { Rate } from "./rate.ts";
import { quotaExceeded, rateExceeded, refusalOf, UNKNOWN_DELAY_MS } from "./refusal.ts";

/** What is known of a request before its body is read. */
export interface Arrival {
  /** Its body is something to be published. */
  readonly publishes: boolean;
  /** What its body has by its own account; null: not said, or there is none. */
  readonly bodyBytes: number | null;
}

export class RequestUse {
  #held = 0;
  #publishedBytes = 0;

  constructor(
    private readonly meter: TenantMeter,
    private readonly arrival: Arrival,
    private readonly nowMs: () => number,
  ) {}

  /** Takes a request, the bytes it is about to publish and their place in memory. Throws QUOTA_EXCEEDED. */
  admit(): void {
    const { meter, arrival: { publishes, bodyBytes } } = this;
    const now = this.nowMs();
    const bytes = bodyBytes ?? 0;
    if (meter.isPaced) {
      // Of a body that does not say its length nothing is known, but nothing may be owed.
      const published = publishes ? bodyBytes ?? 1 : 0;
      refuseRate(meter, [
        ["requestsPerSecond", meter.requests, 1],
        ["publishBytesPerSecond", meter.publishBytes, published],
        // How many there are is not known yet, but one at least: what has no room for that need not be read.
        [
          "publishMessagesPerSecond",
          meter.publishMessages,
          publishes ? meter.publishMessages.leastCount : 0,
        ],
      ], { nowMs: now, unknown: meter.publishMessages });
    }
    this.#hold(bytes);
    meter.requests.take(1, now);
    if (publishes) this.#publish(bytes, now);
  }

  /** So many more bytes of the body are in memory. One that did not say its length takes room as it comes: QUOTA_EXCEEDED. */
  collected(bytes: number): void {
    if (this.arrival.bodyBytes === null) this.#hold(bytes);
  }

  /** The body was read, of `bytes` in all. One that did not say its length is owed for. */
  received(bytes: number): void {
    const { publishes, bodyBytes } = this.arrival;
    if (bodyBytes === null && publishes) this.#publish(bytes, this.nowMs());
  }

  /** Whether `error` is for want of quota: nothing was stored then, so what it published does not count. */
  refused(error: unknown): boolean {
    if (refusalOf(error) === null) return false;
    this.meter.refused++;
    this.meter.publishBytes.give(this.#publishedBytes);
    this.#publishedBytes = 0;
    this.release();
    return true;
  }

  /** The request is answered. */
  release(): void {
    this.meter.inFlightBytes -= this.#held;
    this.#held = 0;
  }

  /** Tells of the rates that the request depends on, and of the one that it was refused for. */
  stamp(response: Response, error?: unknown): Response {
    const { meter, arrival: { publishes } } = this;
    if ((!meter.isPaced && error === undefined) || response.status === 101) return response;
    const rates: NamedRate[] = [["requestsPerSecond", meter.requests]];
    if (publishes) {
      rates.push(["publishBytesPerSecond", meter.publishBytes]);
      rates.push(["publishMessagesPerSecond", meter.publishMessages]);
    }
    setRateLimits(response.headers, rates, this.nowMs());
    const refusal = error === undefined ? null : refusalOf(error);
    const isTold = refusal !== null && "tenant" in refusal.owner &&
      rates.some(([name]) => name === refusal.quota);
    if (refusal?.quota.endsWith("PerSecond") && !isTold) {
      addRefusedRate(response.headers, refusal);
    }
    return response;
  }

  #hold(bytes: number): void {
    const { meter } = this;
    const limit = meter.limits.inFlightBytes;
    // One request alone may have more, or it could never pass.
    const isAlone = meter.inFlightBytes === this.#held;
    if (limit !== null && !isAlone && meter.inFlightBytes + bytes > limit) {
      const owner = { tenant: meter.tenant };
      const retryAfterMs = UNKNOWN_DELAY_MS;
      throw quotaExceeded({ quota: "inFlightBytes", owner, limit, retryAfterMs });
    }
    meter.inFlightBytes += bytes;
    this.#held += bytes;
  }

  #publish(bytes: number, now: number): void {
    if (bytes === 0) return;
    this.meter.publishBytes.take(bytes, now);
    this.#publishedBytes += bytes;
  }
}

/** Throws QUOTA_EXCEEDED for the rate that has room last, when one has none. Of `unknown` the count is but the least it can be. */
export function refuseRate(
  { tenant }: TenantMeter,
  wanted: readonly (readonly [...NamedRate, count: number])[],
  { nowMs, unknown }: { nowMs: number; unknown?: Rate },
): void {
  let worst: readonly [...NamedRate, count: number] | null = null;
  let delayMs = 0;
  for (const [name, rate, count] of wanted) {
    const own = rate.delayMs(count, nowMs);
    if (own <= delayMs) continue;
    delayMs = own;
    worst = [name, rate, count];
  }
  if (worst === null) return;
  const [quota, rate, asked] = worst;
  const count = rate === unknown ? Math.max(asked, rate.usualCount) : asked;
  throw rateExceeded({ quota, owner: { tenant } }, rate, { count, nowMs });
}
