// Owns what a session does about messages that failed: in flight until the group has taken that down, then nothing new
// where order matters until it has said what that holds up.
// Refuses to own when and whether they come again: the group decides, durably.
// Invariant: a message is nacked once for each time it was delivered.
import type { TopicPartition } from "../../actors/broker.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import type { HeldPartition } from "./held_partition.ts";
import type { NackItem } from "./turns.ts";
import type { Window } from "./window.ts";

export class WindowNacks {
  readonly #window: Window;
  #count = 0;

  constructor(window: Window) {
    this.#window = window;
  }

  /** How many nacks the group has confirmed so far. What it is asked from here on takes them into account. */
  get count(): number {
    return this.#count;
  }

  /** Whether nothing new of some partition is sent before the group has been asked what a nack holds up. */
  get hasUnheard(): boolean {
    for (const { unheardNack } of this.#window.held.values()) if (unheardNack > 0) return true;
    return false;
  }

  /**
   * A message in flight, of a partition that is held, has failed; it stays in flight until the group has taken that down
   * (`nacked`). Returns the attempt that it is. Throws INVALID_REQUEST (not in flight, or nacked already).
   */
  nacking(item: NackItem): number {
    const { redeliveries } = this.#window;
    const held = this.#window.find(item)!;
    const isOpen = held.inFlight.has(item.offset) || redeliveries.isInFlight(held.key, item.offset);
    if (!isOpen || held.nacking.has(item.offset)) {
      throw new BrokerError(
        "INVALID_REQUEST",
        `offset ${item.offset} of ${held.key} is not in flight: never delivered, committed past, or nacked before`,
      );
    }
    held.answered({ offset: item.offset });
    held.nacking.add(item.offset);
    held.admittedTo = 0;
    this.#window.refresh(held);
    return redeliveries.attemptOf(held.key, item.offset);
  }

  /** The group knows that it failed, or (`refused`) does not: then it stays in flight. */
  nacked(item: NackItem, outcome: { readonly refused: boolean }): void {
    const held = this.#window.find(item);
    if (held === undefined || !held.nacking.delete(item.offset)) return;
    if (!outcome.refused) {
      this.#window.remove(held, item.offset);
      this.#window.redeliveries.forgetInFlight(held.key, item.offset);
      this.#nackedIn(held);
    }
    this.#window.refresh(held);
  }

  /**
   * Somebody else has nacked these, whoever it was that had them delivered here. What was delivered again since is left
   * alone. True when something changed.
   */
  nackedElsewhere(
    nacks: readonly (TopicPartition & { readonly offset: number; readonly attempt: number })[],
  ): boolean {
    const { redeliveries } = this.#window;
    let changed = false;
    for (const { topic, partition, offset, attempt } of nacks) {
      const held = this.#window.find({ topic, partition });
      if (held === undefined || redeliveries.attemptOf(held.key, offset) > attempt) continue;
      this.#window.remove(held, offset);
      redeliveries.forgetInFlight(held.key, offset);
      redeliveries.forgetWaiting(held.key, { offset, attempt });
      held.skip(offset);
      this.#nackedIn(held);
      this.#window.refresh(held);
      changed = true;
    }
    return changed;
  }

  #nackedIn(held: HeldPartition): void {
    this.#count++;
    if (held.blocks) held.unheardNack = this.#count;
  }
}
