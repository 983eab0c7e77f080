// Owns when all that lasts is asked again whether it still may, after ACLs have changed.
// Refuses to own the question (lasting_rights.ts) and what is asked (hub.ts, registry.ts).
// Invariant: the first change counts at once, and of those that come thick and fast no one waits longer than `RECHECK_MS`.
import type { Cancel, Clock, Timers } from "../../storage/ports.ts";

/** Asking takes some microseconds a consumer: a thousand changes in a row must not ask ten thousand of them each time. */
export const RECHECK_MS = 500;

export interface RechecksOptions {
  readonly clock: Pick<Clock, "monotonic">;
  readonly timers: Timers;
  readonly run: () => void;
}

export class Rechecks {
  #ranAtMs = -Infinity;
  #cancel: Cancel | null = null;

  constructor(private readonly options: RechecksOptions) {}

  /** Something has changed. */
  changed(): void {
    if (this.#cancel !== null) return;
    const leftMs = this.#ranAtMs + RECHECK_MS - this.options.clock.monotonic();
    if (leftMs <= 0) this.#run();
    else this.#cancel = this.options.timers.after(leftMs, () => this.#run());
  }

  /** What is due is dropped. */
  stop(): void {
    this.#cancel?.();
    this.#cancel = null;
  }

  #run(): void {
    this.#cancel = null;
    this.#ranAtMs = this.options.clock.monotonic();
    this.options.run();
  }
}
