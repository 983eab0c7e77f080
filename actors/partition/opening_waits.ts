// Owns those who wait for partitions that the catalog has and that are not open yet.
// Refuses to own which partitions those are and their opening (partition_set.ts).
// Invariant: nobody waits longer than MAX_OPENING_WAIT_MS, and all are woken in the order in which they came.
import { BrokerError } from "../../storage/broker_error.ts";
import type { Timers } from "../../storage/ports.ts";
import type { TopicPartition } from "../broker.ts";

/** Opening takes milliseconds, but thousands may be opened one after the other. */
export const MAX_OPENING_WAIT_MS = 5_000;
/** Requests that wait at a time; the next are to come again. */
const MAX_WAITING = 2_000;

export class OpeningWaits {
  /** By topic id. */
  readonly #waiting = new Map<string, Set<() => void>>();
  #count = 0;

  constructor(private readonly timers: Timers) {}

  /** Resolves when the topic's partitions may have changed; rejects with LEADER_NOT_AVAILABLE when that takes too long. */
  async changed(topicId: string, at: TopicPartition): Promise<void> {
    if (this.#count >= MAX_WAITING) throw stillOpening(at);
    const waited = Promise.withResolvers<void>();
    const wake = () => waited.resolve();
    const cancel = this.timers.after(
      MAX_OPENING_WAIT_MS,
      () => waited.reject(stillOpening(at)),
    );
    const others = this.#waiting.get(topicId) ?? new Set();
    this.#waiting.set(topicId, others.add(wake));
    this.#count++;
    try {
      await waited.promise;
    } finally {
      cancel();
      this.#count--;
      others.delete(wake);
      if (others.size === 0 && this.#waiting.get(topicId) === others) {
        this.#waiting.delete(topicId);
      }
    }
  }

  /** Something of the topic has opened, or it is gone. */
  wake(topicId: string): void {
    for (const wake of this.#waiting.get(topicId) ?? []) wake();
  }

  wakeAll(): void {
    for (const topicId of this.#waiting.keys()) this.wake(topicId);
  }
}

/** The partition is there, but does not serve yet. */
export function stillOpening(at: TopicPartition): BrokerError {
  return new BrokerError(
    "LEADER_NOT_AVAILABLE",
    `partition ${at.topic}/${at.partition} is opening`,
    { ...at },
  );
}
