// Owns the ledgers of all partitions that were ever seen, by topic id.
// Refuses to judge: see partition_ledger.ts. Invariant: a topic made anew under an old name has ledgers of its own.
import type { Topic } from "../../../actors/broker.ts";
import type { LedgerSource } from "../client_scene.ts";
import type { RunWorld } from "../world.ts";
import { PartitionLedger } from "./partition_ledger.ts";

export class MessageLedger {
  readonly #ledgers = new Map<string, PartitionLedger>();

  constructor(private readonly world: RunWorld, private readonly machine: LedgerSource) {
    machine.onEnded(() => {
      for (const ledger of this.#ledgers.values()) ledger.processEnded();
    });
  }

  of(topic: Topic, partition: number): PartitionLedger {
    const key = `${topic.topicId}/${partition}`;
    const known = this.#ledgers.get(key);
    if (known !== undefined) return known;
    const ledger = new PartitionLedger(this.world, this.machine, topic, partition);
    this.#ledgers.set(key, ledger);
    return ledger;
  }

  all(): Iterable<PartitionLedger> {
    return this.#ledgers.values();
  }

  /** The power went, or a sync failed. */
  forgetUnsynced(): void {
    for (const ledger of this.#ledgers.values()) ledger.forgetUnsynced();
  }
}
