// Owns what the outside knows of the topics there are: what was acknowledged must be, and what was deleted must not.
// Refuses to make or delete any (clients/topic_admin.ts).
// Invariant: a request without an answer allows both outcomes, for as long as nobody has looked.
import type { Broker, Topic } from "../../../actors/broker.ts";
import type { World } from "../world.ts";

interface KnownTopic {
  readonly name: string;
  /** Acknowledged; the number only grows. */
  partitions: number;
  /** Somebody asked for its removal. */
  maybeDeleted: boolean;
  deleted: boolean;
}

export class TopicLedger {
  readonly #known = new Map<string, KnownTopic>();
  /** Deletions under way by name: a topic made meanwhile may be what they delete. */
  readonly #deleting = new Map<string, number>();
  readonly #onDelete: ((topic: { topicId: string; name: string }) => void)[] = [];

  constructor(private readonly world: World) {}

  created(topic: Topic): void {
    const maybeDeleted = (this.#deleting.get(topic.name) ?? 0) > 0;
    const { name, partitionCount: partitions } = topic;
    this.#known.set(topic.topicId, { name, partitions, maybeDeleted, deleted: false });
  }

  grown(topicId: string, partitions: number): void {
    const known = this.#known.get(topicId);
    if (known !== undefined) known.partitions = Math.max(known.partitions, partitions);
  }

  /**
   * Call right before the request to delete what has the name of `topic` now; the returned function with whether it was
   * acknowledged, null for unknown.
   */
  deleting(topic: Topic): (acknowledged: boolean | null) => void {
    const { name } = topic;
    // Made by a request that was never answered.
    if (!this.#known.has(topic.topicId)) this.created(topic);
    this.#deleting.set(name, (this.#deleting.get(name) ?? 0) + 1);
    const meant = [...this.#known.entries()].filter(([, known]) =>
      known.name === name && !known.deleted
    );
    for (const [topicId, known] of meant) {
      known.maybeDeleted = true;
      for (const listener of this.#onDelete) listener({ topicId, name });
    }
    return (acknowledged) => {
      this.#deleting.set(name, this.#deleting.get(name)! - 1);
      if (acknowledged === true && meant.length === 1) meant[0]![1].deleted = true;
    };
  }

  /** Hears that a topic may be deleted from now on. */
  onDelete(listener: (topic: { topicId: string; name: string }) => void): void {
    this.#onDelete.push(listener);
  }

  /** A process has just started, so nothing of an earlier one can still happen: what is unknown is so no longer. */
  settle(broker: Broker): void {
    for (const [topicId, known] of this.#known) {
      if (!known.maybeDeleted || known.deleted) continue;
      if (broker.topic(known.name)?.topicId === topicId) known.maybeDeleted = false;
      else known.deleted = true;
    }
  }

  check(broker: Broker): void {
    for (const [topicId, known] of this.#known) {
      const found = broker.topic(known.name);
      if (!known.maybeDeleted && found?.topicId !== topicId) {
        this.world.violation(`topic ${known.name}, acknowledged, is lost`);
      } else if (known.deleted && found?.topicId === topicId) {
        this.world.violation(`topic ${known.name}, deleted, is back`);
      } else if (found?.topicId === topicId && found.partitionCount < known.partitions) {
        this.world.violation(
          `topic ${known.name} has ${found.partitionCount} of ${known.partitions} acknowledged partitions`,
        );
      }
    }
  }
}
