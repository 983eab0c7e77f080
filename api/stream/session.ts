// Owns the state of one consuming session: partitions held, positions, the in-flight window, redeliveries, revocations.
// Refuses to own sockets, frames, timers and reading: it is told what happened and asked what to do next.
// Invariant: messages in flight (delivered, neither committed past nor nacked) never exceed `maxInFlight`.
import type { TopicPartition } from "../../actors/broker.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import type { TakeRetriesReply } from "../../actors/group/retry/types.ts";
import { HeldPartition, partitionKey, type StartOffset } from "./held_partition.ts";
import { Redeliveries, type Redelivery } from "./redeliveries.ts";
import type { CommitItem, Delivery, NackItem, ReadTurn, RedeliveryTurn, Turn } from "./turns.ts";

export interface SessionOptions {
  readonly maxInFlight: number;
  /** Whether somebody asks the group for retries (retries.ts): a partition is not read before it has answered. */
  readonly asksForRetries: boolean;
}

const NONE: readonly never[] = Object.freeze([]);

export class Session {
  generation = 0;
  /** The group is paused by an operator: nothing is delivered. */
  groupPaused = false;
  /** Reading has passed over something that may be taken as a retry now. */
  passedSkips = false;
  readonly redeliveries = new Redeliveries();
  readonly #options: SessionOptions;
  readonly #held = new Map<string, HeldPartition>();
  /** Partitions that may have something new, the one whose turn is next first. */
  readonly #ready = new Set<HeldPartition>();
  /** Partitions of which the group has not said what waits for a retry. */
  readonly #unknown = new Set<HeldPartition>();
  #inFlight = 0;
  #nackCount = 0;
  /** Of some partition that is held, or was when the group was asked last. */
  #isHeldByKey = false;

  constructor(options: SessionOptions) {
    this.#options = options;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  /** How many more messages may be delivered now. */
  get room(): number {
    return this.#options.maxInFlight - this.#inFlight;
  }

  /**
   * How many more new messages may be delivered now. While messages wait behind a retry with their key, one place is kept
   * for retries: a client may hold on to all it was given behind the first that waits.
   */
  get readRoom(): number {
    const { maxInFlight } = this.#options;
    return maxInFlight > 1 && this.#isHeldByKey ? this.room - 1 : this.room;
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
    held.retriesKnown = !this.#options.asksForRetries;
    if (!held.retriesKnown) this.#unknown.add(held);
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
      if (held?.revoking) this.#settle(held);
    }
  }

  /** Nothing is in flight any more, of any partition. */
  settleAll(): void {
    for (const held of this.#held.values()) this.#settle(held);
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
    if (this.readRoom <= 0) return null;
    for (const held of this.#ready) {
      this.#ready.delete(held);
      this.#ready.add(held);
      if (held.passSkips()) this.passedSkips = true;
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
    if (turn.kind === "redelivery") return this.redeliveries.waiting.includes(turn.redelivery);
    const { held, position } = turn;
    if (this.readRoom <= 0) return false;
    return held.position === position && held.retriesKnown && !held.heldUp;
  }

  delivered(turn: ReadTurn, delivery: Delivery): void {
    const { held } = turn;
    for (const run of delivery.runs) {
      held.inFlight.add(run.from, run.to);
      this.#inFlight += run.to - run.from;
    }
    if (this.room < 0) throw new Error(`window of ${this.#options.maxInFlight} exceeded`);
    if (delivery.nextOffset < turn.position) {
      throw new Error(`${held.key} went back from ${turn.position} to ${delivery.nextOffset}`);
    }
    held.position = delivery.nextOffset;
    if (held.passSkips()) this.passedSkips = true;
    held.highWatermark = Math.max(held.highWatermark, delivery.highWatermark);
  }

  redelivered(turn: RedeliveryTurn): void {
    const { held, redelivery } = turn;
    if (!this.redeliveries.sent(redelivery, held.position ?? 0)) {
      throw new Error("redelivered what did not wait");
    }
    // It may be in flight for the first time still, when somebody else wants it to come again.
    if (held.inFlight.has(redelivery.offset)) return;
    held.inFlight.add(redelivery.offset, redelivery.offset + 1);
    this.#inFlight += 1;
  }

  /** The message is no longer in the log. */
  forget(turn: RedeliveryTurn): void {
    this.redeliveries.forget(turn.redelivery);
  }

  /** The message could not be read: its redelivery waits until `dueAt`. */
  postpone(turn: RedeliveryTurn, dueAt: number): void {
    if (!this.redeliveries.forget(turn.redelivery)) return;
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

  /** Refuses a commit that would undo an operator's rollback: a slow client had the message from before. */
  fenceOutdated(items: readonly CommitItem[]): void {
    for (const item of items) {
      const held = this.#held.get(partitionKey(item));
      if (held === undefined || !held.isOutdated(item.offset)) continue;
      throw new BrokerError(
        "STALE_GENERATION",
        `offset ${item.offset} of ${held.key} was delivered before an operator moved the group's offset back; ` +
          `read on from ${held.position}`,
        { topic: item.topic, partition: item.partition, offset: item.offset },
      );
    }
  }

  /** Retries in flight that a commit is about: it settles these, and no others that it passes. */
  settledBy(item: CommitItem): number[] {
    return this.redeliveries.settledBy(partitionKey(item), item.offset);
  }

  /**
   * What was committed is no longer in flight. Retries that it passes and that are not `settled` by it may still be nacked
   * for a while. Returns the committed offset as this session knows it.
   */
  committed(
    item: CommitItem,
    settled: ReadonlySet<number> = new Set(this.settledBy(item)),
  ): number {
    const held = this.#held.get(partitionKey(item));
    if (held === undefined) return item.offset;
    const { key } = held;
    for (const offset of settled) this.#settleRetry(held, item, offset);
    const passed = this.redeliveries.inFlightBelow(key, item.offset);
    this.redeliveries.passed(key, passed, item.offset);
    this.#inFlight -= held.inFlight.removeBelow(item.offset);
    held.committed = Math.max(held.committed ?? 0, item.offset);
    if (held.position !== null && held.position < item.offset) held.position = item.offset;
    if (held.passSkips()) this.passedSkips = true;
    return held.committed;
  }

  #settleRetry(held: HeldPartition, item: CommitItem, offset: number): void {
    if (offset < item.offset) this.redeliveries.forgetInFlight(held.key, offset);
  }

  /**
   * A message in flight has failed; it stays in flight until the group has taken that down (`nacked`). Returns the attempt
   * that it is. Throws STALE_GENERATION (not held), INVALID_REQUEST (not in flight, or nacked already).
   */
  nacking(item: NackItem): number {
    this.fence([item]);
    const held = this.#held.get(partitionKey(item))!;
    const isOpen = held.inFlight.has(item.offset) ||
      this.redeliveries.isPassed(held.key, item.offset);
    if (!isOpen || held.nacking.has(item.offset)) {
      throw new BrokerError(
        "INVALID_REQUEST",
        `offset ${item.offset} of ${held.key} is not in flight: never delivered, committed past, or nacked before`,
      );
    }
    held.nacking.add(item.offset);
    held.admittedTo = 0;
    this.#refresh(held);
    return this.redeliveries.attemptOf(held.key, item.offset);
  }

  /** The group knows that it failed, or (`refused`) does not: then it stays in flight. */
  nacked(item: NackItem, outcome: { readonly refused: boolean }): void {
    const held = this.#held.get(partitionKey(item));
    if (held === undefined || !held.nacking.delete(item.offset)) return;
    if (!outcome.refused) {
      if (held.inFlight.remove(item.offset)) this.#inFlight -= 1;
      this.redeliveries.forgetInFlight(held.key, item.offset);
      this.#nackedIn(held);
    }
    this.#refresh(held);
  }

  /**
   * Somebody else has nacked these, whoever it was that had them delivered here. What was delivered again since is left
   * alone. True when something changed.
   */
  nackedElsewhere(
    nacks: readonly (TopicPartition & { readonly offset: number; readonly attempt: number })[],
  ): boolean {
    let changed = false;
    for (const { topic, partition, offset, attempt } of nacks) {
      const held = this.#held.get(partitionKey({ topic, partition }));
      if (held === undefined || this.redeliveries.attemptOf(held.key, offset) > attempt) continue;
      if (held.inFlight.remove(offset)) this.#inFlight -= 1;
      this.redeliveries.forgetInFlight(held.key, offset);
      this.redeliveries.forgetWaiting(held.key, { offset, attempt });
      held.skip(offset);
      this.#nackedIn(held);
      this.#refresh(held);
      changed = true;
    }
    return changed;
  }

  /** How many nacks the group has confirmed so far. What it is asked from here on takes them into account. */
  get nackCount(): number {
    return this.#nackCount;
  }

  /** Whether nothing new of some partition is sent before the group has been asked what a nack holds up. */
  get hasUnheardNacks(): boolean {
    for (const { unheardNack } of this.#held.values()) if (unheardNack > 0) return true;
    return false;
  }

  #nackedIn(held: HeldPartition): void {
    this.#nackCount++;
    if (held.blocks) held.unheardNack = this.#nackCount;
  }

  /** Partitions of which the group has not said yet what waits for a retry. */
  withoutRetries(): readonly { readonly held: HeldPartition; readonly position: number }[] {
    if (this.#unknown.size === 0) return NONE;
    const unknown = [];
    for (const held of this.#unknown) {
      const { revoking, position } = held;
      if (!revoking && position !== null) unknown.push({ held, position });
    }
    return unknown;
  }

  /**
   * What the group says of retries; `asked` are the partitions that were told to start, and from where on; `nackCount` is
   * what it was when the group was asked.
   */
  takeRetries(
    reply: TakeRetriesReply,
    asked: readonly { readonly held: HeldPartition; readonly position: number }[],
    nackCount: number = this.#nackCount,
  ): void {
    for (const { held, position } of asked) {
      // It may have been started anew, elsewhere, meanwhile.
      if (!this.holds(held) || held.position !== position) continue;
      held.retriesKnown = true;
      this.#unknown.delete(held);
    }
    const holds = new Map(reply.held.map((at) => [partitionKey(at), at]));
    const blocks = new Set(reply.blocks);
    for (const at of reply.skips) {
      const held = this.#held.get(partitionKey(at));
      for (const offset of at.offsets) held?.skip(offset);
    }
    for (const { offset, attempt, ...at } of reply.retries) {
      const held = this.#held.get(partitionKey(at));
      // Whoever starts the partition next gets it then.
      if (held === undefined) continue;
      held.skip(offset);
      this.redeliveries.schedule({ key: partitionKey(at), offset, attempt, dueAt: 0 });
    }
    this.#isHeldByKey = reply.held.some(({ hold }) => hold === "keys");
    for (const held of this.#held.values()) {
      const hold = holds.get(held.key);
      held.hold = hold?.hold ?? "none";
      held.holdFrom = hold?.from ?? 0;
      // Reading goes up to what waits, and passes over it: then it may come as a retry.
      if (hold !== undefined) held.skip(hold.from);
      if (held.passSkips()) this.passedSkips = true;
      held.blocks = blocks.has(held.topic);
      if (held.unheardNack <= nackCount) held.unheardNack = 0;
      held.admittedTo = 0;
      this.#refresh(held);
    }
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

  /** One beyond the position could not be committed without what lies before it. */
  readonly #isOpen = ({ key, offset }: Redelivery): boolean => {
    const held = this.#held.get(key);
    return held !== undefined && held.open && offset < held.position!;
  };

  /** Nothing of it is in flight any more. */
  #settle(held: HeldPartition): void {
    held.nacking.clear();
    this.#inFlight -= held.inFlight.removeBelow(Infinity);
    for (const offset of this.redeliveries.inFlightBelow(held.key, Infinity)) {
      this.redeliveries.forgetInFlight(held.key, offset);
    }
  }

  #drop(held: HeldPartition): void {
    this.#settle(held);
    this.redeliveries.drop(held.key);
    this.#held.delete(held.key);
    this.#unknown.delete(held);
    this.#ready.delete(held);
  }

  #refresh(held: HeldPartition): void {
    if (held.ready) this.#ready.add(held);
    else this.#ready.delete(held);
  }
}
