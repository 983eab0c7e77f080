// Owns a transaction coordinator over one partition in memory, with partitions and groups that do what a test says.
// Refuses to own any expectation. Invariant: opening it again over the same world is a start without any snapshot.
import { crc32c } from "@node-rs/crc32";
import type { Partition } from "../../actors/partition/partition.ts";
import { FIRST_OWN_ID } from "../../actors/partition/producer_ids.ts";
import { TransactionCoordinator } from "../../actors/transaction/coordinator.ts";
import type { TransactionGroups, TransactionLogs } from "../../actors/transaction/ports.ts";
import { MemorySnapshotStore } from "../../storage/memory/memory_snapshots.ts";
import { JournalLogs } from "./journal_logs.ts";

const RECEIPT = {
  baseOffsets: [0],
  duplicates: [false],
  highWatermark: 1,
  durability: "fsync" as const,
  inSyncReplicas: 1,
};

export class TransactionWorld {
  readonly #journals = new JournalLogs();
  readonly time = this.#journals.time;
  #nextProducerId = FIRST_OWN_ID;

  partition(): Promise<Partition> {
    return this.#journals.partition("__transactions");
  }

  readonly reports: string[] = [];

  coordinator(
    partition: Partition,
    { logs, groups, maxIds }: {
      logs?: Partial<TransactionLogs>;
      groups?: Partial<TransactionGroups>;
      maxIds?: number;
    } = {},
  ): Promise<TransactionCoordinator> {
    return TransactionCoordinator.open({
      partitions: [partition],
      ...(maxIds === undefined ? {} : { maxIds }),
      ports: {
        logs: {
          topicIdOf: () => "t",
          nextSequence: () => Promise.resolve(0),
          append: () => Promise.resolve(RECEIPT),
          writeMarker: () => Promise.resolve(),
          ...logs,
        },
        groups: { stage: () => Promise.resolve(), end: () => Promise.resolve(), ...groups },
        allocateProducerId: () => Promise.resolve(this.#nextProducerId++),
        // None survives a start.
        snapshots: new MemorySnapshotStore(),
        clock: this.time,
        timers: this.time,
        crc32c,
        runtimeLog: { report: () => undefined },
        report: ({ message }) => this.reports.push(message),
      },
    });
  }
}
