// Owns the retries that one session has in hand: those that are still to be sent, and the attempts of those in flight.
// Refuses to own when a message comes again, and whether: the group decides, durably.
// Invariant: a message is in here once, to be sent or in flight; those to be sent are in order of their time.

/** A retry to be sent. `dueAt` is on the monotonic clock; later than now only after a failure to read it. */
export interface Redelivery {
  /** `topic/partition` */
  readonly key: string;
  readonly offset: number;
  /** Of the delivery that is to come. */
  readonly attempt: number;
  readonly dueAt: number;
}

interface Sent {
  readonly attempt: number;
  /** In the order in which they were sent. */
  readonly serial: number;
  /** Of its partition when it was sent. */
  readonly position: number;
  /** A commit at this offset has passed it that may have been sent before the client saw it. */
  passedBy: number | null;
  /** Sweeps since then. */
  sweeps: number;
}

const SENT = { passedBy: null, sweeps: 0 };

/** Waiting redeliveries, and the attempts of those in flight again. */
export class Redeliveries {
  #waiting: Redelivery[] = [];
  /** By offset, by key, redelivered messages in flight. */
  readonly #inFlight = new Map<string, Map<number, Sent>>();
  #inFlightCount = 0;
  #serial = 0;

  get size(): number {
    return this.#waiting.length + this.#inFlightCount;
  }

  get waiting(): readonly Redelivery[] {
    return this.#waiting;
  }

  /** Which attempt the message in flight is; 1 when it was never nacked. */
  attemptOf(key: string, offset: number): number {
    return this.#inFlight.get(key)?.get(offset)?.attempt ?? 1;
  }

  schedule(redelivery: Redelivery): void {
    this.forgetInFlight(redelivery.key, redelivery.offset);
    let at = this.#waiting.length;
    while (at > 0 && this.#waiting[at - 1]!.dueAt > redelivery.dueAt) at--;
    this.#waiting.splice(at, 0, redelivery);
  }

  /** The first that is due and that `accepts` lets through. */
  firstDue(nowMs: number, accepts: (redelivery: Redelivery) => boolean): Redelivery | null {
    for (const redelivery of this.#waiting) {
      if (redelivery.dueAt > nowMs) return null;
      if (accepts(redelivery)) return redelivery;
    }
    return null;
  }

  /** When the next one that `accepts` lets through is due; null when none is. */
  nextDueAt(accepts: (redelivery: Redelivery) => boolean): number | null {
    return this.#waiting.find(accepts)?.dueAt ?? null;
  }

  /** Takes it out of those that wait. False when it does not wait. */
  forget(redelivery: Redelivery): boolean {
    const at = this.#waiting.indexOf(redelivery);
    if (at >= 0) this.#waiting.splice(at, 1);
    return at >= 0;
  }

  /** Takes out one that waits for this attempt, or an earlier one. */
  forgetWaiting(key: string, { offset, attempt }: { offset: number; attempt: number }): void {
    this.#waiting = this.#waiting.filter((one) =>
      one.key !== key || one.offset !== offset || one.attempt > attempt
    );
  }

  /** It is in flight again; the next new message of its partition is at `position`. False when it does not wait. */
  sent(redelivery: Redelivery, position: number): boolean {
    if (!this.forget(redelivery)) return false;
    let attempts = this.#inFlight.get(redelivery.key);
    if (attempts === undefined) this.#inFlight.set(redelivery.key, attempts = new Map());
    if (!attempts.has(redelivery.offset)) this.#inFlightCount++;
    const serial = ++this.#serial;
    attempts.set(redelivery.offset, { ...SENT, attempt: redelivery.attempt, serial, position });
    return true;
  }

  /**
   * Offsets of those in flight that a commit at `offset` is about. It may have been sent before the client saw them: that it
   * did is sure when the commit is just behind one that was sent no earlier, or passes a new message that was sent later.
   */
  settledBy(key: string, offset: number): number[] {
    const inFlight = this.#inFlight.get(key);
    if (inFlight === undefined) return [];
    const serial = inFlight.get(offset - 1)?.serial ?? 0;
    return [...inFlight].filter(([at, sent]) =>
      at < offset && (sent.serial <= serial || sent.position < offset)
    ).map(([at]) => at);
  }

  /** A commit has passed these without being about them: `sweep` tells when they are settled all the same. */
  passed(key: string, offsets: readonly number[], by: number): void {
    for (const offset of offsets) {
      const sent = this.#inFlight.get(key)?.get(offset);
      if (sent !== undefined) sent.passedBy ??= by;
    }
  }

  isPassed(key: string, offset: number): boolean {
    return (this.#inFlight.get(key)?.get(offset)?.passedBy ?? null) !== null;
  }

  /** Those that were passed by a commit before the last sweep, and not nacked since: by key, what passed them. */
  sweep(): Map<string, { readonly offsets: number[]; by: number }> {
    const found = new Map<string, { readonly offsets: number[]; by: number }>();
    for (const [key, attempts] of this.#inFlight) {
      for (const [offset, sent] of attempts) {
        if (sent.passedBy === null || sent.sweeps++ === 0) continue;
        const of = found.get(key) ?? { offsets: [], by: 0 };
        found.set(key, of);
        of.offsets.push(offset);
        of.by = Math.max(of.by, sent.passedBy);
      }
    }
    return found;
  }

  /** Offsets of those in flight below `offset`. */
  inFlightBelow(key: string, offset: number): number[] {
    return [...this.#inFlight.get(key)?.keys() ?? []].filter((at) => at < offset);
  }

  /** Forgets all of a partition. */
  drop(key: string): void {
    this.#waiting = this.#waiting.filter((redelivery) => redelivery.key !== key);
    this.#inFlightCount -= this.#inFlight.get(key)?.size ?? 0;
    this.#inFlight.delete(key);
  }

  forgetInFlight(key: string, offset: number): void {
    const attempts = this.#inFlight.get(key);
    if (attempts === undefined || !attempts.delete(offset)) return;
    this.#inFlightCount--;
    if (attempts.size === 0) this.#inFlight.delete(key);
  }
}
