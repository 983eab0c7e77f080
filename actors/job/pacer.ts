// Owns when a job may send its next messages under its rate limit.
// Refuses to own time: it is told. Invariant: over any time, no more than the rate and one burst.

/** A job that was held up may catch up by this much. */
const MAX_CREDIT_MS = 200;
/** Chunks a second under a limit: fewer make bursts, more cost a sync each. */
const CHUNKS_PER_SECOND = 10;

export class Pacer {
  #nextMs = -Infinity;

  /** `ratePerSecond` null: no limit. */
  constructor(readonly ratePerSecond: number | null) {}

  /** Messages that may go at once, of `most`. */
  burst(most: number): number {
    if (this.ratePerSecond === null) return most;
    return Math.max(1, Math.min(most, Math.floor(this.ratePerSecond / CHUNKS_PER_SECOND)));
  }

  /** Ms to wait before the next messages; monotonic time. */
  waitMs(nowMs: number): number {
    return this.ratePerSecond === null ? 0 : Math.max(0, this.#nextMs - nowMs);
  }

  /** Counts `messages` that go at `nowMs`. */
  sent(messages: number, nowMs: number): void {
    if (this.ratePerSecond === null) return;
    const earliestMs = this.#nextMs === -Infinity ? nowMs : nowMs - MAX_CREDIT_MS;
    const from = Math.max(this.#nextMs, earliestMs);
    this.#nextMs = from + messages * 1_000 / this.ratePerSecond;
  }
}
