// Owns how the actors of a broker reach partitions, groups and other actors than their own: by the same calls wherever
// those are.
// Refuses to own where they are: a broker alone has all of them (localReach); in a cluster the routed broker is asked.
// Invariant: an actor holds no partition but that of its own journal.
import type { AuditLog } from "./audit/types.ts";
import type { AppendReceipt, Broker, TopicPartition } from "./broker.ts";
import type { GroupCoordinator } from "./group/coordinator.ts";
import type { Jobs } from "./job/types.ts";
import type { MessageKeys } from "./message_keys/message_keys.ts";
import type { PartitionSet } from "./partition/partition_set.ts";
import type { KeysTerm, Producers } from "./partition/types.ts";
import type { Alerts } from "./threshold/types.ts";

/** See Broker. */
export interface Reach extends
  Pick<
    Broker,
    "partitionInfo" | "fetch" | "offsetForTime" | "writeMarker" | "fenceKeys" | "group"
  >,
  Pick<Producers, "nextSequence"> {
  /** With acks "all". */
  append(
    at: TopicPartition,
    batches: readonly Uint8Array[],
    options?: { readonly keysTerm: KeysTerm },
  ): Promise<AppendReceipt>;
  /**
   * Copies of messages of another topic; `keys` are their idempotency keys, which count in this topic from then on unless it
   * has them already. Durable when it resolves.
   */
  appendCopies(
    at: TopicPartition,
    batch: Uint8Array,
    keys: readonly (string | null)[],
  ): Promise<void>;
  /** What actors do by themselves is recorded there. */
  readonly audit: Pick<AuditLog, "record" | "query">;
  readonly jobs: Pick<Jobs, "get">;
  readonly alerts: Pick<Alerts, "find">;
  /** Whose share of groups it is of; null: nobody's, or it is not there. Rejects while that cannot be told. */
  tenantOf(group: string): Promise<string | null>;
}

/** By the calls of a broker, which brings each to its leader. */
export function reachOf(broker: () => Broker): Reach {
  return {
    append: (at, batches, options) =>
      broker().append(at, batches, { acks: "all", isOwn: true, ...options }),
    appendCopies: async (at, batch, keys) => {
      await broker().append(at, [batch], {
        acks: "all",
        idempotencyKeys: [keys],
        isCopy: true,
        isOwn: true,
      });
    },
    fetch: (at, offset, options) => broker().fetch(at, offset, options),
    partitionInfo: (at) => broker().partitionInfo(at),
    offsetForTime: (at, timestampMs) => broker().offsetForTime(at, timestampMs),
    writeMarker: (at, marker) => broker().writeMarker(at, marker),
    fenceKeys: (at, term) => broker().fenceKeys(at, term),
    nextSequence: (at, producer) => broker().producers.nextSequence(at, producer),
    group: (command) => broker().group(command),
    audit: {
      record: (facts, result) => broker().audit.record(facts, result),
      query: (query) => broker().audit.query(query),
    },
    jobs: { get: (jobId) => broker().jobs.get(jobId) },
    alerts: { find: (alertId) => broker().alerts.find(alertId) },
    tenantOf: async (group) => {
      const groups = await broker().groups({ whole: true });
      return groups.find(({ groupId }) => groupId === group)?.tenant ?? null;
    },
  };
}

/** Of a broker that has everything itself. Awaited only while a partition opens: what is appended in turn stays in order. */
export function localReach(parts: {
  readonly partitions: PartitionSet;
  readonly groups: () => GroupCoordinator;
  readonly messageKeys: () => MessageKeys;
  readonly audit: () => AuditLog;
  readonly jobs: () => Jobs;
  readonly alerts: () => Alerts;
}): Reach {
  const { partitions, groups, messageKeys, audit, jobs, alerts } = parts;
  const at = async (place: TopicPartition) =>
    partitions.find(place) ?? await partitions.opened(place);
  return {
    append: async (place, batches, options) =>
      (partitions.find(place) ?? await partitions.opened(place))
        .append(batches, { acks: "all", ...options }),
    appendCopies: async (place, batch, keys) => {
      await at(place);
      await messageKeys().appendCopies(place, [batch], [keys]);
    },
    fetch: async (place, offset, options) => (await at(place)).fetch(offset, options),
    partitionInfo: async (place) => (await at(place)).info(),
    offsetForTime: async (place, timestampMs) => (await at(place)).offsetForTime(timestampMs),
    writeMarker: async (place, marker) => ({ offset: await (await at(place)).writeMarker(marker) }),
    fenceKeys: async (place, term) => (await at(place)).fenceKeys(term),
    nextSequence: async (place, producer) => (await at(place)).nextSequence(producer),
    group: (command) => groups().execute(command),
    audit: {
      record: (facts, result) => audit().record(facts, result),
      query: (query) => audit().query(query),
    },
    jobs: { get: (jobId) => jobs().get(jobId) },
    alerts: { find: (alertId) => alerts().find(alertId) },
    tenantOf: (group) => groups().tenantOf(group),
  };
}
