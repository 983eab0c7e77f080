// Owns waiting for one piece of a step's work, for a time and no longer, and telling it to stop.
// Refuses to own what follows from how it ended. Invariant: it settles at the latest when the time is over and the work had
// a moment to stop; what the work comes to after that is dropped.
import { asBrokerError, type BrokerError } from "../../storage/broker_error.ts";
import type { Timers } from "../../storage/ports.ts";

/** How long work that was told to stop may take to do so. */
const STOP_GRACE_MS = 5_000;

export type Attempted<T> =
  | { readonly type: "settled"; readonly value: T }
  | { readonly type: "failed"; readonly error: BrokerError }
  | { readonly type: "timedOut" }
  | { readonly type: "interrupted" };

/** One piece of work at a time, which `interrupt` ends early. */
export class Attempts {
  #interrupt: (() => void) | null = null;

  constructor(private readonly timers: Timers) {}

  /** Runs `work` for at most `timeoutMs`. Never rejects. */
  async make<T>(
    timeoutMs: number,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<Attempted<T>> {
    const controller = new AbortController();
    const ended = Promise.withResolvers<"timedOut" | "interrupted">();
    const cancel = this.timers.after(timeoutMs, () => ended.resolve("timedOut"));
    this.#interrupt = () => ended.resolve("interrupted");
    const settled = settle(() => work(controller.signal));
    try {
      const first = await Promise.race([settled, ended.promise]);
      if (typeof first !== "string") return first;
      controller.abort();
      await this.#graceFor(settled);
      return { type: first };
    } finally {
      cancel();
      this.#interrupt = null;
    }
  }

  /** Ends what is under way. */
  interrupt(): void {
    this.#interrupt?.();
  }

  async #graceFor(settled: Promise<unknown>): Promise<void> {
    const over = Promise.withResolvers<void>();
    const cancel = this.timers.after(STOP_GRACE_MS, over.resolve);
    await Promise.race([settled, over.promise]);
    cancel();
  }
}

async function settle<T>(work: () => Promise<T>): Promise<Attempted<T>> {
  try {
    return { type: "settled", value: await work() };
  } catch (error) {
    return { type: "failed", error: asBrokerError(error) };
  }
}
