// Owns which commits a session refuses before the group is asked, and what one does to what is in flight.
// Refuses to own the frames and the group's answer (commits.ts).
// Invariant: a commit settles all below its offset but retries that it is not about: these may be nacked still, however
// much time goes by, until a commit is about them or they come again.
import type { TopicPartition } from "../../actors/broker.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import { type HeldPartition, partitionKey } from "./held_partition.ts";
import type { CommitPlace } from "./redeliveries.ts";
import type { CommitItem } from "./turns.ts";
import type { Window } from "./window.ts";

/** When a commit arrived. */
export type CommitOrder = Pick<CommitPlace, "sentCount" | "answerCount" | "settled">;

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

  /** One has arrived. */
  arrived(item: CommitItem): CommitOrder {
    const held = this.#window.find(item);
    if (item.settles === undefined) held?.answered({ next: item.offset });
    const { sentCount } = this.#window.redeliveries;
    return { sentCount, answerCount: held?.answerCount ?? 0 };
  }

  /** Retries in flight that a commit is about: it settles these, and no others that it passes. */
  settledBy(item: CommitItem, { sentCount, answerCount, settled }: CommitOrder): number[] {
    const { redeliveries } = this.#window;
    const { offset, settles } = item;
    const key = partitionKey(item);
    if (settles !== undefined) return redeliveries.settledAsTold(key, { offset, settles });
    const held = this.#window.find(item);
    if (held === undefined) return [];
    return redeliveries.settledBy(key, {
      offset,
      committed: held.committed,
      hasNew: (from, to) => this.#hasNew(held, from, to),
      sentCount,
      ...(settled === undefined ? {} : { settled }),
      // Where retries hold up nothing, nothing waits for it.
      answerCount: held.blocks ? answerCount : 0,
    });
  }

  /**
   * What was committed is no longer in flight. Retries that it passes and that are not `settled` by it may still be nacked.
   * Returns the committed offset as this session knows it.
   */
  committed(item: CommitItem, settled: ReadonlySet<number>): number {
    const held = this.#window.find(item);
    if (held === undefined) return item.offset;
    const { redeliveries } = this.#window;
    const { key } = held;
    for (const offset of settled) {
      if (offset < item.offset) redeliveries.forgetInFlight(key, offset);
    }
    this.#window.removeBelow(held, item.offset);
    held.committed = Math.max(held.committed ?? 0, item.offset);
    if (held.position !== null && held.position < item.offset) held.position = item.offset;
    this.#window.passSkips(held);
    return held.committed;
  }

  /** Whether something from `from` on and below `to` is in flight that is no retry. */
  #hasNew(held: HeldPartition, from: number, to: number): boolean {
    const { redeliveries } = this.#window;
    for (const range of held.inFlight.ranges) {
      const end = Math.min(range.to, to);
      for (let offset = Math.max(range.from, from); offset < end; offset++) {
        if (!redeliveries.isInFlight(held.key, offset)) return true;
      }
    }
    return false;
  }
}
