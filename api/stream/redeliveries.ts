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
  /** Of the next new message of its partition when it was sent; before all of them when the client had it already. */
  readonly position: number;
  /** Which message of its partition it is, of those that were sent, from 1 on. */
  readonly ordinal: number;
}

/** How a commit stands to what its partition has in flight. */
export interface CommitPlace {
  readonly offset: number;
  /** What is committed. */
  readonly committed: number | null;
  /** Whether a new message is in flight from one offset on and below another. */
  readonly hasNew: (from: number, to: number) => boolean;
  /** Settled by commits that go with it. */
  readonly settled?: ReadonlySet<number>;
  /** How many redeliveries had been sent when it arrived: it is about no later one. */
  readonly sentCount: number;
  /** The message that it is about when the client answers each, as an ordinal; 0 where that does not count. */
  readonly answerCount: number;
}

/** The client has it from before it was a retry: whatever passes it is about it. */
const KNOWN = -1;

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

  /** How many have been sent so far. */
  get sentCount(): number {
    return this.#serial;
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

  /** It is in flight again, `isKnown` when the client has it already and was not sent it. False when it does not wait. */
  sent(
    redelivery: Redelivery,
    at: { readonly position: number; readonly ordinal: number; readonly isKnown: boolean },
  ): boolean {
    if (!this.forget(redelivery)) return false;
    let attempts = this.#inFlight.get(redelivery.key);
    if (attempts === undefined) this.#inFlight.set(redelivery.key, attempts = new Map());
    if (!attempts.has(redelivery.offset)) this.#inFlightCount++;
    const serial = ++this.#serial;
    attempts.set(redelivery.offset, {
      attempt: redelivery.attempt,
      serial,
      position: at.isKnown ? KNOWN : at.position,
      ordinal: at.ordinal,
    });
    return true;
  }

  isInFlight(key: string, offset: number): boolean {
    return this.#inFlight.get(key)?.has(offset) ?? false;
  }

  /** Of `offsets`, those in flight below a commit, and besides those below it that the client does not know to be retries. */
  settledAsTold(key: string, commit: { offset: number; settles: readonly number[] }): number[] {
    const inFlight = this.#inFlight.get(key);
    if (inFlight === undefined) return [];
    const told = new Set(commit.settles);
    return [...inFlight].filter(([at, sent]) =>
      at < commit.offset && (told.has(at) || sent.position === KNOWN)
    ).map(([at]) => at);
  }

  /**
   * Offsets of those in flight that a commit is about which does not tell. It may have been sent before the client saw them:
   * that it did is sure when the commit passes a new message that was sent later, or stands just behind one of them below
   * what is committed: then it is about that one and those that were sent before it. Just behind one of them, but not below,
   * it is taken to be about the one that was sent first, unless a client that goes in order cannot have got there: it has
   * new messages from before. `answerCount` helps those that answer each message, with whatever offset.
   */
  settledBy(key: string, commit: CommitPlace): number[] {
    const { offset, committed, hasNew, settled, sentCount, answerCount } = commit;
    const inFlight = this.#inFlight.get(key);
    if (inFlight === undefined) return [];
    const below = [...inFlight].filter(([at, { serial, position }]) =>
      at < offset && (serial <= sentCount || position === KNOWN) && !settled?.has(at)
    );
    const last = below.find(([at]) => at === offset - 1)?.[1];
    let serial = last?.serial ?? 0;
    if (last !== undefined && offset >= (committed ?? 0)) {
      const first = Math.min(...below.map(([, sent]) => sent.serial));
      serial = hasNew(offset, last.position) ? 0 : first;
    }
    return below.filter(([, sent]) =>
      sent.serial <= serial || sent.position < offset || sent.ordinal <= answerCount
    ).map(([at]) => at);
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
