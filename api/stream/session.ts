// Owns the state of one consuming session: partitions held, positions, the in-flight window, redeliveries, revocations.
// Refuses to own sockets, frames, timers and reading: it is told what happened and asked what to do next.
// Invariant: messages in flight (delivered, neither committed past nor nacked) never exceed `maxInFlight`.
import type { TopicPartition } from "../../actors/broker.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import type { Randomness } from "../../storage/ports.ts";
import { HeldPartition, partitionKey, type StartOffset } from "./held_partition.ts";
import { Redeliveries, redeliveryDelayMs } from "./redeliveries.ts";
import type { CommitItem, Delivery, NackItem, ReadTurn, RedeliveryTurn, Turn } from "./turns.ts";

export interface SessionOptions {
  readonly maxInFlight: number;
  readonly maxRedeliveries: number;
  readonly randomness: Randomness;
}

export class Session {
  generation = 0;
  /** The group is paused by an operator: nothing is delivered. */
  groupPaused = false;
  readonly redeliveries: Redeliveries;
  readonly #options: SessionOptions;
  readonly #held = new Map<string, HeldPartition>();
  /** Partitions that may have something new, the one whose turn is next first. */
  readonly #ready = new Set<HeldPartition>();
  #inFlight = 0;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.redeliveries = new Redeliveries(options.maxRedeliveries);
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  /** How many more messages may be delivered now. */
  get room(): number {
    return this.#options.maxInFlight - this.#inFlight;
  }

  get held(): ReadonlyMap<string, HeldPartition> {
    return this.#held;
  }

  holds(held: HeldPartition): boolean {
    return this.#held.get(held.key) === held;
  }

  /** Partitions that are assigned and whose position is known. */
  *assigned(): Generator<HeldPartition & { readonly position: number }> {
    for (const held of this.#held.values()) {
      if (!held.revoking && held.position !== null) {
        yield held as HeldPartition & { readonly position: number };
      }
    }
  }

  /**
   * Takes over a whole assignment. What is held already goes on where it is, what is being revoked stays until it is
   * released; `added` needs `start`, `lost` was held and is gone without having been asked back.
   */
  assign(
    generation: number,
    partitions: readonly TopicPartition[],
  ): { added: HeldPartition[]; lost: HeldPartition[] } {
    this.generation = generation;
    const wanted = new Set(partitions.map(partitionKey));
    const lost = [...this.#held.values()].filter((held) => !held.revoking && !wanted.has(held.key));
    for (const held of lost) this.#drop(held);
    const added: HeldPartition[] = [];
    for (const at of partitions) {
      const held = this.#held.get(partitionKey(at));
      if (held !== undefined) {
        held.revokedAt = null;
        this.#refresh(held);
        continue;
      }
      const fresh = new HeldPartition(at);
      this.#held.set(fresh.key, fresh);
      added.push(fresh);
    }
    return { added, lost };
  }

  /** Where reading of a partition that was added starts; also where it starts anew after it fell out of range. */
  start(held: HeldPartition, at: StartOffset): void {
    if (!this.holds(held)) return;
    this.#inFlight -= held.inFlight.removeBelow(Infinity);
    this.redeliveries.drop(held.key);
    held.start(at);
    held.waiting = false;
    this.#refresh(held);
  }

  /** Stops partitions that the group wants back, at `nowMs` (monotonic); returns those of them that are held. */
  revoke(partitions: readonly TopicPartition[], nowMs: number): HeldPartition[] {
    const stopped: HeldPartition[] = [];
    for (const at of partitions) {
      const held = this.#held.get(partitionKey(at));
      if (held === undefined || held.revoking) continue;
      held.revokedAt = nowMs;
      this.#refresh(held);
      stopped.push(held);
    }
    return stopped;
  }

  /** No longer waits for what is in flight of revoked partitions: the client has stopped them, or another owns them. */
  giveUp(partitions: readonly TopicPartition[]): void {
    for (const at of partitions) {
      const held = this.#held.get(partitionKey(at));
      if (held?.revoking) this.#settle(held, Infinity);
    }
  }

  /** Nothing is in flight any more, of any partition. */
  settleAll(): void {
    for (const held of this.#held.values()) this.#settle(held, Infinity);
  }

  /** Revoked partitions that were told before `beforeMs`. */
  revokedBefore(beforeMs: number): HeldPartition[] {
    return [...this.#held.values()].filter(({ revokedAt }) =>
      revokedAt !== null && revokedAt < beforeMs
    );
  }

  /** Revoked partitions with nothing left in flight; they are no longer held when this returns. */
  takeReleasable(): HeldPartition[] {
    const released: HeldPartition[] = [];
    for (const held of this.#held.values()) {
      if (!held.revoking || held.inFlight.size > 0) continue;
      this.#drop(held);
      released.push(held);
    }
    return released;
  }

  /** What to deliver now; null when nothing can be. Redeliveries that are due go first. */
  nextTurn(nowMs: number): Turn | null {
    if (this.groupPaused || this.room <= 0) return null;
    const redelivery = this.redeliveries.firstDue(nowMs, this.#isOpen);
    if (redelivery !== null) {
      return { kind: "redelivery", held: this.#held.get(redelivery.key)!, redelivery };
    }
    for (const held of this.#ready) {
      this.#ready.delete(held);
      this.#ready.add(held);
      return { kind: "read", held, position: held.position! };
    }
    return null;
  }

  /** Monotonic time of the next redelivery; null when none can be sent before something else happens. */
  nextRedeliveryAt(): number | null {
    if (this.groupPaused || this.room <= 0) return null;
    return this.redeliveries.nextDueAt(this.#isOpen);
  }

  /** Whether the turn may still be carried out: reading took time, and the world may have changed. */
  stillWanted(turn: Turn): boolean {
    if (this.groupPaused || this.room <= 0) return false;
    if (!this.holds(turn.held) || !turn.held.open) return false;
    return turn.kind === "redelivery"
      ? this.redeliveries.waiting.includes(turn.redelivery)
      : turn.held.position === turn.position;
  }

  delivered(turn: ReadTurn, delivery: Delivery): void {
    const { held } = turn;
    for (const run of delivery.runs) {
      held.inFlight.add(run.from, run.to);
      this.#inFlight += run.to - run.from;
    }
    if (this.room < 0) throw new Error(`window of ${this.#options.maxInFlight} exceeded`);
    held.position = delivery.nextOffset;
    held.highWatermark = Math.max(held.highWatermark, delivery.highWatermark);
  }

  redelivered(turn: RedeliveryTurn): void {
    const { held, redelivery } = turn;
    if (!this.redeliveries.take(redelivery, true)) throw new Error("redelivered what did not wait");
    held.inFlight.add(redelivery.offset, redelivery.offset + 1);
    this.#inFlight += 1;
  }

  /** The message is no longer in the log. */
  forget(turn: RedeliveryTurn): void {
    this.redeliveries.take(turn.redelivery, false);
  }

  /** The message could not be read: its redelivery waits until `dueAt`. */
  postpone(turn: RedeliveryTurn, dueAt: number): void {
    if (!this.redeliveries.take(turn.redelivery, false)) return;
    this.redeliveries.schedule({ ...turn.redelivery, dueAt });
  }

  /** Nothing to read for now; `wake` ends it. */
  wait(held: HeldPartition): void {
    held.waiting = true;
    this.#refresh(held);
  }

  wake(held: HeldPartition): void {
    if (!this.holds(held)) return;
    held.waiting = false;
    this.#refresh(held);
  }

  /** Refuses a commit of a partition that this session does not hold: another member may own it by now. */
  fence(items: readonly TopicPartition[]): void {
    for (const item of items) {
      const held = this.#held.get(partitionKey(item));
      if (held !== undefined && held.position !== null) continue;
      throw new BrokerError(
        "STALE_GENERATION",
        `partition ${item.partition} of ${item.topic} is not assigned to this member`,
        { topic: item.topic, partition: item.partition, generation: this.generation },
      );
    }
  }

  /** Whether a commit only settles redelivered messages below what is committed anyway. */
  settlesOnly(item: CommitItem): boolean {
    const held = this.#held.get(partitionKey(item));
    const first = held?.inFlight.ranges[0];
    return held !== undefined && held.committed !== null && first !== undefined &&
      item.offset <= held.committed && first.from < item.offset;
  }

  /** What was committed is no longer in flight. Returns the committed offset as this session knows it. */
  committed(item: CommitItem): number {
    const held = this.#held.get(partitionKey(item));
    if (held === undefined) return item.offset;
    this.#settle(held, item.offset);
    held.committed = Math.max(held.committed ?? 0, item.offset);
    if (held.position !== null && held.position < item.offset) held.position = item.offset;
    return held.committed;
  }

  /**
   * Takes a message out of flight and schedules its redelivery, `delayMs` from now or as the backoff has it.
   * Throws STALE_GENERATION (not held), INVALID_REQUEST (not in flight), OVERLOADED (too many wait).
   */
  nack(item: NackItem, nowMs: number): void {
    this.fence([item]);
    const held = this.#held.get(partitionKey(item))!;
    if (!held.inFlight.has(item.offset)) {
      throw new BrokerError(
        "INVALID_REQUEST",
        `offset ${item.offset} of ${held.key} is not in flight: never delivered, committed past, or nacked before`,
      );
    }
    if (!this.redeliveries.hasRoomFor(held.key, item.offset)) {
      const bound = this.#options.maxRedeliveries;
      throw new BrokerError("OVERLOADED", `${bound} messages of this session were nacked already`);
    }
    held.inFlight.remove(item.offset);
    this.#inFlight -= 1;
    const attempt = this.redeliveries.attemptOf(held.key, item.offset);
    const delayMs = item.delayMs ??
      redeliveryDelayMs(attempt, this.#options.randomness.fraction());
    const { key } = held;
    this.redeliveries.schedule({
      key,
      offset: item.offset,
      attempt: attempt + 1,
      dueAt: nowMs + delayMs,
    });
  }

  /** Stops or goes on delivering, as the client asks. What is not held is passed over: it may just have been revoked. */
  setPaused(partitions: readonly TopicPartition[], paused: boolean): void {
    for (const at of partitions) {
      const held = this.#held.get(partitionKey(at));
      if (held === undefined) continue;
      held.paused = paused;
      this.#refresh(held);
    }
  }

  readonly #isOpen = (key: string): boolean => this.#held.get(key)?.open === true;

  #settle(held: HeldPartition, offset: number): void {
    this.#inFlight -= held.inFlight.removeBelow(offset);
    this.redeliveries.settleBelow(held.key, offset);
  }

  #drop(held: HeldPartition): void {
    this.#settle(held, Infinity);
    this.redeliveries.drop(held.key);
    this.#held.delete(held.key);
    this.#ready.delete(held);
  }

  #refresh(held: HeldPartition): void {
    if (held.ready) this.#ready.add(held);
    else this.#ready.delete(held);
  }
}
