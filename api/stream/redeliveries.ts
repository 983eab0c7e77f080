// Owns the messages of one session that were nacked: which attempt is next, and when it is due.
// Refuses to own durable retries and dead letters: what is here ends with the session.
// Invariant: at most `maxRedeliveries`, waiting or in flight again; waiting ones are in order of their due time.

/** A nacked message. `dueAt` is on the monotonic clock. */
export interface Redelivery {
  /** `topic/partition` */
  readonly key: string;
  readonly offset: number;
  /** Of the delivery that is to come: 2 or more. */
  readonly attempt: number;
  readonly dueAt: number;
}

const MAX_EXPONENT = 8;
const BASE_MS = 100;
const JITTER_MS = 100;

/** Wait after attempt `attempt` failed: 2^min(attempt, 8) * 100 ms and 0 to 99 ms of jitter. `fraction` is in [0, 1). */
export function redeliveryDelayMs(attempt: number, fraction: number): number {
  return 2 ** Math.min(attempt, MAX_EXPONENT) * BASE_MS + Math.floor(fraction * JITTER_MS);
}

/** Waiting redeliveries, and the attempts of those in flight again. */
export class Redeliveries {
  #waiting: Redelivery[] = [];
  /** Attempt by offset, by key, of redelivered messages in flight. */
  readonly #inFlight = new Map<string, Map<number, number>>();
  #inFlightCount = 0;

  constructor(readonly maxRedeliveries: number) {}

  get size(): number {
    return this.#waiting.length + this.#inFlightCount;
  }

  get waiting(): readonly Redelivery[] {
    return this.#waiting;
  }

  /** Which attempt the message in flight is; 1 when it was never nacked. */
  attemptOf(key: string, offset: number): number {
    return this.#inFlight.get(key)?.get(offset) ?? 1;
  }

  /** False when the message cannot be taken in because the bound is reached. */
  hasRoomFor(key: string, offset: number): boolean {
    return this.size < this.maxRedeliveries || this.attemptOf(key, offset) > 1;
  }

  schedule(redelivery: Redelivery): void {
    this.#forgetInFlight(redelivery.key, redelivery.offset);
    let at = this.#waiting.length;
    while (at > 0 && this.#waiting[at - 1]!.dueAt > redelivery.dueAt) at--;
    this.#waiting.splice(at, 0, redelivery);
  }

  /** The first that is due and that `accepts` lets through. */
  firstDue(nowMs: number, accepts: (key: string) => boolean): Redelivery | null {
    for (const redelivery of this.#waiting) {
      if (redelivery.dueAt > nowMs) return null;
      if (accepts(redelivery.key)) return redelivery;
    }
    return null;
  }

  /** When the next one that `accepts` lets through is due; null when none is. */
  nextDueAt(accepts: (key: string) => boolean): number | null {
    return this.#waiting.find((redelivery) => accepts(redelivery.key))?.dueAt ?? null;
  }

  /** Takes it out of those that wait; it is in flight again when `delivered`, else forgotten. False when it does not wait. */
  take(redelivery: Redelivery, delivered: boolean): boolean {
    const at = this.#waiting.indexOf(redelivery);
    if (at < 0) return false;
    this.#waiting.splice(at, 1);
    if (!delivered) return true;
    let attempts = this.#inFlight.get(redelivery.key);
    if (attempts === undefined) this.#inFlight.set(redelivery.key, attempts = new Map());
    attempts.set(redelivery.offset, redelivery.attempt);
    this.#inFlightCount++;
    return true;
  }

  /** Forgets those in flight below `offset`; those that wait go on, whatever was committed past them. */
  settleBelow(key: string, offset: number): void {
    for (const inFlight of this.#inFlight.get(key)?.keys() ?? []) {
      if (inFlight < offset) this.#forgetInFlight(key, inFlight);
    }
  }

  /** Forgets all of a partition. */
  drop(key: string): void {
    this.#waiting = this.#waiting.filter((redelivery) => redelivery.key !== key);
    this.#inFlightCount -= this.#inFlight.get(key)?.size ?? 0;
    this.#inFlight.delete(key);
  }

  #forgetInFlight(key: string, offset: number): void {
    const attempts = this.#inFlight.get(key);
    if (attempts === undefined || !attempts.delete(offset)) return;
    this.#inFlightCount--;
    if (attempts.size === 0) this.#inFlight.delete(key);
  }
}
