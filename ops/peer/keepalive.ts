// Owns finding out that the other side of a connection is silent: a ping now and then, and how long nothing was heard.
// Refuses to own the connection. Invariant: what is read late, since this process itself stood still, is not held
// against the other side.
import type { Cancel, Clock, Timers } from "../../storage/ports.ts";
import type { PeerBounds } from "./types.ts";

export interface KeepaliveOptions {
  readonly clock: Pick<Clock, "monotonic">;
  readonly timers: Timers;
  readonly bounds: Pick<PeerBounds, "pingEveryMs" | "silenceMs">;
  /** Says something to the other side; left out: it is the other side that speaks. */
  readonly ping?: () => void;
  /** Nothing was heard for `silenceMs`. */
  readonly silent: () => void;
}

export class Keepalive {
  #heardAt: number;
  #lookedAt: number;
  #cancel: Cancel = () => {};

  constructor(private readonly options: KeepaliveOptions) {
    this.#heardAt = this.#lookedAt = options.clock.monotonic();
    this.#next();
  }

  heard(): void {
    this.#heardAt = this.options.clock.monotonic();
  }

  end(): void {
    this.#cancel();
  }

  #next(): void {
    const { timers, bounds } = this.options;
    this.#cancel = timers.after(bounds.pingEveryMs, () => this.#look());
  }

  #look(): void {
    const { clock, bounds, ping, silent } = this.options;
    const now = clock.monotonic();
    const stoodStillMs = now - this.#lookedAt - bounds.pingEveryMs;
    this.#lookedAt = now;
    if (stoodStillMs > bounds.pingEveryMs) this.#heardAt += stoodStillMs;
    if (now - this.#heardAt >= bounds.silenceMs) return silent();
    ping?.();
    this.#next();
  }
}
