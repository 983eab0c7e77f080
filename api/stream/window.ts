// Owns which partitions a session holds, how many of their messages are in flight, and whose turn is next.
// Refuses to own what is delivered, committed or nacked (window_turns.ts, window_commits.ts, window_nacks.ts).
// Invariant: the count is that of all held partitions together; a partition is in the order while it is ready, and no other.
import type { TopicPartition } from "../../actors/broker.ts";
import { HeldPartition, partitionKey } from "./held_partition.ts";
import type { OffsetRange } from "./offset_ranges.ts";
import { Redeliveries } from "./redeliveries.ts";

export class Window {
  /** Reading has passed over something that may be taken as a retry now. */
  passedSkips = false;
  readonly redeliveries = new Redeliveries();
  readonly #held = new Map<string, HeldPartition>();
  /** Partitions that may have something new, the one whose turn is next first. */
  readonly #ready = new Set<HeldPartition>();
  #inFlight = 0;

  get inFlight(): number {
    return this.#inFlight;
  }

  /** By `topic/partition`. */
  get held(): ReadonlyMap<string, HeldPartition> {
    return this.#held;
  }

  find(at: TopicPartition): HeldPartition | undefined {
    return this.#held.get(partitionKey(at));
  }

  holds(held: HeldPartition): boolean {
    return this.#held.get(held.key) === held;
  }

  /** Holds a partition that is not held yet. */
  hold(at: TopicPartition): HeldPartition {
    const held = new HeldPartition(at);
    this.#held.set(held.key, held);
    return held;
  }

  /** The partition whose turn it is; it is the last in the order then. Null when none is ready. */
  rotate(): HeldPartition | null {
    for (const held of this.#ready) {
      this.#ready.delete(held);
      this.#ready.add(held);
      return held;
    }
    return null;
  }

  /** To be called after all that may make a partition ready, or stop it. */
  refresh(held: HeldPartition): void {
    if (held.ready) this.#ready.add(held);
    else this.#ready.delete(held);
  }

  passSkips(held: HeldPartition): void {
    if (held.passSkips()) this.passedSkips = true;
  }

  /** These are in flight, and were not. */
  add(held: HeldPartition, { from, to }: OffsetRange): void {
    held.inFlight.add(from, to);
    this.#inFlight += to - from;
  }

  /** It is no longer in flight, if it was. */
  remove(held: HeldPartition, offset: number): void {
    if (held.inFlight.remove(offset)) this.#inFlight -= 1;
  }

  removeBelow(held: HeldPartition, offset: number): void {
    this.#inFlight -= held.inFlight.removeBelow(offset);
  }

  /** Nothing of it is in flight any more. */
  settle(held: HeldPartition): void {
    held.nacking.clear();
    this.removeBelow(held, Infinity);
    for (const offset of this.redeliveries.inFlightBelow(held.key, Infinity)) {
      this.redeliveries.forgetInFlight(held.key, offset);
    }
  }

  /** It is no longer held. */
  drop(held: HeldPartition): void {
    this.settle(held);
    this.redeliveries.drop(held.key);
    this.#held.delete(held.key);
    this.#ready.delete(held);
  }
}
