// Owns how much may be sent now to a follower's broker of what its replicas that are not in sync lack.
// Refuses to own the rate (../cluster/catch_up.ts) and what is sent (replica_sessions.ts).
// Invariant: over any span at most one second's bytes and rate times span is sent, and of one larger batch what exceeds that,
// which is owed.
import type { Clock } from "../../storage/ports.ts";
import { TokenBucket } from "../quota/token_bucket.ts";

export interface CatchUpOptions {
  readonly clock: Pick<Clock, "monotonic">;
  /** Null: as fast as it goes. */
  readonly catchUpBytesPerSecond: () => number | null;
}

export class CatchUp {
  #bucket: TokenBucket | null = null;

  constructor(private readonly options: CatchUpOptions) {}

  /** Bytes; below 1: none now. */
  available(): number {
    return this.#current()?.available(this.options.clock.monotonic()) ?? Infinity;
  }

  sent(bytes: number): void {
    this.#current()?.take(bytes, this.options.clock.monotonic());
  }

  /** Until a tenth of a second's bytes may be sent: many small answers would cost more than they bring. */
  delayMs(): number {
    const bucket = this.#current();
    if (bucket === null) return 0;
    return bucket.delayMs(Math.max(1, bucket.capacity / 10), this.options.clock.monotonic());
  }

  /** With the rate of now. */
  #current(): TokenBucket | null {
    const rate = this.options.catchUpBytesPerSecond();
    const now = this.options.clock.monotonic();
    if (rate === null) this.#bucket = null;
    else if (this.#bucket === null) this.#bucket = new TokenBucket(rate, now);
    else if (this.#bucket.ratePerSecond !== rate) this.#bucket.changeRate(rate, now);
    return this.#bucket;
  }
}
