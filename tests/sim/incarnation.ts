// Owns one life of the broker's process: its clock, its timers, and the fence that makes it dead for good.
// Refuses to own what outlives it (machine.ts).
// Invariant: after `end` nothing of it runs any more: no timer fires, no call to a port ever settles.
import type { Cancel, Clock, Timers } from "../../storage/ports.ts";
import { onGrid, type RunWorld } from "./world.ts";

/** A call of a client whose answer was lost with the process or the connection: its outcome is unknown. */
export class ConnectionLost extends Error {
  override name = "ConnectionLost";
}

const NEVER = new Promise<never>(() => {});

export class Incarnation implements Clock, Timers {
  readonly #cancels = new Set<Cancel>();
  readonly #startedAt: number;
  readonly #ended = Promise.withResolvers<never>();
  readonly #onEnd = new Set<() => void>();
  #isAlive = true;
  #reads = 0;

  constructor(private readonly world: RunWorld, readonly number: number) {
    this.#startedAt = world.time.monotonic();
    this.#ended.promise.catch(() => undefined);
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  /** Timers that have neither run nor been cancelled, and calls to ports that change something. */
  get pendingWork(): number {
    return this.#cancels.size - this.#reads;
  }

  now(): number {
    return Math.floor(this.world.time.now());
  }

  /** As with a real process, it does not go on where the last one stopped. */
  monotonic(): number {
    return this.world.time.monotonic() - this.#startedAt;
  }

  after(delayMs: number, run: () => void): Cancel {
    if (!this.#isAlive) return () => undefined;
    const cancel = this.world.time.after(onGrid(delayMs), () => {
      this.#cancels.delete(cancel);
      run();
    });
    this.#cancels.add(cancel);
    return () => {
      this.#cancels.delete(cancel);
      cancel();
    };
  }

  /** Calls back, once, when this life has ended: for what the machine and others do then. */
  onEnd(listener: () => void): () => void {
    this.#onEnd.add(listener);
    return () => this.#onEnd.delete(listener);
  }

  end(): void {
    this.#isAlive = false;
    for (const cancel of this.#cancels) cancel();
    this.#cancels.clear();
    this.#ended.reject(new ConnectionLost(`process ${this.number} has ended`));
    for (const listener of [...this.#onEnd]) listener();
    this.#onEnd.clear();
  }

  /** `answer`, or ConnectionLost when the process ends first. For clients. */
  answer<T>(answer: Promise<T>): Promise<T> {
    return Promise.race([answer, this.#ended.promise]);
  }

  /** Runs `work` after `delayMs`, and settles as it does: never, once the process has ended. For ports. */
  async port<T>(
    delayMs: number,
    work: () => Promise<T>,
    options: { isRead?: boolean } = {},
  ): Promise<T> {
    if (!this.#isAlive) return await NEVER;
    const reads = options.isRead === true ? 1 : 0;
    this.#reads += reads;
    await new Promise<void>((resolve) => {
      this.after(delayMs, resolve);
    });
    this.#reads -= reads;
    const outcome = await work().then(
      (value) => ({ value }),
      (error: unknown) => ({ error }),
    );
    if (!this.#isAlive) return await NEVER;
    if ("error" in outcome) throw outcome.error;
    return outcome.value;
  }
}
