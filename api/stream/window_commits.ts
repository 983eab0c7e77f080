// Owns which commits a session refuses before the group is asked, and what one does to what is in flight.
// Refuses to own the frames and the group's answer (commits.ts).
// Invariant: a commit settles all below its offset but retries that it is not about; these may be nacked for a while still.
import type { TopicPartition } from "../../actors/broker.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import { partitionKey } from "./held_partition.ts";
import type { CommitItem } from "./turns.ts";
import type { Window } from "./window.ts";

export class WindowCommits {
  readonly #window: Window;

  constructor(window: Window) {
    this.#window = window;
  }

  /** Refuses a commit of a partition that this session does not hold: another member may own it by now. */
  fence(items: readonly TopicPartition[], generation: number): void {
    for (const { topic, partition } of items) {
      const held = this.#window.find({ topic, partition });
      if (held !== undefined && held.position !== null) continue;
      throw new BrokerError(
        "STALE_GENERATION",
        `partition ${partition} of ${topic} is not assigned to this member`,
        { topic, partition, generation },
      );
    }
  }

  /** Refuses a commit that would undo an operator's rollback: a slow client had the message from before. */
  fenceOutdated(items: readonly CommitItem[]): void {
    for (const item of items) {
      const held = this.#window.find(item);
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
    return this.#window.redeliveries.settledBy(partitionKey(item), item.offset);
  }

  /**
   * What was committed is no longer in flight. Retries that it passes and that are not `settled` by it may still be nacked
   * for a while. Returns the committed offset as this session knows it.
   */
  committed(item: CommitItem, settled: ReadonlySet<number>): number {
    const held = this.#window.find(item);
    if (held === undefined) return item.offset;
    const { redeliveries } = this.#window;
    const { key } = held;
    for (const offset of settled) {
      if (offset < item.offset) redeliveries.forgetInFlight(key, offset);
    }
    redeliveries.passed(key, redeliveries.inFlightBelow(key, item.offset), item.offset);
    this.#window.removeBelow(held, item.offset);
    held.committed = Math.max(held.committed ?? 0, item.offset);
    if (held.position !== null && held.position < item.offset) held.position = item.offset;
    this.#window.passSkips(held);
    return held.committed;
  }
}
