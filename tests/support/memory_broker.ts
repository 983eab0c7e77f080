// Owns a whole broker over memory stores and virtual time, for tests of what lies above and below it.
// Refuses to own faults. Invariant: opening it again over the same stores is a restart.
import { crc32c } from "@node-rs/crc32";
import { DEFAULT_GROUP_SETTINGS, type GroupSettings } from "../../actors/group/settings.ts";
import { LocalBroker, type LocalBrokerSettings } from "../../actors/local_broker.ts";
import type { RuntimeEvent } from "../../actors/runtime/reports.ts";
import type { TopicConfig } from "../../actors/broker.ts";
import type { LogStore } from "../../storage/log.ts";
import { MemoryLogStore } from "../../storage/memory/memory_log.ts";
import { MemoryMetadataStore } from "../../storage/memory/memory_metadata.ts";
import { MemorySnapshotStore } from "../../storage/memory/memory_snapshots.ts";
import { seededRandomness } from "./seeded_randomness.ts";
import { VirtualClock } from "./virtual_time.ts";

export const TOPIC_CONFIG: TopicConfig = {
  replicationFactor: 1,
  minInsyncReplicas: 1,
  retentionHours: 72,
  retentionBytes: null,
  cleanupPolicy: "delete",
  durability: "fsync",
  maxMessageBytes: 1_048_576,
  segmentBytes: 1_048_576,
  segmentHours: 24,
};

export interface MemoryBrokerOptions {
  readonly time?: VirtualClock;
  readonly logs?: LogStore;
  /** Of another broker, which was closed. */
  readonly metadata?: MemoryMetadataStore;
  readonly group?: Partial<GroupSettings>;
  readonly maxPendingPublishBytes?: number;
  readonly messageKeys?: LocalBrokerSettings["messageKeys"];
  /** In the place of those that follow from the others. */
  readonly settings?: Partial<LocalBrokerSettings>;
}

/** Stores that outlive a broker, and how to open one over them. */
export function memoryBrokerStores(options: MemoryBrokerOptions = {}) {
  const time = options.time ?? new VirtualClock();
  const randomness = seededRandomness(1);
  const logs = options.logs ?? new MemoryLogStore(time);
  const metadata = options.metadata ?? new MemoryMetadataStore({ timers: time, randomness });
  const snapshots = new MemorySnapshotStore();
  const reports: { level: string; message: string; error?: unknown }[] = [];
  const runtimeEvents: RuntimeEvent[] = [];
  const open = () =>
    LocalBroker.open({
      nodeId: "1",
      maxPendingPublishBytes: options.maxPendingPublishBytes ?? 64 * 1_048_576,
      retentionIntervalMs: 60_000,
      groupsPartitions: 2,
      group: { ...DEFAULT_GROUP_SETTINGS, ...options.group },
      ...(options.messageKeys === undefined ? {} : { messageKeys: options.messageKeys }),
      ...options.settings,
    }, {
      metadata,
      logs,
      snapshots,
      clock: time,
      timers: time,
      randomness,
      crc32c,
      runtimeLog: { report: (event) => runtimeEvents.push(event) },
      report: (event) => reports.push(event),
    });
  return { time, randomness, logs, metadata, snapshots, reports, runtimeEvents, open };
}
