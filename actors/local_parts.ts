// Owns putting a broker of one process together: which actor is given which others, in which order they open.
// Refuses to own what any of them decides, answering (local_broker.ts), and how ports are made (main.ts).
// Invariant: an actor is opened after all that it asks, and what it is given is as narrow as what it uses.
import { BrokerError } from "../storage/broker_error.ts";
import type { LogStore } from "../storage/log.ts";
import type { MetadataStore } from "../storage/metadata.ts";
import type { Clock, Crc32c, Randomness, Timers } from "../storage/ports.ts";
import type { SnapshotStore } from "../storage/snapshots.ts";
import { LocalAccessKeys } from "./access_key/access_keys.ts";
import { LocalAcls } from "./acl/acls.ts";
import { AUDIT_TOPIC, LocalAuditLog } from "./audit/audit_log.ts";
import { auditedDeadLetterTopics, recordPause, recordWithdrawal } from "./audit/system_actions.ts";
import { GroupCoordinator } from "./group/coordinator.ts";
import type { DeadLetterWriter } from "./group/retry/dead_letter_writer.ts";
import { localDeadLetters } from "./group/retry/local_dead_letters.ts";
import { keyHashesAt } from "./group/retry/stored_messages.ts";
import type { GroupSettings } from "./group/state.ts";
import type { PartitionCounts } from "./group/types.ts";
import {
  AUDIT_TOPIC_CONFIG,
  ensureInternalTopic,
  GROUPS_TOPIC,
  INTERNAL_TOPIC_CONFIG,
  JOBS_TOPIC,
} from "./internal_topics.ts";
import { jobBroker } from "./job/broker_port.ts";
import { JobSet } from "./job/job_set.ts";
import { MessageKeys } from "./message_keys/message_keys.ts";
import { DEFAULT_MESSAGE_KEY_SETTINGS, type MessageKeySettings } from "./message_keys/types.ts";
import { ByteBudget } from "./partition/byte_budget.ts";
import { LeaderEpochs } from "./partition/leader_epochs.ts";
import { partitionJournal } from "./partition/partition_journal.ts";
import { PartitionSet } from "./partition/partition_set.ts";
import { DEFAULT_PRODUCER_BOUNDS, ProducerCensus } from "./partition/producer_census.ts";
import { ProducerIds } from "./partition/producer_ids.ts";
import type { ReplicationPorts } from "./partition/replica.ts";
import type { Producers } from "./partition/types.ts";
import {
  LocalRequestKeys,
  REQUESTS_PARTITIONS,
  REQUESTS_TOPIC,
} from "./request_keys/local_request_keys.ts";
import { DEFAULT_REQUEST_KEY_SETTINGS, type RequestKeySettings } from "./request_keys/types.ts";
import { localReach, type Reach } from "./reach.ts";
import type { RuntimeLog } from "./runtime/reports.ts";
import { LocalQuotas } from "./quota/quotas.ts";
import { recordAction } from "./runbook/audited_actions.ts";
import { LocalRunbooks, RUNBOOKS_TOPIC } from "./runbook/runbooks.ts";
import { tenantOfTarget } from "./runbook/target_tenant.ts";
import { ALERTS_TOPIC, LocalAlerts } from "./threshold/alerts.ts";
import { identityOf } from "./topic/cluster_identity.ts";
import { TopicCatalog } from "./topic/topic_catalog.ts";
import { LocalTraces } from "./trace/traces.ts";
import { DEFAULT_TRACE_SETTINGS, type TraceSettings } from "./trace/types.ts";
import {
  TransactionCoordinator,
  TRANSACTIONS_PARTITIONS,
  TRANSACTIONS_TOPIC,
} from "./transaction/coordinator.ts";
import { localTransactionGroups, localTransactionLogs } from "./transaction/local_ports.ts";
import { groupJournal } from "./trace/group_journal.ts";
import { TopicChanges } from "./topic_changes.ts";

export interface LocalBrokerSettings {
  readonly nodeId: string;
  readonly maxPendingPublishBytes: number;
  readonly retentionIntervalMs: number;
  /** Used when `__groups` is made, never afterwards. */
  readonly groupsPartitions: number;
  readonly group: GroupSettings;
  /** Internal topics are made encrypted; those that exist stay as they are. Default false. */
  readonly encryptInternalTopics?: boolean;
  /** How long audit entries are kept; 0, the default, is for ever. */
  readonly auditRetentionMs?: number;
  /** Default: `DEFAULT_MESSAGE_KEY_SETTINGS`. */
  readonly messageKeys?: Partial<MessageKeySettings>;
  /** Default: `DEFAULT_REQUEST_KEY_SETTINGS`. */
  readonly requestKeys?: Partial<RequestKeySettings>;
  /** Default: `DEFAULT_TRACE_SETTINGS`, but looking at what is published only when somebody asks. */
  readonly traces?: Partial<TraceSettings>;
}

/** What makes a broker one of several. */
export interface ClusterPorts extends ReplicationPorts {
  /** Whatever is asked reaches its leader. */
  readonly reach: Reach;
  /** Brokers that there are: a topic may have as many replicas. */
  brokerCount(): number;
}

export interface LocalBrokerPorts {
  readonly metadata: MetadataStore;
  readonly logs: LogStore;
  readonly snapshots: SnapshotStore;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly randomness: Randomness;
  readonly crc32c: Crc32c;
  readonly runtimeLog: RuntimeLog;
  /** Left out: the broker is alone. */
  readonly cluster?: ClusterPorts;
  report(event: { level: "info" | "warning" | "error"; message: string; error?: unknown }): void;
}

/** Longer than any request takes to come to its outcome. */
const AUDIT_ORPHAN_MS = 120_000;

/** What a broker of one process is made of. */
export interface LocalParts {
  readonly clusterId: string;
  readonly ports: LocalBrokerPorts;
  readonly accessKeys: LocalAccessKeys;
  readonly quotas: LocalQuotas;
  readonly acls: LocalAcls;
  readonly audit: LocalAuditLog;
  readonly alerts: LocalAlerts;
  readonly runbooks: LocalRunbooks;
  readonly traces: LocalTraces;
  readonly catalog: TopicCatalog;
  readonly partitions: PartitionSet;
  /** Of all publishes that wait. */
  readonly budget: ByteBudget;
  readonly groups: GroupCoordinator;
  readonly jobs: JobSet;
  readonly transactions: TransactionCoordinator;
  readonly producers: Producers;
  readonly producerIds: ProducerIds;
  readonly changes: TopicChanges;
  readonly deadLetters: DeadLetterWriter;
  readonly census: ProducerCensus;
  readonly messageKeys: MessageKeys;
  readonly requestKeys: LocalRequestKeys;
  /** When the process began to start: from there on only the monotonic clock is trusted. */
  readonly started: { readonly wall: number; readonly monotonic: number };
}

/** Opens everything the metadata store knows of. */
export async function openParts(
  settings: LocalBrokerSettings,
  ports: LocalBrokerPorts,
): Promise<LocalParts> {
  const { metadata, logs, clock, timers, randomness } = ports;
  // Taken first: the wall clock may jump while a long recovery runs.
  const started = { wall: clock.now(), monotonic: clock.monotonic() };
  const clusterId = await identityOf(metadata, randomness);
  const accessKeys = await LocalAccessKeys.open({ metadata, clock, timers });
  const quotas = await LocalQuotas.open({ metadata, clock, timers });
  const acls = await LocalAcls.open({ metadata, clock, timers });
  const epochs = await LeaderEpochs.open(metadata);
  const catalog = await TopicCatalog.open({ metadata, timers });
  const encryption = settings.encryptInternalTopics === true ? "aes-256-gcm" : "none";
  const internal = { clock, randomness, encryption } as const;
  await ensureInternalTopic(catalog, internal, [GROUPS_TOPIC, settings.groupsPartitions]);
  await ensureInternalTopic(catalog, internal, [JOBS_TOPIC, 1]);
  await ensureInternalTopic(catalog, internal, [TRANSACTIONS_TOPIC, TRANSACTIONS_PARTITIONS]);
  await ensureInternalTopic(catalog, internal, [AUDIT_TOPIC, 1], AUDIT_TOPIC_CONFIG);
  await ensureInternalTopic(catalog, internal, [ALERTS_TOPIC, 1]);
  await ensureInternalTopic(catalog, internal, [RUNBOOKS_TOPIC, 1]);
  const census = new ProducerCensus(DEFAULT_PRODUCER_BOUNDS);
  const budget = new ByteBudget(
    settings.maxPendingPublishBytes,
    "publishes that wait for the disk",
  );
  const partitions = new PartitionSet({
    nodeId: settings.nodeId,
    logs,
    clock,
    timers,
    epochs,
    census,
    snapshots: ports.snapshots,
    crc32c: ports.crc32c,
    budget,
    ...(ports.cluster === undefined ? {} : { replication: ports.cluster }),
    topic: (name) => catalog.topic(name),
    report: (event) => ports.report(event),
  });
  await partitions.openAll(catalog.topics());
  for (const problem of partitions.missingArchive()) {
    const message = `${problem}: they cannot be read`;
    ports.report({ level: "warning", message });
  }
  const reach: Reach = ports.cluster?.reach ?? localReach({
    partitions,
    groups: () => groups,
    messageKeys: () => messageKeys,
    audit: () => audit,
    jobs: () => jobs,
    alerts: () => alerts,
  });
  const audit = await LocalAuditLog.open({
    metadata,
    clock,
    timers,
    crc32c: ports.crc32c,
    partition: () => {
      const partition = partitions.ofTopic(AUDIT_TOPIC)[0];
      if (partition !== undefined) return partition;
      throw new BrokerError("LEADER_NOT_AVAILABLE", "the audit log is not open");
    },
    ...(ports.cluster === undefined ? {} : { orphanMs: AUDIT_ORPHAN_MS }),
    report: (event) => ports.report(event),
  });
  const alerts = await openAlerts(settings, ports, partitions);
  const groups = await GroupCoordinator.open({
    partitions: partitions.ofTopic(GROUPS_TOPIC),
    settings: settings.group,
    partitionCounts: (topics) => countsOf(catalog, topics),
    onPaused: (paused) => recordPause(reach.audit, ports, paused),
    onWithdrawn: (group, withdrawal) =>
      recordWithdrawal(reach.audit, ports, { group, ...withdrawal }),
    keyHashes: (at, offsets) =>
      keyHashesAt((place, offset, options) => reach.fetch(place, offset, options), at, offsets),
    ports,
  });
  const producerIds = await ProducerIds.open(metadata);
  const producers = producersOf(producerIds, { census, partitions });
  const ownIds = ProducerIds.openOwn(metadata);
  const topic = (name: string) => catalog.topic(name);
  const transactions = await TransactionCoordinator.open({
    partitions: partitions.ofTopic(TRANSACTIONS_TOPIC),
    ports: {
      ...ports,
      logs: localTransactionLogs({ topic, reach }),
      groups: localTransactionGroups({ topic, reach }),
      allocateProducerId: async () => (await ownIds.allocate()).producerId,
      report: (event) => ports.report(event),
    },
  });
  const changes = new TopicChanges({
    ports,
    catalog,
    partitions,
    groups,
    brokers: () => ports.cluster?.brokerCount() ?? 1,
  });
  const defaultConfig = INTERNAL_TOPIC_CONFIG;
  const letters = { topic, changes, reach, groups, ownIds, defaultConfig, ports };
  const deadLetters = localDeadLetters({
    ...letters,
    changes: auditedDeadLetterTopics(changes, reach.audit, ports),
  });
  const keyPorts = {
    ...ports,
    now: () => Math.floor(started.wall + clock.monotonic() - started.monotonic),
    topic,
    partitions: (name: string) => partitions.ofTopic(name),
    cluster: ports.cluster === undefined ? undefined : {
      reach,
      homeEpoch: (name: string) => partitions.get({ topic: name, partition: 0 }).ledEpoch(),
    },
  };
  const messageKeys = await MessageKeys.open({
    ...keyPorts,
    namespace: "message-keys",
    settings: { ...DEFAULT_MESSAGE_KEY_SETTINGS, ...settings.messageKeys },
  }, catalog.topics());
  catalog.onEvent((event) => messageKeys.follow(event));
  const jobs = await JobSet.open({
    partition: partitions.ofTopic(JOBS_TOPIC)[0]!,
    broker: jobBroker({ topic, reach, ownIds }),
    limitsOf: (tenant) => quotas.limitsOf(tenant),
    ports,
  });
  const runbooks = await LocalRunbooks.open({
    partition: partitions.ofTopic(RUNBOOKS_TOPIC)[0]!,
    faultSince: (alertId) => reach.alerts.find(alertId)?.since ?? null,
    tenantOf: (target) => tenantOfTarget(target, { topic, groups: reach }),
    onActed: (run, index) => recordAction(reach.audit, (event) => ports.report(event), run, index),
    ports,
  });
  const requestKeys = await LocalRequestKeys.open({
    ...keyPorts,
    settings: { ...DEFAULT_REQUEST_KEY_SETTINGS, ...settings.requestKeys },
    monotonic: () => clock.monotonic(),
    partition: (at) => partitions.opened(at),
    ensureTopic: async (config) => {
      await ensureInternalTopic(catalog, internal, [REQUESTS_TOPIC, REQUESTS_PARTITIONS], config);
      await partitions.settled(catalog.topic(REQUESTS_TOPIC)!);
    },
  });
  catalog.onEvent((event) => requestKeys.follow(event));
  partitions.onLeadership((topic, partition, leads) => {
    if (partition !== 0) return;
    const keys = topic.name === REQUESTS_TOPIC ? requestKeys : messageKeys;
    void keys.homeChanged(topic, leads);
  });
  const traces = new LocalTraces({
    ...ports,
    settings: { ...DEFAULT_TRACE_SETTINGS, followEveryMs: 0, ...settings.traces },
    topics: () => catalog.topics(),
    topic,
    partitionsOf: (name) => partitions.ofTopic(name),
    groupJournals: partitions.ofTopic(GROUPS_TOPIC).map((partition) =>
      groupJournal(partition, ports.crc32c)
    ),
    jobs: reach.jobs,
    report: (event) => ports.report(event),
  });
  return {
    clusterId,
    ports,
    accessKeys,
    quotas,
    acls,
    audit,
    alerts,
    runbooks,
    traces,
    catalog,
    partitions,
    budget,
    groups,
    jobs,
    transactions,
    producers,
    producerIds,
    changes,
    deadLetters,
    census,
    messageKeys,
    requestKeys,
    started,
  };
}

function openAlerts(
  { nodeId }: LocalBrokerSettings,
  ports: LocalBrokerPorts,
  partitions: PartitionSet,
): Promise<LocalAlerts> {
  const partition = () => {
    const opened = partitions.ofTopic(ALERTS_TOPIC)[0];
    if (opened !== undefined) return opened;
    throw new BrokerError("LEADER_NOT_AVAILABLE", "the journal of alerts is not open");
  };
  const home = partitions.ofTopic(ALERTS_TOPIC)[0];
  return LocalAlerts.open({
    nodeId,
    ...(home === undefined || ports.cluster === undefined ? {} : { home }),
    metadata: ports.metadata,
    clock: ports.clock,
    timers: ports.timers,
    randomness: ports.randomness,
    partition,
    journal: () => partitionJournal(partition(), ports.crc32c),
    report: (event) => ports.report(event),
  });
}

function producersOf(
  ids: ProducerIds,
  { census, partitions }: { census: ProducerCensus; partitions: PartitionSet },
): Producers {
  return {
    allocate: () => ids.allocate(),
    nextSequence: async (at, producer) => (await partitions.opened(at)).nextSequence(producer),
    counters: () => Promise.resolve(census.counters()),
  };
}

function countsOf(catalog: TopicCatalog, topics: readonly string[]): PartitionCounts {
  const counts: Record<string, number> = {};
  for (const name of topics) {
    const topic = catalog.topic(name);
    if (topic !== null) counts[name] = topic.partitionCount;
  }
  return counts;
}
