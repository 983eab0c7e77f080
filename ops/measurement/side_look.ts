// Owns doing something that takes time beside the samples: one at a time, not more often than it is worth.
// Refuses to own what it is. Invariant: nobody waits for it, and its failure is told, not thrown.
import type { Clock } from "../../storage/ports.ts";

export interface SideLookOptions {
  readonly clock: Pick<Clock, "monotonic">;
  readonly everyMs: number;
  readonly run: () => Promise<void>;
  /** Told once until it succeeds again. */
  readonly onError: (error: unknown) => void;
}

/** Timers may be a little early. */
const SLACK_MS = 50;

export class SideLook {
  #running: Promise<void> | null = null;
  #startedMs = -Infinity;
  #isFailing = false;

  constructor(private readonly options: SideLookOptions) {}

  /** Begins, unless it is under way or it is too early. */
  go(): void {
    const { clock, everyMs } = this.options;
    const nowMs = clock.monotonic();
    if (this.#running !== null || nowMs - this.#startedMs < everyMs - SLACK_MS) return;
    this.#startedMs = nowMs;
    this.#running = this.#run().finally(() => this.#running = null);
  }

  async settled(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    try {
      await this.options.run();
      this.#isFailing = false;
    } catch (error) {
      if (!this.#isFailing) this.options.onError(error);
      this.#isFailing = true;
    }
  }
}
