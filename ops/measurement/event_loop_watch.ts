// Owns finding out how long the event loop is held up: a short timer that looks how late it runs.
// Refuses to own what is done about it. Invariant: one timer, none once stopped.
import type { Cancel, Clock, Timers } from "../../storage/ports.ts";

/** A hold-up that is shorter may fall between two looks. */
const LOOK_MS = 20;

export class EventLoopWatch {
  #maxMs = 0;
  #dueAt: number;
  #cancel: Cancel;

  constructor(private readonly ports: { readonly clock: Clock; readonly timers: Timers }) {
    this.#dueAt = ports.clock.monotonic() + LOOK_MS;
    this.#cancel = this.#later();
  }

  /** Longest delay since the last call, one that goes on included. */
  takeMaxMs(): number {
    const maxMs = Math.max(this.#maxMs, this.#lateMs());
    this.#maxMs = 0;
    return maxMs;
  }

  stop(): void {
    this.#cancel();
  }

  #lateMs(): number {
    return Math.max(0, this.ports.clock.monotonic() - this.#dueAt);
  }

  #later(): Cancel {
    return this.ports.timers.after(LOOK_MS, () => {
      this.#maxMs = Math.max(this.#maxMs, this.#lateMs());
      this.#dueAt = this.ports.clock.monotonic() + LOOK_MS;
      this.#cancel = this.#later();
    });
  }
}
