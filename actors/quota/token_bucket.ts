// Owns the token bucket: how much of something may be had now, and when there is room again. Pure, the time is handed in.
// Refuses to own what is counted and what is done when there is no room.
// Invariant: over any span at most the burst and rate times span is let through, and of one larger piece what exceeds the burst;
// that is owed, and nothing passes until it is paid.

/** A bucket holds what its rate yields in this time: the burst. */
export const BURST_MS = 1_000;
/** Longest that a caller is told to wait; with a rate of 0 there is never room. */
export const MAX_DELAY_MS = 3_600_000;
/** Tokens come in fractions, whose sums are off by less than this. */
const ROUNDING = 1e-6;

export class TokenBucket {
  #rate: number;
  #tokens: number;
  /** When `#tokens` was right, monotonic ms. */
  #at: number;

  /** Full. `ratePerSecond` is 0 or more; `nowMs`, here and below, is monotonic. */
  constructor(ratePerSecond: number, nowMs: number) {
    this.#rate = ratePerSecond;
    this.#tokens = this.capacity;
    this.#at = nowMs;
  }

  get ratePerSecond(): number {
    return this.#rate;
  }

  /** The most that can be had at once without a debt. */
  get capacity(): number {
    return this.#rate * BURST_MS / 1_000;
  }

  /** Goes on with another rate; what is owed stays owed, in tokens. */
  changeRate(ratePerSecond: number, nowMs: number): void {
    this.#refill(nowMs);
    const wasFull = this.#tokens >= this.capacity;
    this.#rate = ratePerSecond;
    this.#tokens = wasFull ? this.capacity : Math.min(this.#tokens, this.capacity);
  }

  /** Tokens there now; below 0 what is owed. */
  available(nowMs: number): number {
    this.#refill(nowMs);
    return this.#tokens;
  }

  /** Time until `count` may be taken, 0: now. What is more than the burst needs a full bucket. */
  delayMs(count: number, nowMs: number): number {
    if (count <= 0) return 0;
    this.#refill(nowMs);
    const missing = Math.min(count, this.capacity) - this.#tokens;
    if (this.#rate === 0) return MAX_DELAY_MS;
    if (missing <= ROUNDING) return 0;
    return Math.min(MAX_DELAY_MS, Math.ceil((missing - ROUNDING) * 1_000 / this.#rate));
  }

  /** Takes what was asked about before, or owes it. */
  take(count: number, nowMs: number): void {
    this.#refill(nowMs);
    this.#tokens -= count;
  }

  /** What was taken was not used. */
  give(count: number): void {
    this.#tokens = Math.min(this.capacity, this.#tokens + count);
  }

  #refill(nowMs: number): void {
    if (nowMs <= this.#at) return;
    const gained = (nowMs - this.#at) * this.#rate / 1_000;
    this.#tokens = Math.min(this.capacity, this.#tokens + gained);
    this.#at = nowMs;
  }
}
