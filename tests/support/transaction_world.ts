// Owns a transaction coordinator over one partition in memory, with partitions and groups that do what a test says.
// Refuses to own any expectation. Invariant: opening it again over the same world is a start without any snapshot.
import { crc32c } from "@node-rs/crc32";
import { ByteBudget } from "../../actors/partition/byte_budget.ts";
import { LeaderEpochs } from "../../actors/partition/leader_epochs.ts";
import { Partition } from "../../actors/partition/partition.ts";
import { DEFAULT_PRODUCER_BOUNDS, ProducerCensus } from "../../actors/partition/producer_census.ts";
import { FIRST_OWN_ID } from "../../actors/partition/producer_ids.ts";
import { TransactionCoordinator } from "../../actors/transaction/coordinator.ts";
import type { TransactionGroups, TransactionLogs } from "../../actors/transaction/ports.ts";
import { MemoryLogStore } from "../../storage/memory/memory_log.ts";
import { MemoryMetadataStore } from "../../storage/memory/memory_metadata.ts";
import { MemorySnapshotStore } from "../../storage/memory/memory_snapshots.ts";
import { seededRandomness } from "./seeded_randomness.ts";
import { VirtualClock } from "./virtual_time.ts";

export const DAY_MS = 24 * 3_600_000;

const RECEIPT = {
  baseOffsets: [0],
  duplicates: [false],
  highWatermark: 1,
  durability: "fsync" as const,
  inSyncReplicas: 1,
};

export class TransactionWorld {
  readonly time = new VirtualClock();
  readonly #logs = new MemoryLogStore(this.time);
  readonly #metadata = new MemoryMetadataStore({
    timers: this.time,
    randomness: seededRandomness(1),
  });
  #nextProducerId = FIRST_OWN_ID;

  async partition(): Promise<Partition> {
    const { time } = this;
    return await Partition.open({
      name: "__transactions/0",
      partition: 0,
      logName: "topics/t/0",
      nodeId: "1",
      logs: this.#logs,
      logConfig: {
        durability: "fsync",
        segmentBytes: 4_096,
        segmentMs: DAY_MS,
        indexIntervalBytes: 1_024,
      },
      clock: time,
      timers: time,
      crc32c,
      snapshots: new MemorySnapshotStore(),
      budget: new ByteBudget(10_000_000, "publishes"),
      census: new ProducerCensus(DEFAULT_PRODUCER_BOUNDS),
      epochs: await LeaderEpochs.open(this.#metadata),
      report: () => undefined,
    });
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
          nextSequence: () => 0,
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
