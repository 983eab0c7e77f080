// Owns one measured rate of a tenant or topic: how much of it there was lately, and whether there is room for more.
// Refuses to own the arithmetic of room (actors/quota/token_bucket.ts) and what a refusal looks like (refusal.ts).
// Invariant: what is let through is counted whether or not there is a limit.
import { MAX_DELAY_MS, TokenBucket } from "../../actors/quota/token_bucket.ts";

/** What "lately" means for usage that is shown. */
const WINDOW_MS = 10_000;
/** While so many refused ones are held, those that come are refused unread where there is no room for what is usual. */
const CROWD = 16;
/** How much the last one counts in what is usual. */
const USUAL_SHARE = 1 / 16;

/** Times are monotonic ms. */
export class Rate {
  #bucket: TokenBucket | null = null;
  /** What those want who were refused and are held, and how many these are. */
  #wanted = 0;
  #held = 0;
  #usual = 1;
  /** Which window `#count` is of; `#before` is of the one before it. */
  #window = 0;
  #count = 0;
  #before = 0;

  /** Null: no limit. */
  get limit(): number | null {
    return this.#bucket?.ratePerSecond ?? null;
  }

  setLimit(perSecond: number | null, nowMs: number): void {
    if (perSecond === this.limit) return;
    if (perSecond === null) this.#bucket = null;
    else if (this.#bucket === null) this.#bucket = new TokenBucket(perSecond, nowMs);
    else this.#bucket.changeRate(perSecond, nowMs);
  }

  /** Time until there is room for `count`, 0: now. */
  delayMs(count: number, nowMs: number): number {
    return this.#bucket === null ? 0 : this.#bucket.delayMs(count, nowMs);
  }

  /** Time until there is room for `count` behind all that were refused before and are held. */
  turnMs(count: number, nowMs: number): number {
    if (this.#bucket === null) return 0;
    const ahead = this.#bucket.ratePerSecond === 0
      ? 0
      : this.#wanted * 1_000 / this.#bucket.ratePerSecond;
    return Math.min(MAX_DELAY_MS, Math.ceil(this.#bucket.delayMs(count, nowMs) + ahead));
  }

  /** One that wants `count` was refused and is held, until the returned function is called. */
  hold(count: number): () => void {
    const wanted = Math.min(count, this.#bucket?.capacity ?? 0);
    this.#wanted += wanted;
    this.#held++;
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      this.#wanted -= wanted;
      this.#held--;
    };
  }

  /** What one wants of which it is not known yet, as a rule. */
  get usualCount(): number {
    return this.#usual;
  }

  /** What there has to be room for before it is worth finding out: 1, or while very many are held what one usually wants. */
  get leastCount(): number {
    return this.#held < CROWD ? 1 : this.#usual;
  }

  take(count: number, nowMs: number): void {
    this.#turn(nowMs);
    this.#count += count;
    this.#usual += (count - this.#usual) * USUAL_SHARE;
    this.#bucket?.take(count, nowMs);
  }

  /** What was taken was refused after all. */
  give(count: number): void {
    this.#count = Math.max(0, this.#count - count);
    this.#bucket?.give(count);
  }

  /** How much there is room for; Infinity without a limit, below 0 what is owed. */
  available(nowMs: number): number {
    return this.#bucket === null ? Infinity : this.#bucket.available(nowMs);
  }

  /** Time until all of the burst is there again. */
  fullInMs(nowMs: number): number {
    return this.#bucket === null ? 0 : this.#bucket.delayMs(this.#bucket.capacity, nowMs);
  }

  /** Over the last seconds. */
  perSecond(nowMs: number): number {
    this.#turn(nowMs);
    const share = (nowMs % WINDOW_MS) / WINDOW_MS;
    return (this.#count + this.#before * (1 - share)) * 1_000 / WINDOW_MS;
  }

  /** Nothing was counted lately and nothing is owed: a new one would do the same. */
  isIdle(nowMs: number): boolean {
    return this.perSecond(nowMs) === 0 && this.fullInMs(nowMs) === 0;
  }

  #turn(nowMs: number): void {
    const window = Math.floor(nowMs / WINDOW_MS);
    if (window === this.#window) return;
    this.#before = window === this.#window + 1 ? this.#count : 0;
    this.#count = 0;
    this.#window = window;
  }
}
