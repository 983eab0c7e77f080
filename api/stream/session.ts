// Owns one consuming session as a whole: what is assigned, started, stopped and given back, and who does all the rest.
// Refuses to own sockets, frames, timers and reading: it is told what happened and asked what to do next. What turns,
// commits, nacks and retries do to the window is in window_turns.ts, window_commits.ts, window_nacks.ts, window_retries.ts.
// Invariant: a partition that the group wants back stays held, and nothing new of it is sent, until nothing is in flight.
import type { TopicPartition } from "../../actors/broker.ts";
import type { TakeRetriesReply } from "../../actors/group/retry/types.ts";
import { type HeldPartition, partitionKey, type StartOffset } from "./held_partition.ts";
import type { Redeliveries } from "./redeliveries.ts";
import type { CommitItem, Delivery, NackItem, ReadTurn, RedeliveryTurn, Turn } from "./turns.ts";
import { Window } from "./window.ts";
import { type CommitOrder, WindowCommits } from "./window_commits.ts";
import { WindowNacks } from "./window_nacks.ts";
import { type AskedPartition, WindowRetries } from "./window_retries.ts";
import { WindowTurns } from "./window_turns.ts";

export interface SessionOptions {
  readonly maxInFlight: number;
  /** Whether somebody asks the group for retries (retries.ts): a partition is not read before it has answered. */
  readonly asksForRetries: boolean;
}

export class Session {
  generation = 0;
  readonly #options: SessionOptions;
  readonly #window = new Window();
  readonly #commits = new WindowCommits(this.#window);
  readonly #nacks = new WindowNacks(this.#window);
  readonly #retries = new WindowRetries(this.#window);
  readonly #turns: WindowTurns;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#turns = new WindowTurns(options.maxInFlight, this.#window, this.#retries);
  }

  /** The group is paused by an operator: nothing is delivered. */
  get groupPaused(): boolean {
    return this.#turns.groupPaused;
  }

  set groupPaused(paused: boolean) {
    this.#turns.groupPaused = paused;
  }

  get redeliveries(): Redeliveries {
    return this.#window.redeliveries;
  }

  /** Reading has passed over something that may be taken as a retry now. */
  get passedSkips(): boolean {
    return this.#window.passedSkips;
  }

  set passedSkips(passed: boolean) {
    this.#window.passedSkips = passed;
  }

  get inFlight(): number {
    return this.#window.inFlight;
  }

  /** How many more messages may be delivered now. */
  get room(): number {
    return this.#turns.room;
  }

  /** How many more new messages may be delivered now. */
  get readRoom(): number {
    return this.#turns.readRoom;
  }

  get held(): ReadonlyMap<string, HeldPartition> {
    return this.#window.held;
  }

  holds(held: HeldPartition): boolean {
    return this.#window.holds(held);
  }

  /** Partitions that are assigned and whose position is known. */
  *assigned(): Generator<HeldPartition & { readonly position: number }> {
    for (const held of this.held.values()) {
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
    const lost = [...this.held.values()].filter((held) => !held.revoking && !wanted.has(held.key));
    for (const held of lost) this.#drop(held);
    const added: HeldPartition[] = [];
    for (const at of partitions) {
      const held = this.#window.find(at);
      if (held !== undefined) {
        held.revokedAt = null;
        this.#window.refresh(held);
        continue;
      }
      added.push(this.#window.hold(at));
    }
    return { added, lost };
  }

  /** Where reading of a partition that was added starts; also where it starts anew after it fell out of range. */
  start(held: HeldPartition, at: StartOffset): void {
    if (!this.holds(held)) return;
    this.#window.removeBelow(held, Infinity);
    this.redeliveries.drop(held.key);
    held.start(at);
    held.waiting = false;
    held.retriesKnown = !this.#options.asksForRetries;
    if (!held.retriesKnown) this.#retries.expect(held);
    this.#window.refresh(held);
  }

  /** Stops partitions that the group wants back, at `nowMs` (monotonic); returns those of them that are held. */
  revoke(partitions: readonly TopicPartition[], nowMs: number): HeldPartition[] {
    const stopped: HeldPartition[] = [];
    for (const at of partitions) {
      const held = this.#window.find(at);
      if (held === undefined || held.revoking) continue;
      held.revokedAt = nowMs;
      this.#window.refresh(held);
      stopped.push(held);
    }
    return stopped;
  }

  /** No longer waits for what is in flight of revoked partitions: the client has stopped them, or another owns them. */
  giveUp(partitions: readonly TopicPartition[]): void {
    for (const at of partitions) {
      const held = this.#window.find(at);
      if (held?.revoking) this.#window.settle(held);
    }
  }

  /** Nothing is in flight any more, of any partition. */
  settleAll(): void {
    for (const held of this.held.values()) this.#window.settle(held);
  }

  /** Revoked partitions that were told before `beforeMs`. */
  revokedBefore(beforeMs: number): HeldPartition[] {
    return [...this.held.values()].filter(({ revokedAt }) =>
      revokedAt !== null && revokedAt < beforeMs
    );
  }

  /** Revoked partitions with nothing left in flight; they are no longer held when this returns. */
  takeReleasable(): HeldPartition[] {
    const released: HeldPartition[] = [];
    for (const held of this.held.values()) {
      if (!held.revoking || held.inFlight.size > 0) continue;
      this.#drop(held);
      released.push(held);
    }
    return released;
  }

  /** What to deliver now; null when nothing can be. Redeliveries that are due go first. */
  nextTurn(nowMs: number): Turn | null {
    return this.#turns.nextTurn(nowMs);
  }

  /** See WindowTurns. */
  nextRedeliveryAt(): number | null {
    return this.#turns.nextRedeliveryAt();
  }

  /** See WindowTurns. */
  stillWanted(turn: Turn): boolean {
    return this.#turns.stillWanted(turn);
  }

  /** See WindowTurns. */
  delivered(turn: ReadTurn, delivery: Delivery): void {
    this.#turns.delivered(turn, delivery);
  }

  /** See WindowTurns. */
  redelivered(turn: RedeliveryTurn): void {
    this.#turns.redelivered(turn);
  }

  /** See WindowTurns. */
  forget(turn: RedeliveryTurn): void {
    this.#turns.forget(turn);
  }

  /** See WindowTurns. */
  postpone(turn: RedeliveryTurn, dueAt: number): void {
    this.#turns.postpone(turn, dueAt);
  }

  /** Nothing to read for now; `wake` ends it. */
  wait(held: HeldPartition): void {
    held.waiting = true;
    this.#window.refresh(held);
  }

  wake(held: HeldPartition): void {
    if (!this.holds(held)) return;
    held.waiting = false;
    this.#window.refresh(held);
  }

  /** See WindowCommits. */
  fence(items: readonly TopicPartition[]): void {
    this.#commits.fence(items, this.generation);
  }

  /** See WindowCommits. */
  fenceOutdated(items: readonly CommitItem[]): void {
    this.#commits.fenceOutdated(items);
  }

  /** See WindowCommits. */
  arrived(item: CommitItem): CommitOrder {
    return this.#commits.arrived(item);
  }

  /** See WindowCommits. */
  settledBy(item: CommitItem, order: CommitOrder = this.arrived(item)): number[] {
    return this.#commits.settledBy(item, order);
  }

  /** See WindowCommits. */
  committed(
    item: CommitItem,
    settled: ReadonlySet<number> = new Set(this.settledBy(item)),
  ): number {
    return this.#commits.committed(item, settled);
  }

  /** See WindowNacks. Throws STALE_GENERATION besides, of a partition that is not held. */
  nacking(item: NackItem): number {
    this.fence([item]);
    return this.#nacks.nacking(item);
  }

  /** See WindowNacks. */
  nacked(item: NackItem, outcome: { readonly refused: boolean }): void {
    this.#nacks.nacked(item, outcome);
  }

  /** See WindowNacks. */
  nackedElsewhere(
    nacks: readonly (TopicPartition & { readonly offset: number; readonly attempt: number })[],
  ): boolean {
    return this.#nacks.nackedElsewhere(nacks);
  }

  /** See WindowNacks. */
  get nackCount(): number {
    return this.#nacks.count;
  }

  /** See WindowNacks. */
  get hasUnheardNacks(): boolean {
    return this.#nacks.hasUnheard;
  }

  /** Partitions of which the group has not said yet what waits for a retry. */
  withoutRetries(): readonly AskedPartition[] {
    return this.#retries.unknown();
  }

  /** See WindowRetries. */
  takeRetries(
    reply: TakeRetriesReply,
    asked: readonly AskedPartition[],
    nackCount: number = this.nackCount,
  ): void {
    this.#retries.take(reply, asked, nackCount);
  }

  /** Stops or goes on delivering, as the client asks. What is not held is passed over: it may just have been revoked. */
  setPaused(partitions: readonly TopicPartition[], paused: boolean): void {
    for (const at of partitions) {
      const held = this.#window.find(at);
      if (held === undefined) continue;
      held.paused = paused;
      this.#window.refresh(held);
    }
  }

  #drop(held: HeldPartition): void {
    this.#window.drop(held);
    this.#retries.drop(held);
  }
}
