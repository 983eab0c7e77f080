// Owns one partition over memory stores that outlive it, and batches of producers for it.
// Refuses to own faults of the log. Invariant: opening it again over the same stores is a restart.
import { ByteBudget } from "../../actors/partition/byte_budget.ts";
import { LeaderEpochs } from "../../actors/partition/leader_epochs.ts";
import { Partition } from "../../actors/partition/partition.ts";
import {
  DEFAULT_PRODUCER_BOUNDS,
  type ProducerBounds,
  ProducerCensus,
} from "../../actors/partition/producer_census.ts";
import { crc32c } from "../../storage/format/crc32c.ts";
import { encodeBatch } from "../../storage/format/encode.ts";
import type { LogConfig, LogStore } from "../../storage/log.ts";
import { MemoryLogStore } from "../../storage/memory/memory_log.ts";
import { MemoryMetadataStore } from "../../storage/memory/memory_metadata.ts";
import { MemorySnapshotStore } from "../../storage/memory/memory_snapshots.ts";
import { seededRandomness } from "./seeded_randomness.ts";
import { VirtualClock } from "./virtual_time.ts";

export const LOG_NAME = "topics/x/0";

export interface SceneOptions {
  readonly bounds?: Partial<ProducerBounds>;
  readonly logConfig?: Partial<LogConfig>;
  /** Stands between the partition and the logs in memory. */
  readonly wrap?: (logs: LogStore) => LogStore;
}

export function partitionScene(options: SceneOptions = {}) {
  const time = new VirtualClock();
  const logs = new MemoryLogStore(time);
  const snapshots = new MemorySnapshotStore();
  const metadata = new MemoryMetadataStore({ timers: time, randomness: seededRandomness(1) });
  const reports: string[] = [];
  const census = new ProducerCensus({ ...DEFAULT_PRODUCER_BOUNDS, ...options.bounds });
  const logConfig: LogConfig = {
    durability: "fsync",
    segmentBytes: 1_048_576,
    segmentMs: 3_600_000,
    indexIntervalBytes: 4096,
    ...options.logConfig,
  };
  const open = async () =>
    await Partition.open({
      name: "orders/0",
      partition: 0,
      logName: LOG_NAME,
      nodeId: "1",
      logs: options.wrap?.(logs) ?? logs,
      logConfig,
      clock: time,
      timers: time,
      budget: new ByteBudget(64 * 1_048_576, "publishes"),
      epochs: await LeaderEpochs.open(metadata),
      census,
      snapshots,
      crc32c,
      report: ({ message }) => reports.push(message),
    });
  return { time, logs, snapshots, census, logConfig, reports, open };
}

export interface Stamp {
  readonly id: number;
  readonly sequence: number;
  readonly epoch?: number;
  readonly transactional?: boolean;
}

/** A batch of a producer; `values` are its records. */
export function stamped(values: readonly string[], stamp: Stamp): Uint8Array {
  const records = values.map((value) => ({ key: null, value, headers: [], timestamp: 1 }));
  return encodeBatch(records, {
    crc32c,
    producerId: stamp.id,
    producerEpoch: stamp.epoch ?? 0,
    baseSequence: stamp.sequence,
    transactional: stamp.transactional ?? false,
  });
}

/** A batch of nobody. */
export function plain(...values: string[]): Uint8Array {
  const records = values.map((value) => ({ key: null, value, headers: [], timestamp: 1 }));
  return encodeBatch(records, { crc32c });
}
