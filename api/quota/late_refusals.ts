// Owns telling refusals late, so that who asks again and again is slowed down and costs the others next to nothing.
// Refuses to own what is refused (gate.ts, request_use.ts).
// Invariant: a refusal is held for a bounded time, by a bounded number of requests, and not after its caller has gone.
import type { Timers } from "../../storage/ports.ts";
import { QuotaExceeded, quotaExceeded, refusalOf } from "./refusal.ts";

/**
 * A refusal is told when there is room for what was refused, behind all that were refused before, so that who asks again at
 * once passes at once: clients that mind no Retry-After come back one after the other, each about twice as often as it passes.
 * But no later than this, give or take a half; and so late where room does not come with time.
 */
const LATE_MS = 1_000;
/** Steps by the golden ratio spread evenly: what was refused at once must not come back at once. */
const SPREAD = 0.618034;
/** Requests whose refusal is held; further ones are told at once. */
const MAX_LATE = 10_000;

export class LateRefusals {
  #refused = 0;
  #held = 0;
  #spread = 0;

  /** Null: nothing is told late. */
  constructor(private readonly timers: Timers | null) {}

  /** Refusals for a quota there were, and those that are held. */
  counts(): { readonly refused: number; readonly toldLate: number } {
    return { refused: this.#refused, toldLate: this.#held };
  }

  /** Resolves when `error` is to be told, to what it then says. What is no refusal for a quota is told at once. */
  async holdBack(error: unknown, signal: AbortSignal): Promise<unknown> {
    if (!(error instanceof QuotaExceeded)) return error;
    this.#refused++;
    try {
      return await this.#heldBack(error, signal);
    } finally {
      error.letGo?.();
    }
  }

  async #heldBack(error: QuotaExceeded, signal: AbortSignal): Promise<QuotaExceeded> {
    if (this.timers === null || this.#held >= MAX_LATE) return error;
    const refusal = refusalOf(error)!;
    const hasTurn = error.letGo !== null && refusal.retryAfterMs <= LATE_MS;
    this.#spread = (this.#spread + SPREAD) % 1;
    const lateMs = hasTurn ? refusal.retryAfterMs : Math.round(LATE_MS * (0.5 + this.#spread));
    this.#held++;
    await after(this.timers, lateMs, signal);
    this.#held--;
    return quotaExceeded({ ...refusal, retryAfterMs: Math.max(0, refusal.retryAfterMs - lateMs) });
  }
}

/** Resolves after `delayMs`, or at once when the caller has gone. */
export async function after(timers: Timers, delayMs: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const onAbort = () => resolve();
  signal.addEventListener("abort", onAbort);
  const cancel = timers.after(delayMs, resolve);
  await promise;
  cancel();
  signal.removeEventListener("abort", onAbort);
}
