// Owns appends that are on this replica's disk and wait for the others: each until the high watermark has passed it.
// Refuses to own the high watermark (decide.ts).
// Invariant: every wait is settled once, in the order of offsets, within WAIT_MS; a rejection means that nobody knows.
import { BrokerError } from "../../storage/broker_error.ts";
import type { Cancel, Timers } from "../../storage/ports.ts";

/** The longest that an append waits for other replicas: longer than a replica may lag before it no longer counts. */
const WAIT_MS = 30_000;

interface FlushWait {
  readonly offset: number;
  readonly resolve: () => void;
  readonly reject: (error: BrokerError) => void;
  /** In which turn of the sweep it came. */
  readonly turn: number;
}

export class FlushWaits {
  /** By offset, ascending; no more than appends of the partition that its mailbox and budget have let in. */
  #waiting: FlushWait[] = [];
  #turn = 0;
  #cancelSweep: Cancel | null = null;

  constructor(private readonly timers: Timers, private readonly name: string) {}

  /** See ReplicaLog.replicated; `isCurrent` false: another epoch has begun already. */
  wait(offset: number, isCurrent: boolean): Promise<void> {
    if (!isCurrent) return Promise.reject(this.#unknown("another epoch has begun"));
    return new Promise((resolve, reject) => {
      const wait = { offset, resolve, reject, turn: this.#turn };
      let at = this.#waiting.length;
      while (at > 0 && this.#waiting[at - 1]!.offset > offset) at--;
      if (at === this.#waiting.length) this.#waiting.push(wait);
      else this.#waiting.splice(at, 0, wait);
      this.#sweepLater();
    });
  }

  advance(highWatermark: number): void {
    const waiting = this.#waiting;
    if (waiting.length === 0 || waiting[0]!.offset > highWatermark) return;
    let done = 0;
    while (done < waiting.length && waiting[done]!.offset <= highWatermark) done++;
    for (const { resolve } of waiting.splice(0, done)) resolve();
  }

  failAll(why: string): void {
    for (const { reject } of this.#waiting.splice(0)) reject(this.#unknown(why));
  }

  /** One timer for all: what came before the last turn has waited long enough. */
  #sweepLater(): void {
    if (this.#cancelSweep !== null) return;
    this.#cancelSweep = this.timers.after(WAIT_MS / 2, () => {
      this.#cancelSweep = null;
      const last = this.#turn++;
      const late = this.#waiting.filter(({ turn }) => turn < last);
      this.#waiting = this.#waiting.filter(({ turn }) => turn >= last);
      for (const { reject } of late) reject(this.#unknown("too few replicas have it in time"));
      if (this.#waiting.length > 0) this.#sweepLater();
    });
  }

  #unknown(why: string): BrokerError {
    const message = `${this.name} cannot say whether the append is kept: ${why}`;
    return new BrokerError("STORAGE_FAILED", message);
  }
}
