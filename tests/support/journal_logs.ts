// Owns partitions with small segments over logs in memory that outlive them, for what keeps its journal in one.
// Refuses to own what is kept there. Invariant: opening a name again is a start over what was stored under it.
import { crc32c } from "@node-rs/crc32";
import { ByteBudget } from "../../actors/partition/byte_budget.ts";
import { LeaderEpochs } from "../../actors/partition/leader_epochs.ts";
import { Partition } from "../../actors/partition/partition.ts";
import { DEFAULT_PRODUCER_BOUNDS, ProducerCensus } from "../../actors/partition/producer_census.ts";
import { MemoryLogStore } from "../../storage/memory/memory_log.ts";
import { MemoryMetadataStore } from "../../storage/memory/memory_metadata.ts";
import { MemorySnapshotStore } from "../../storage/memory/memory_snapshots.ts";
import { seededRandomness } from "./seeded_randomness.ts";
import { VirtualClock } from "./virtual_time.ts";

export const DAY_MS = 24 * 3_600_000;

export class JournalLogs {
  readonly time = new VirtualClock();
  readonly #logs = new MemoryLogStore(this.time);
  readonly #metadata = new MemoryMetadataStore({
    timers: this.time,
    randomness: seededRandomness(1),
  });

  /** Partition 0 of the topic `name`. */
  async partition(name: string): Promise<Partition> {
    const { time } = this;
    return await Partition.open({
      name: `${name}/0`,
      partition: 0,
      logName: `topics/${name.replaceAll(/[._]/g, "-")}/0`,
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
}
