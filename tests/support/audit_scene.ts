// Owns brokers with an audit log over file logs on a simulated disk, for tests of the log and of what is done to it.
// Refuses to own assertions. Invariant: opening it again over the same scene is a restart.
import { FileLogStore } from "../../storage/file_log/file_log_store.ts";
import type { AuditFacts } from "../../actors/audit/types.ts";
import { AUDIT_TOPIC } from "../../actors/audit/audit_log.ts";
import type { LocalBroker, LocalBrokerSettings } from "../../actors/local_broker.ts";
import { crc32c } from "@node-rs/crc32";
import type { MemoryMetadataStore } from "../../storage/memory/memory_metadata.ts";
import { memoryBrokerStores } from "./memory_broker.ts";
import { SimulatedDisk } from "./simulated_disk.ts";
import { VirtualClock } from "./virtual_time.ts";

export const FACTS: AuditFacts = {
  actor: "alice",
  tenant: "default",
  remoteAddress: "192.0.2.7",
  action: "topic.create",
  resource: { type: "topic", name: "orders" },
  before: null,
  after: { partitions: 3 },
  reason: null,
  requestId: "request-1",
};

export interface AuditScene {
  readonly disk: SimulatedDisk;
  readonly time: VirtualClock;
  readonly metadata: MemoryMetadataStore;
  /** What brokers reported, all of them. */
  readonly reports: string[];
  open(): Promise<LocalBroker>;
  /** Path of the log's first segment. */
  segment(broker: LocalBroker): string;
}

/** Every opening sees the disk as a new process does: nothing of the log is in memory. */
export function auditScene(settings: Partial<LocalBrokerSettings> = {}): AuditScene {
  const disk = new SimulatedDisk({ seed: 1 });
  const time = new VirtualClock();
  const metadata = memoryBrokerStores({ time }).metadata;
  const storesOf = () => {
    const logs = new FileLogStore({
      disk: disk.session(),
      clock: time,
      crc32c,
      onWarning: () => {},
    });
    return memoryBrokerStores({ time, logs, metadata, settings });
  };
  const reports: string[] = [];
  return {
    disk,
    time,
    metadata,
    reports,
    open: async () => {
      const stores = storesOf();
      const broker = await stores.open();
      reports.push(...stores.reports.map(({ message }) => message));
      return broker;
    },
    segment: (broker) => `topics/${broker.topic(AUDIT_TOPIC)!.topicId}/0/${"0".repeat(20)}.log`,
  };
}

/** Makes `count` changes, of an intent and an outcome each. */
export async function makeChanges(broker: LocalBroker, count: number): Promise<void> {
  for (let change = 0; change < count; change++) {
    const resource = { type: "topic", name: `orders-${change}` };
    const intent = await broker.audit.intend({ ...FACTS, resource });
    await broker.audit.conclude(intent, { outcome: "success", after: { change } });
  }
}
